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


MANIFEST, LOCK, SUMS = "manifest.json", ".mmnorm.lock", "model/sha256.json"
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
        command: The command that writes the results; those of another one are not replaced.
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
        self,
        path: str | Path,
        *,
        command: str = "run",
        resume: bool = False,
        overwrite: bool = False,
        inputs: Iterable[Path] = (),
    ) -> None:
        self.path = Path(path)
        self.command, self.resume, self.overwrite, self.inputs = command, resume, overwrite, list(inputs)
        self.steps: dict[str, dict[str, float]] = {}
        self._manifest: dict[str, Any] = {}
        if resume and overwrite:
            raise InputError(str(path), "both --resume and --overwrite", "one of them", "choose one")
        for source in self.inputs:
            if self.path.resolve() in (source.resolve(), *source.resolve().parents):
                got, want = f"a folder that holds {source}, an input", "a folder for results alone"
                raise InputError(str(self.path), got, want, "choose another --out")
        self._check_use()

    def _check_use(self) -> None:
        """Refuse a file, and a folder in use unless it is to be resumed or replaced and holds a run of the command."""
        try:
            taken = self.path.exists() and not self.path.is_dir()
        except OSError as error:  # a name that is too long, a path below a file, no permission
            got, want = str(error.strerror), "a folder, new or empty"
            raise InputError(str(self.path), got, want, "choose another --out") from error
        if taken:
            raise InputError(str(self.path), "a file", "a folder, new or empty", "choose another --out")
        if not self.path.is_dir() or all(path.name == LOCK for path in self.path.iterdir()):
            return
        if not (self.resume or self.overwrite):
            todo = "choose another --out, or add --resume or --overwrite"
            raise InputError(str(self.path), "a folder that is not empty", "a new or empty one", todo)
        found = _read_manifest(self.path) if (self.path / MANIFEST).exists() else None
        if found is None and not _is_run_of_0_1(self.path):
            want = "the folder of an earlier run"
            raise InputError(str(self.path), "a folder that holds no run", want, "choose another --out")
        if found and found["command"] != self.command:
            got, want = f"results of mmnorm {found['command']}", f"results of mmnorm {self.command}"
            raise InputError(str(self.path), got, want, "choose another --out")

    @contextlib.contextmanager
    def open(self, config: Config) -> Iterator[bool]:
        """Lock the folder, remove the files of a run to be replaced, write the configuration, and record every file.

        Yields:
            Whether a model of this run has already been trained.

        Raises:
            InputError: When another process writes into the folder, or when a run to be resumed has another
                configuration, other tables or another model.
        """
        with self._locked(), recording(self._record):
            self._check_use()  # again: another process may have written since
            digests = [[path.name, sha256(path.read_bytes())] for path in self.inputs if path.is_file()]
            used = any(path.name != LOCK for path in self.path.iterdir())
            if used and self.resume:
                self._check_same(config, digests)
            else:
                if used:
                    self._remove()
                named = {"schema": SCHEMA, "command": self.command, "run": uuid.uuid4().hex}
                self._manifest = {**named, "inputs": digests, "files": []}
            self.write("config.yaml", config.to_yaml())
            yield "model" in self._manifest

    def seal_model(self) -> None:
        """Record the checksum of the saved model; without it, or with another, a resumed run trains again or stops."""
        self._manifest["model"] = sha256((self.path / SUMS).read_bytes())
        atomic_write(self.path / MANIFEST, json.dumps(self._manifest, indent=1))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold an exclusive lock of the operating system, which ends with the process whatever ends it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except (OSError, ValueError) as error:
            want = "a folder that can be written"
            raise InputError(str(self.path), str(error), want, "choose another --out") from error
        with os.fdopen(handle, "r+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
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
        """Remove the files of the earlier run, of the runs of a study, and the folders of these files if empty."""
        own = _read_manifest(self.path)["files"] if (self.path / MANIFEST).exists() else _files_of_0_1(self.path)
        runs = [path.parent for path in self.path.glob(f"runs/*/{MANIFEST}")] if self.command == "study" else []
        files = [self.path / name for name in own]
        files += [run / name for run in runs for name in (*_read_manifest(run)["files"], MANIFEST)]
        # the mark of a trained model first, the configuration and the manifest last
        files.sort(key=lambda file: (file.name != "sha256.json", file.name == "config.yaml"))
        inside = self.path.resolve()
        for file in (*files, self.path / MANIFEST):
            if file.parent.resolve().is_relative_to(inside):  # not through a link to a folder elsewhere
                file.unlink(missing_ok=True)
        for folder in sorted({parent for file in files for parent in file.parents}, reverse=True):
            if folder != self.path and folder.is_relative_to(self.path):
                with contextlib.suppress(OSError):  # not empty: it holds files that no run has written
                    folder.rmdir()

    def _check_same(self, config: Config, digests: list[list[str]]) -> None:
        """Refuse to continue a run of another configuration, of other tables, or with another model."""
        kept, todo = self.path / "config.yaml", "choose another --out, or use --overwrite in place of --resume"
        if not (kept.is_file() and (self.path / MANIFEST).is_file()):
            got = "no config.yaml and manifest.json of this version"
            raise InputError(str(self.path), got, "an interrupted run", todo)
        before = parse_config(kept.read_text(encoding="utf-8"), where=str(kept))
        if before.model_copy(update={"out": config.out}) != config:
            raise InputError(str(kept), "another configuration", "the configuration of this run", todo)
        self._manifest = _read_manifest(self.path)
        if self._manifest["inputs"] != digests:
            changed = [name for name, digest in digests if [name, digest] not in self._manifest["inputs"]]
            got = f"{changed[0] if changed else 'the list of tables'} has changed since the run began"
            raise InputError(str(self.path), got, "the tables of the interrupted run", todo)
        model = self.path / SUMS
        if "model" in self._manifest and not (
            model.is_file() and sha256(model.read_bytes()) == self._manifest["model"]
        ):
            raise InputError(str(model.parent), "another model, or none", "the model of this run", todo)

    def _record(self, path: Path) -> None:
        """Add a file of this folder to the manifest, before it is written."""
        if not path.resolve().is_relative_to(self.path.resolve()):
            return
        name = path.resolve().relative_to(self.path.resolve()).as_posix()
        if name == MANIFEST or name in self._manifest.setdefault("files", []):
            return
        if path.exists():
            raise InputError(str(path), "a file that no run has written", "no such file", "move it elsewhere")
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


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run, checked.

    Raises:
        InputError: When it is no manifest of a known schema, or lists what cannot be a file of its folder.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["schema"] == SCHEMA and isinstance(manifest["command"], str)
        lists = isinstance(manifest["inputs"], list) and isinstance(manifest["files"], list)
        files = [Path(name) for name in manifest["files"]]
        inside = all(
            f.name and f.name != MANIFEST and not f.is_absolute() and ".." not in f.parts and "\0" not in f.name
            for f in files
        )
        sound = known and lists and inside and not any((folder / file).is_dir() for file in files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(str(path), f"no manifest ({error})", "what a run wrote", "choose another --out") from error
    if not sound:
        raise InputError(str(path), "a manifest that cannot be used", f"schema {SCHEMA}", "choose another --out")
    return dict(manifest)


def _is_run_of_0_1(folder: Path) -> bool:
    """Whether a folder without a manifest holds the configuration and the provenance, or the model, of version 0.1."""
    try:
        parse_config((folder / "config.yaml").read_text(encoding="utf-8"))
        if (folder / SUMS).is_file():
            return set(json.loads((folder / SUMS).read_text(encoding="utf-8"))) == {"arrays.safetensors", "model.json"}
        return "pyro-mmnorm" in json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["versions"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _files_of_0_1(folder: Path) -> list[str]:
    """The files of a run of version 0.1 that are in a folder."""
    return [file.relative_to(folder).as_posix() for pattern in WRITTEN_BY_0_1 for file in folder.glob(pattern)]


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
