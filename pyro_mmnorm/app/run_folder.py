"""RunFolder: a folder of results whose files are always complete."""

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
    """A run folder: files appear under their final names only when they are complete.

    Args:
        path: The folder; created by the first write.
        resume: Continue in a folder with the same configuration.
        overwrite: Empty a folder of an earlier run.

    Raises:
        InputError: When the folder is not empty and neither is asked for, or when it is not a run folder.

    Examples:
        >>> import tempfile
        >>> folder = RunFolder(Path(tempfile.mkdtemp()) / "run")
        >>> folder.write("notes.txt", "complete")
        >>> [path.name for path in folder.path.iterdir()]
        ['notes.txt']
    """

    def __init__(self, path: str | Path, *, resume: bool = False, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.resume, self.overwrite = resume, overwrite
        self.steps: dict[str, dict[str, float]] = {}
        if self.path.exists() and not self.path.is_dir():
            raise InputError(str(self.path), "a file", "a folder, new or empty", "choose another --out")
        used = self.path.is_dir() and any(self.path.iterdir())
        if used and not (resume or overwrite):
            todo = "choose another --out, or add --resume or --overwrite"
            raise InputError(str(self.path), "a folder that is not empty", "a new or empty one", todo)
        if used and not (self.path / "config.yaml").is_file():
            want = "the folder of an earlier run"
            raise InputError(str(self.path), "no config.yaml in it", want, "choose another --out")

    def begin(self, config: Config) -> bool:
        """Create or empty the folder and write the configuration.

        Returns:
            Whether a model with this configuration has already been trained.

        Raises:
            InputError: When a run to be resumed has another configuration.
        """
        kept = self.path / "config.yaml"
        if self.overwrite and kept.is_file():
            shutil.rmtree(self.path)
        if self.resume and kept.is_file():
            before = parse_config(kept.read_text(encoding="utf-8"), where=str(kept))
            if before.model_copy(update={"out": config.out}) != config:
                todo = "choose another --out, or add --overwrite"
                raise InputError(str(kept), "another configuration", "the configuration of this run", todo)
        self.write("config.yaml", config.to_yaml())
        return (self.path / "model" / "sha256.json").is_file()

    def write(self, name: str, content: str | bytes) -> None:
        """Write one file atomically."""
        atomic_write(self.path / name, content)

    def write_table(self, name: str, table: pd.DataFrame, *, index: bool = True) -> None:
        """Write one CSV atomically; missing values are empty."""
        buffer = streams.StringIO()
        table.to_csv(buffer, index=index)
        self.write(name, buffer.getvalue())

    def write_json(self, name: str, content: Any) -> None:
        """Write one JSON file atomically; numbers that are not finite become null."""
        self.write(name, json.dumps(_for_json(content), indent=1, allow_nan=False))

    def write_netcdf(self, name: str, data: xr.Dataset | xr.DataTree) -> None:
        """Write one netCDF file atomically."""
        part = self.path / f".{name}.part"
        try:
            data.to_netcdf(part, engine="h5netcdf")
            part.replace(self.path / name)
        finally:
            part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Record time and peak memory of a step, for provenance.json."""
        began = time.perf_counter()
        with during(name):
            yield
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.steps[name] = {"seconds": round(seconds, 3), "peak_memory_mib": round(peak, 1)}
        logger.info("%s: %.1f s", name, seconds)


def _for_json(content: Any) -> Any:
    """Content in the types of JSON; numbers that are not finite become null."""
    if isinstance(content, dict):
        return {str(key): _for_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_for_json(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return content
