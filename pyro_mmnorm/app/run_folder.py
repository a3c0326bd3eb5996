"""RunFolder: a folder of results whose files are always complete."""

import contextlib
import fcntl
import io as streams
import json
import logging
import os
import platform
import resource
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyro_mmnorm.config import Config, parse_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.files import atomic_write, recording, sha256
from pyro_mmnorm.core.progress import during

__all__ = ["RunFolder"]

logger = logging.getLogger("pyro_mmnorm")


MANIFEST, LOCK = "manifest.json", ".lock"
SCHEMA = 1
WRITTEN_BY_0_1 = (
    *("config.yaml", "provenance.json", "history.csv", "latents.csv", "diagnostics.json", "z.csv", "deviations.nc"),
    *("subjects.csv", "regions.csv", "calibration.json", "calibration_controls.nc", "findings.json", "centiles.nc"),
    *("posterior.nc", "report.html", "adaptation.json", "study.csv", "study.html"),
    *(f"model/{name}" for name in ("arrays.safetensors", "model.json", "sha256.json")),
    *(f"figures/{name}.png" for name in (
        *("active_units", "along_*", "coverage", "coverage_curves", "frequency", "groups", "held_out_fit", "latents"),
        *("loss", "map_[0-9][0-9]_*", "pit", "qq", "regions", "regions_[0-9][0-9]_*", "score_*", "subjects", "worm"),
        "worm_*",
    )),
)  # fmt: skip
"""Files of a run folder of version 0.1, which has no manifest; patterns where a name holds a group or modality."""


