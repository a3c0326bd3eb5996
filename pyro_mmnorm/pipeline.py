"""The steps of a run in order: the only place that knows the order."""

import contextlib
import io as streams
import json
import logging
import platform
import resource
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyro_mmnorm.calibration_report import calibration_report
from pyro_mmnorm.checkpoint import sha256
from pyro_mmnorm.cohort import Cohort
from pyro_mmnorm.config import Config, parse_config
from pyro_mmnorm.datatree import to_datatree
from pyro_mmnorm.deviations import NormativeModel, load
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.evidence import latent_table
from pyro_mmnorm.files import atomic_write
from pyro_mmnorm.findings import findings, region_table, subject_table
from pyro_mmnorm.io import input_files, read_cohort
from pyro_mmnorm.linear_gaussian import LinearGaussian, seen_by
from pyro_mmnorm.report import build_report
from pyro_mmnorm.threads import one_thread
from pyro_mmnorm.training import fit
from pyro_mmnorm.vae import MMVAE

__all__ = ["RunFolder", "run", "score"]

logger = logging.getLogger("pyro_mmnorm")

POSTERIOR_CELLS = 1_000_000
PACKAGES = ("pyro-mmnorm", "torch", "pyro-ppl", "numpy", "scipy", "pandas", "xarray", "arviz")


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
        yield
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.steps[name] = {"seconds": round(seconds, 3), "peak_memory_mib": round(peak, 1)}
        logger.info("%s: %.1f s", name, seconds)


