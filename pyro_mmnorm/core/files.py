"""Files: written whole or not at all, and recorded; and the library that parquet needs."""

import hashlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

from pyro_mmnorm.core.errors import InputError

__all__ = ["atomic_write", "recording", "require_pyarrow", "sha256"]

_record: ContextVar[Callable[[Path], None]] = ContextVar("record", default=lambda _: None)


@contextmanager
def recording(record: Callable[[Path], None]) -> Iterator[None]:
    """Call `record` with the path of every file before `atomic_write` writes it.

    Args:
        record: Keeps the path, for example in the manifest of a run folder.
    """
    token = _record.set(record)
    try:
        yield
    finally:
        _record.reset(token)


def atomic_write(path: str | Path, content: bytes | str) -> Path:
    """Write a whole file or nothing: to a temporary file in its folder, which is then renamed.

    Args:
        path: The file; its folder is created if needed.
        content: Bytes, or text, which is written as UTF-8.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atomic_write(Path(folder) / "a" / "x.txt", "whole").read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _record.get()(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def sha256(content: bytes) -> str:
    """The SHA-256 checksum of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def require_pyarrow(where: str) -> ModuleType:
    """Import pyarrow, the optional dependency for reading and writing parquet.

    Args:
        where: The file, for the error message.

    Raises:
        InputError: When pyarrow is not installed.
    """
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        todo = "install pyro-mmnorm[parquet], or save the table as csv"
        raise InputError(where, "parquet, but pyarrow is not installed", "pyarrow", todo) from error