class RunFolder:
    """A run folder: files appear under their final names only when they are complete, and a manifest lists them.

    Only listed files are ever removed. One process at a time may write; the lock ends with the process.

    Args:
        path: The folder; created by the first write.
        resume: Continue an interrupted run with the same configuration and tables.
        overwrite: Replace an earlier run.
        inputs: Files and folders that the run reads; the folder may not hold any of them.

    Raises:
        InputError: When the folder is not empty and neither is asked for, when both are, when it holds no run, or when
            it holds an input.

    Examples:
        >>> import tempfile
        >>> folder = RunFolder(Path(tempfile.mkdtemp()) / "run")
        >>> folder.write("notes.txt", "complete")
        >>> sorted(path.name for path in folder.path.iterdir())
        ['manifest.json', 'notes.txt']
    """

    def __init__(
        self, path: str | Path, *, resume: bool = False, overwrite: bool = False, inputs: Iterable[Path] = ()
    ) -> None:
        self.path = Path(path)
        self.resume, self.overwrite, self.inputs = resume, overwrite, list(inputs)
        self.steps: dict[str, dict[str, float]] = {}
        self._manifest: dict[str, Any] = {}
        if resume and overwrite:
            raise InputError(str(path), "both --resume and --overwrite", "one of them", "choose one")
        if self.path.exists() and not self.path.is_dir():
            raise InputError(str(self.path), "a file", "a folder, new or empty", "choose another --out")
        for source in self.inputs:
            if self.path.resolve() in (source.resolve(), *source.resolve().parents):
                got, want = f"a folder that holds {source}, an input", "a folder for results alone"
                raise InputError(str(self.path), got, want, "choose another --out")
        used = self.path.is_dir() and any(self.path.iterdir())
        if used and not (resume or overwrite):
            todo = "choose another --out, or add --resume or --overwrite"
            raise InputError(str(self.path), "a folder that is not empty", "a new or empty one", todo)
        if used and not self._is_run():
            want = "the folder of an earlier run"
            raise InputError(str(self.path), "a folder that holds no run", want, "choose another --out")

    def _is_run(self) -> bool:
        """Whether a manifest is there, or the files of a run of version 0.1."""
        if (self.path / MANIFEST).is_file():
            return True
        marks = ("provenance.json", "model/sha256.json", "history.csv")
        return (self.path / "config.yaml").is_file() and any((self.path / name).is_file() for name in marks)

    @contextlib.contextmanager
    def open(self, config: Config) -> Iterator[bool]:
        """Lock the folder, remove the files of a run to be replaced, write the configuration, and record every file.

        Yields:
            Whether a model of this run has already been trained.

        Raises:
            InputError: When another process writes into the folder, or when a run to be resumed has another
                configuration or other tables.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked(), recording(self._record):
            digests = [[path.name, sha256(path.read_bytes())] for path in self.inputs if path.is_file()]
            if self.overwrite:
                self._remove()
            if self.resume and (self.path / "config.yaml").is_file():
                self._check_same(config, digests)
            else:
                self._manifest = {"schema": SCHEMA, "run": uuid.uuid4().hex, "inputs": digests, "files": []}
            self.write("config.yaml", config.to_yaml())
            yield (self.path / "model" / "sha256.json").is_file()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold an exclusive lock of the operating system, which ends with the process whatever ends it."""
        with (self.path / LOCK).open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                got = f"another process is writing ({lock.read().strip() or 'unknown'})"
                raise InputError(str(self.path), got, "a folder that no process writes into", "wait for it") from error
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}")
            lock.flush()
            try:
                yield
            finally:
                (self.path / LOCK).unlink(missing_ok=True)

    def _remove(self) -> None:
        """Remove the files of the earlier run, and of runs in folders below, and the folders that are then empty."""
        for manifest in [*self.path.rglob(MANIFEST)]:
            for name in _read_manifest(manifest)["files"]:
                (manifest.parent / name).unlink(missing_ok=True)
            manifest.unlink()
        if (self.path / "config.yaml").is_file():  # of version 0.1
            for pattern in WRITTEN_BY_0_1:
                for file in self.path.glob(pattern):
                    file.unlink()
        for folder in sorted((p for p in self.path.rglob("*") if p.is_dir()), reverse=True):
            with contextlib.suppress(OSError):  # not empty: it holds files that no run has written
                folder.rmdir()

    def _check_same(self, config: Config, digests: list[list[str]]) -> None:
        """Refuse to continue a run of another configuration or of other tables."""
        kept = self.path / "config.yaml"
        before = parse_config(kept.read_text(encoding="utf-8"), where=str(kept))
        todo = "choose another --out, or use --overwrite in place of --resume"
        if before.model_copy(update={"out": config.out}) != config:
            raise InputError(str(kept), "another configuration", "the configuration of this run", todo)
        if not (self.path / MANIFEST).is_file():
            raise InputError(str(self.path), "a run of version 0.1", "a run of this version", todo)
        self._manifest = _read_manifest(self.path / MANIFEST)
        if changed := [name for name, digest in digests if [name, digest] not in self._manifest["inputs"]]:
            got = f"{changed[0]} has changed since the run began"
            raise InputError(str(self.path), got, "the tables of the interrupted run", todo)

    def _record(self, path: Path) -> None:
        """Add a file of this folder to the manifest, before it is written."""
        if not path.resolve().is_relative_to(self.path.resolve()):
            return
        name = path.resolve().relative_to(self.path.resolve()).as_posix()
        if name == MANIFEST or name in self._manifest.setdefault("files", []):
            return
        self._manifest["files"].append(name)
        atomic_write(self.path / MANIFEST, json.dumps(self._manifest, indent=1))

    def write(self, name: str, content: str | bytes) -> None:
        """Write one file atomically."""
        with recording(self._record):
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
        self._record(self.path / name)
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


def _read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run, checked.

    Raises:
        InputError: When it is no manifest of a known schema, or names a file outside its folder.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        names = [str(name) for name in manifest["files"]]
        known = manifest["schema"] == SCHEMA and isinstance(manifest["inputs"], list)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), f"no manifest ({error})", "what a run wrote", "choose another --out") from error
    inside = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in names)
    if not (known and inside):
        raise InputError(str(path), "a manifest that cannot be used", f"schema {SCHEMA}", "choose another --out")
    return dict(manifest)


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