def run(
    config: Config,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """The main job: read, train, calibrate, score, assess, find, report.

    Args:
        config: Of `read_config`.
        out: Run folder; that of the configuration when None.
        device: auto, cpu or cuda.
        resume: Go on with an interrupted run of the same configuration: a trained model is not trained again.
        overwrite: Replace an earlier run.
        progress: Show a bar; None: only on a terminal.

    Returns:
        The run folder; its files are told in docs/run-folder.md.

    Raises:
        InputError: On bad input, before anything is written.
    """
    with one_thread():
        return _run(config, RunFolder(out or config.out, resume=resume, overwrite=overwrite), device, progress)


def _run(config: Config, folder: RunFolder, device: str, progress: bool | None) -> Path:
    with folder.step("read"):
        cohort = seen_by(config.baseline, read_cohort(config))
        model = _model(config, cohort)
    trained = folder.begin(config)
    with folder.step("train"):
        if trained:
            norm = load(folder.path / "model")
            logger.info("train: a trained model was found and is used")
        else:
            norm = _train(config, cohort, model, folder, device, progress)
    with folder.step("deviations"):
        everyone = cohort[cohort.split.isin(["test", "target"])]
        dev = _deviations(norm, everyone)
        folder.write_netcdf("deviations.nc", dev)
        folder.write_table("z.csv", _z_table(dev.sel(kind=config.deviations.primary)))
    with folder.step("calibration"):
        folder.write_json("calibration.json", calibration_report(norm, cohort, seed=config.seed))
    with folder.step("findings"):
        evidence = norm.log_evidence(cohort.test)
        _write_findings(folder, dev.sel(kind=config.deviations.primary), everyone, evidence, config.seed)
    if config.baseline is None:
        with folder.step("posterior"):
            draws = int(np.clip(POSTERIOR_CELLS // (len(everyone) * len(norm.preprocess.names)), 1, 100))
            folder.write_netcdf("posterior.nc", to_datatree(norm, everyone, draws=draws, seed=config.seed))
    _write_provenance(folder, config, cohort, norm)
    build_report(folder.path)
    return folder.path


def score(run_dir: str | Path, config: Config, *, out: str | Path, overwrite: bool = False) -> Path:
    """Deviations of new people with a fitted run; nothing is trained.

    Args:
        run_dir: Folder of a run.
        config: Its `data` says where the new tables lie; everybody in them is scored.
        out: Folder for z.csv, deviations.nc, subjects.csv and provenance.json.
        overwrite: Replace earlier scores.
    """
    folder = RunFolder(out, overwrite=overwrite)
    with one_thread(), folder.step("read"):
        norm = load(Path(run_dir) / "model")
        of_run = parse_config(_text(Path(run_dir) / "config.yaml"))
        primary = of_run.deviations.primary
        cohort = seen_by(of_run.baseline, read_cohort(config, everyone="target"))
    with one_thread(), folder.step("deviations"):
        dev = _deviations(norm, cohort)
    folder.begin(config)
    folder.write_netcdf("deviations.nc", dev)
    one = dev.sel(kind=primary)
    folder.write_table("z.csv", _z_table(one))
    folder.write_table("subjects.csv", _with_people(subject_table(one, cohort.split, cohort.group), cohort))
    _write_provenance(folder, config, cohort, norm)
    return folder.path


def _model(config: Config, cohort: Cohort) -> MMVAE | LinearGaussian:
    """A VAE to be trained, or a baseline, which is fitted at once."""
    if config.baseline:
        if "latent" in config.deviations.kinds and config.baseline != "factor_analysis":
            got = f"latent, with baseline {config.baseline}"
            raise InputError("deviations.kinds", got, "kinds of regions: it has no latents", "leave it out")
        k, scaling = config.model.latent_dim, config.data.scaling
        return LinearGaussian.for_cohort(cohort, config.baseline, latent_dim=k, scaling=scaling)
    parts = config.model.model_dump()
    if unknown := set(parts["modality_weights"]) - set(cohort.values):
        raise InputError(
            "model.modality_weights", f"{sorted(unknown)}", f"some of {sorted(cohort.values)}", "mend the names"
        )
    return MMVAE.for_cohort(cohort, seed=config.seed, scaling=config.data.scaling, **parts)


def _train(
    config: Config,
    cohort: Cohort,
    model: MMVAE | LinearGaussian,
    folder: RunFolder,
    device: str,
    progress: bool | None,
) -> NormativeModel:
    for m, names in model.preprocess.set_aside.items() if model.preprocess else ():
        if names:
            logger.info(
                "%s: %d regions constant among the training controls set aside: %s", m, len(names), ", ".join(names[:5])
            )
    norm = NormativeModel(
        model,
        **config.deviations.model_dump(include={"draws", "normative_draws", "refine", "calibrator"}),
        seed=config.seed,
    )
    if isinstance(model, MMVAE):
        history = fit(model, cohort.train, config.train, seed=config.seed, device=device, progress=progress)
        _warn_of_collapse(model, history)
        folder.write_table("history.csv", history, index=False)
        folder.write_table("latents.csv", latent_table(model, norm.preprocess(cohort.calibrate)), index=False)
    norm.calibrate(cohort.calibrate, tuple(config.deviations.kinds))
    norm.save(folder.path / "model")
    return norm


def _warn_of_collapse(model: MMVAE, history: pd.DataFrame) -> None:
    if "active_units" in history and (active := history["active_units"].iloc[-1]) < 1:
        logger.warning(
            "%d of %d latents active: the posterior has collapsed, and z-scores are those of a regression on the "
            "covariates. Use a learned sigma (likelihood: normal), start: linear, or a smaller beta.",
            active,
            model.latent_dim,
        )


def _z_table(dev: xr.Dataset) -> pd.DataFrame:
    return pd.DataFrame(
        dev["z"].to_numpy(), index=pd.Index(dev["subject"].to_numpy(), name="id"), columns=dev["region"].to_numpy()
    )


def _deviations(norm: NormativeModel, cohort: Cohort) -> xr.Dataset:
    """Every calibrated kind: dims (kind, subject, region), and what the latent kind says of each subject."""
    kinds = [kind for kind in norm.kinds if kind != "latent"]
    regional = [norm.deviations(cohort, kind) for kind in kinds]
    dev = [xr.concat(regional, dim=pd.Index(kinds, name="kind"))] if kinds else []
    return xr.merge([*dev, *([norm.deviations(cohort, "latent")] if "latent" in norm.kinds else [])])


def _with_people(subjects: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """The subject table with covariates and scores beside it."""
    return subjects.join(
        [frame.drop(columns=subjects.columns, errors="ignore") for frame in (cohort.covariates, cohort.scores)]
    )


def _write_findings(folder: RunFolder, dev: xr.Dataset, cohort: Cohort, evidence: pd.Series, seed: int) -> None:
    subjects = subject_table(dev, cohort.split, cohort.group).join(evidence)
    folder.write_table("subjects.csv", _with_people(subjects, cohort))
    folder.write_table("regions.csv", region_table(dev, cohort.split, cohort.group, cohort.groups), index=False)
    folder.write_json(
        "findings.json",
        findings(dev, subjects, cohort.scores, cohort.directions, cohort.adjust, cohort.groups, seed=seed),
    )


def _write_provenance(folder: RunFolder, config: Config, cohort: Cohort, norm: NormativeModel) -> None:
    splits = cohort.split.value_counts()
    folder.write_json(
        "provenance.json",
        {
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "platform": f"{platform.system()} {platform.machine()}",
            "seed": config.seed,
            "inputs": {path.name: sha256(path.read_bytes()) for path in input_files(config)},
            "steps": folder.steps,
            "counts": {
                "subjects": {name: int(splits[name]) for name in splits.index},
                "groups": {str(name): int(n) for name, n in cohort.group.value_counts().items()},
                "regions": {m: len(names) for m, names in norm.preprocess.regions.items()},
            },
            "notes": list(cohort.notes),
        },
    )


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


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(str(path), "no such file", "the folder of a finished run", "check the path")
    return path.read_text(encoding="utf-8")
