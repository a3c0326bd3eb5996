"""Save and load a model folder: safetensors and JSON with checksums; no code is executed on load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.files import atomic_write, sha256

__all__ = ["read", "tensors", "write"]

FORMAT = 1
ARRAYS, RECORD, SUMS = "arrays.safetensors", "model.json", "sha256.json"


def write(folder: str | Path, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
    """Write arrays and a record as a model folder.

    Args:
        folder: Created if needed.
        arrays: By name.
        record: Content that JSON can hold.
    """
    folder = Path(folder)
    files = {
        ARRAYS: save_arrays({name: np.asarray(x, order="C") for name, x in arrays.items()}),
        RECORD: json.dumps({"format": FORMAT, **record}, indent=1, allow_nan=False).encode(),
    }
    for name, content in files.items():
        atomic_write(folder / name, content)
    atomic_write(folder / SUMS, json.dumps({name: sha256(content) for name, content in files.items()}, indent=1))


def read(folder: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and record of a model folder, checked against its checksums.

    Args:
        folder: As written by `write`.

    Raises:
        InputError: When a file is missing, was altered, or has another format.
    """
    folder = Path(folder)
    files = {name: _content(folder / name) for name in (SUMS, ARRAYS, RECORD)}
    try:
        sums = json.loads(files[SUMS])
        for name in (ARRAYS, RECORD):
            if sums[name] != sha256(files[name]):
                want, todo = "the checksum in sha256.json", "restore the file, or train again"
                raise InputError(str(folder / name), "altered since it was saved", want, todo)
        record, arrays = json.loads(files[RECORD]), load_arrays(files[ARRAYS])
    except (json.JSONDecodeError, SafetensorError, KeyError) as error:
        got, want = f"a file that cannot be read ({error})", "a folder of NormativeModel.save"
        raise InputError(str(folder), got, want, "restore it") from error
    if (found := record.get("format")) != FORMAT:
        todo = "load it with the version that saved it"
        raise InputError(str(folder), f"format {found!r}", f"format {FORMAT}", todo)
    return arrays, record


def tensors(arrays: Mapping[str, NDArray[Any]], prefix: str, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays under a prefix as tensors, checked against other tensors.

    Args:
        arrays: By name.
        prefix: Only arrays whose names begin with it are read.
        like: Name without the prefix -> tensor of the expected shape and type.

    Raises:
        InputError: When names, shapes or types differ, or a value is not finite.
    """
    found = {name.removeprefix(prefix): torch.from_numpy(x) for name, x in arrays.items() if name.startswith(prefix)}
    if different := sorted(set(found) ^ set(like)):
        got = f"{len(different)} names differ, such as {different[0]!r}"
        raise InputError("model weights", got, "the names of the model", "restore the folder")
    for name, x in found.items():
        if x.shape != like[name].shape or x.dtype != like[name].dtype or not torch.isfinite(x).all():
            got = f"{x.dtype} of shape {tuple(x.shape)}, or not finite"
            want = f"finite {like[name].dtype} of shape {tuple(like[name].shape)}"
            raise InputError(f"model weights: {name}", got, want, "restore the folder")
    return found


def _content(path: Path) -> bytes:
    """The content of a file that must exist."""
    if not path.is_file():
        want = "a model folder with arrays.safetensors, model.json and sha256.json"
        raise InputError(str(path), "no such file", want, "check the path")
    return path.read_bytes()
