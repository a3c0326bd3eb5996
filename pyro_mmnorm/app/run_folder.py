"""RunFolder: a folder of results, in which no file is ever half written."""

import contextlib
import io as streams
import json
import logging
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyro_mmnorm.config import Config, parse_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.files import atomic_write
from pyro_mmnorm.core.progress import during

__all__ = ["RunFolder"]

logger = logging.getLogger("pyro_mmnorm")


class RunFolder:
    """A run folder: files land under their final names whole or not at all.

    Args:
        path: The folder; made on the first write.
        resume: Go on in a folder whose configuration is the same.
        overwrite: Empty a folder that holds an earlier run.

    Raises:
        InputError: When the folder is not empty, and neither is asked for; or is not a run folder.
    """

    def __init__(self, path: str | Path, *, resume: bool = False, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.resume, self.overwrite = resume, overwrite
        self.steps: dict[str, dict[str, float]] = {}
        if self.path.exists() and not self.path.is_dir():
            raise InputError(str(self.path), "a file", "a folder, or nothing", "choose another --out")
        used = self.path.is_dir() and any(self.path.iterdir())
        if used and not (resume or overwrite):
            raise InputError(
                str(self.path),
                "a folder that is not empty",
                "a new or empty one",
                "choose another --out, or give --resume or --overwrite",
            )
        if used and not (self.path / "config.yaml").is_file():
            raise InputError(
                str(self.path), "no config.yaml in it", "the folder of an earlier run", "choose another --out"
            )

    def begin(self, config: Config) -> bool:
        """Make or clear the folder and write its configuration; True when a trained model of the same one is there."""
        kept = self.path / "config.yaml"
        if self.overwrite and kept.is_file():
            shutil.rmtree(self.path)
        if self.resume and kept.is_file():
            before = parse_config(kept.read_text(encoding="utf-8"), where=str(kept))
            if before.model_copy(update={"out": config.out}) != config:
                raise InputError(
                    str(kept), "another configuration", "the one of this run", "choose another --out, or --overwrite"
                )
        self.write("config.yaml", config.to_yaml())
        return (self.path / "model" / "sha256.json").is_file()

    def write(self, name: str, content: str | bytes) -> None:
        """One file, atomically."""
        atomic_write(self.path / name, content)

    def write_table(self, name: str, table: pd.DataFrame, *, index: bool = True) -> None:
        """One CSV, atomically; empty where there is no number."""
        buffer = streams.StringIO()
        table.to_csv(buffer, index=index)
        self.write(name, buffer.getvalue())

    def write_json(self, name: str, content: Any) -> None:
        """One JSON file, atomically; a number that is not finite becomes null."""
        self.write(name, json.dumps(_plain(content), indent=1, allow_nan=False))

    def write_netcdf(self, name: str, data: xr.Dataset | xr.DataTree) -> None:
        """One netCDF file, atomically."""
        part = self.path / f".{name}.part"
        try:
            data.to_netcdf(part, engine="h5netcdf")
            part.replace(self.path / name)
        finally:
            part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step for the provenance."""
        began = time.perf_counter()
        with during(name):
            yield
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.steps[name] = {"seconds": round(seconds, 3), "peak_memory_mib": round(peak, 1)}
        logger.info("%s: %.1f s", name, seconds)


def _plain(content: Any) -> Any:
    """JSON's own types; a number that is not finite becomes null."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return content
