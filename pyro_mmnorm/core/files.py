"""Files: written whole or not at all; and the library that parquet needs."""

import importlib
import os
import tempfile
from pathlib import Path
from types import ModuleType

from pyro_mmnorm.core.errors import InputError

__all__ = ["atomic_write", "require_pyarrow"]


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
