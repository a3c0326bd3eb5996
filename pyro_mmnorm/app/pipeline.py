"""The steps of a run, of scoring and of adaptation, in order."""

import logging
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyro_mmnorm.app.run_folder import RunFolder
from pyro_mmnorm.calibration.calibrated import conformal_groups
from pyro_mmnorm.calibration.mahalanobis import LATENT_MEASURES
from pyro_mmnorm.config import Config, parse_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.files import sha256
from pyro_mmnorm.core.progress import silent
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.frames import by_id, column_of
from pyro_mmnorm.data.hippocampal_ratio import select_baseline_regions
from pyro_mmnorm.data.participants import reference_subjects
from pyro_mmnorm.data.splits import split_by_column
from pyro_mmnorm.data.tables import cohort_of, input_files, read_cohort, read_frames
from pyro_mmnorm.findings.endpoints import findings
from pyro_mmnorm.findings.summaries import region_table, subject_table
from pyro_mmnorm.inference.diagnostics import diagnostics
from pyro_mmnorm.inference.evidence import latent_table
from pyro_mmnorm.inference.training import fit
from pyro_mmnorm.models.linear import LinearGaussian
from pyro_mmnorm.models.vae import MMVAE
from pyro_mmnorm.norm.calibration_report import calibration_report
from pyro_mmnorm.norm.centiles import profile_centiles
from pyro_mmnorm.norm.datatree import to_datatree
from pyro_mmnorm.norm.normative_model import NormativeModel, load
from pyro_mmnorm.norm.recalibration import calibration_controls, with_refits
from pyro_mmnorm.norm.sites import fine_tuned, local_split
from pyro_mmnorm.report.page import build_report

__all__ = ["adapt", "run", "score"]

logger = logging.getLogger("pyro_mmnorm")

POSTERIOR_CELLS = 1_000_000
FEWEST_TESTED = 10
PACKAGES = ("pyro-mmnorm", "torch", "pyro-ppl", "numpy", "scipy", "pandas", "xarray", "arviz")


def run(
    config: Config,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
    cohort: Cohort | None = None,
    brief: bool = False,
) -> Path:
    """Run a study: read the tables, train, calibrate, score, assess the calibration, compute findings, write a page.

    Args:
        config: Result of `read_config`.
        out: Run folder; None: that of the configuration.
        device: auto, cpu or cuda.
        resume: Continue an interrupted run of the same configuration; a trained model is not trained again.
        overwrite: Replace an earlier run.
        progress: Show progress bars; None: only on a terminal.
        cohort: Result of `read_cohort`, when many runs share it; None: it is read.
        brief: Omit posterior.nc, centiles.nc, figures and report.html.

    Returns:
        The run folder; docs/run-folder.md describes its files.

    Raises:
        InputError: For bad input, before anything is written.
    """
    with one_thread(), silent(progress is False):
        folder = RunFolder(out or config.out, resume=resume, overwrite=overwrite, inputs=input_files(config))
        with folder.step("read"):
            cohort, norm = _prepared(config, read_cohort(config) if cohort is None else cohort)
        with folder.open(config) as trained:
            with folder.step("train"):
                if trained:
                    norm = load(folder.path / "model")
                    logger.info("train: a trained model was found and is used")
                else:
                    _train(config, cohort, norm, folder, device, progress)
                    folder.seal_model()
            _write_results(folder, config, cohort, norm, brief=brief)
    return folder.path


def _prepared(config: Config, cohort: Cohort) -> tuple[Cohort, NormativeModel]:
    """The regions that the model uses, and an untrained norm; checks that every person can be encoded."""
    cohort = select_baseline_regions(config.baseline, cohort)
    model = _model(config, cohort)
    settings = config.deviations.model_dump(exclude={"kinds", "primary"})
    norm = NormativeModel(model, **settings, seed=config.seed)
    if norm.conformal_within:
        conformal_groups(cohort, norm.conformal_within)
    norm.preprocess.design(cohort)
    norm.preprocess.outside(cohort.scored, refuse=norm.outside_range == "refuse")
    return cohort, norm


def _write_results(folder: RunFolder, config: Config, cohort: Cohort, norm: NormativeModel, *, brief: bool) -> None:
    """Score the test controls and the target people, and write every file of the results."""
    everyone = cohort.scored
    with folder.step("deviations"):
        dev = _deviations(norm, everyone)
        folder.write_netcdf("deviations.nc", dev)
        folder.write_table("z.csv", _z_table(dev.sel(kind=config.deviations.primary)))
    with folder.step("calibration"):
        folder.write_json("calibration.json", calibration_report(norm, cohort, dev, seed=config.seed))
    with folder.step("findings"):
        kind = config.deviations.primary
        controls = calibration_controls(norm, kind, cohort.calibrate, everyone)
        folder.write_netcdf("calibration_controls.nc", controls)
        one = with_refits(norm.calibrators[kind], controls, dev.sel(kind=kind))
        _write_findings(folder, one, everyone, norm.log_evidence(cohort.test), config.seed)
    if not brief:
        with folder.step("centiles"):
            folder.write_netcdf("centiles.nc", profile_centiles(norm, cohort.calibrate, everyone))
    if config.baseline is None and not brief:
        with folder.step("posterior"):
            draws = int(np.clip(POSTERIOR_CELLS // (len(everyone) * len(norm.preprocess.names)), 1, 100))
            folder.write_netcdf("posterior.nc", to_datatree(norm, everyone, draws=draws, seed=config.seed))
    _write_provenance(folder, config, cohort, norm)
    if not brief:
        build_report(folder.path)


def score(run_dir: str | Path, config: Config, *, out: str | Path, overwrite: bool = False) -> Path:
    """Deviations of new people from a finished run; nothing is trained.

    Args:
        run_dir: Folder of a run.
        config: Its section `data` names the new tables; all people in them are scored.
        out: Folder for z.csv, deviations.nc, subjects.csv and provenance.json.
        overwrite: Replace earlier scores.

    Returns:
        The folder `out`.

    Raises:
        InputError: For bad input, before anything is written.
    """
    folder = RunFolder(out, command="score", overwrite=overwrite, inputs=[Path(run_dir), *input_files(config)])
    with one_thread():
        with folder.step("read"):
            norm, config = _fitted(run_dir, config)
            cohort = select_baseline_regions(config.baseline, read_cohort(config, everyone="target"))
        with folder.step("deviations"):
            dev = _deviations(norm, cohort)
    with folder.open(config):
        _write_scores(folder, config, dev, cohort)
        _write_provenance(folder, config, cohort, norm)
    return folder.path


def adapt(
    run_dir: str | Path, config: Config, *, out: str | Path, fine_tune: bool = False, overwrite: bool = False
) -> Path:
    """Adapt a finished run to new sites with a few of their own controls; no network is trained.

    Two thirds of the controls of each new site, and at least 10, are used for adaptation; or those that a split column
    assigns to `calibrate`. All other people are scored.

    Args:
        run_dir: Folder of a run.
        config: Its section `data` names the local tables; its reference subjects are the local controls.
        out: Folder for model/, z.csv, deviations.nc, subjects.csv, calibration.json (site -> kind -> report, for sites
            with at least 10 other controls) and provenance.json; `score` accepts it as the folder of a run.
        fine_tune: Fine-tune the decoder for each site with at least 50 controls for adaptation, see `fine_tuned`; the
            result is in adaptation.json.
        overwrite: Replace existing output.

    Returns:
        The folder `out`.

    Raises:
        InputError: For bad input, such as fewer than 10 controls of a new site, before anything is written.
    """
    folder = RunFolder(out, command="adapt", overwrite=overwrite, inputs=[Path(run_dir), *input_files(config)])
    with one_thread():
        with folder.step("read"):
            norm, config = _fitted(run_dir, config)
            cohort = _local_cohort(config, norm)
        with folder.step("adapt"):
            local = cohort.calibrate
            norm, tuning = fine_tuned(norm, local, seed=config.seed) if fine_tune else (norm.adapt(local), {})
        others = cohort[cohort.split != "calibrate"]
        with folder.step("deviations"):
            dev = _deviations(norm, others) if len(others) else None
        with folder.step("calibration"):
            report = _local_calibration(norm, cohort, dev, config.seed)
    with folder.open(config):
        norm.save(folder.path / "model")
        if dev is not None:
            _write_scores(folder, config, dev, others)
        for name, content in (("calibration.json", report), ("adaptation.json", tuning)):
            if content:
                folder.write_json(name, content)
        _write_provenance(folder, config, cohort, norm)
    return folder.path


def _fitted(run_dir: str | Path, config: Config) -> tuple[NormativeModel, Config]:
    """The norm of a run, and its configuration with `data`, `unseen_site` and `outside_range` of the given one."""
    norm = load(Path(run_dir) / "model")
    before = parse_config(_text(Path(run_dir) / "config.yaml"))
    given = config.deviations.model_dump(include={"unseen_site", "outside_range"})
    norm.unseen_site, norm.outside_range = config.deviations.unseen_site, config.deviations.outside_range
    deviations = before.deviations.model_copy(update=given)
    kept = {"baseline": before.baseline, "model": before.model, "train": before.train, "deviations": deviations}
    return norm, config.model_copy(update=kept)


def _local_cohort(config: Config, norm: NormativeModel) -> Cohort:
    """The local people; controls of new sites are split into `calibrate` and `test`, all others are `target`."""
    data = config.data
    tables, participants = read_frames(data)
    cohort = cohort_of(config, tables, participants, everyone="target")
    people = by_id(participants, data.id, "participants").loc[cohort.ids]
    source = None if data.reference == "everyone" else (data.reference.column, data.reference.values)
    healthy = reference_subjects(people, source, needed=True)
    column = data.split.column
    given = split_by_column(column_of(people, column, "participants"), healthy) if column else None
    return replace(cohort, split=local_split(norm.new_sites(cohort), healthy, given, seed=config.seed))


def _local_calibration(
    norm: NormativeModel, cohort: Cohort, dev: xr.Dataset | None, seed: int
) -> dict[str, dict[str, Any]]:
    """Site -> kind -> the calibration report on the controls of the site that were not used for adaptation."""
    sites, reports = norm.new_sites(cohort), {}
    for site in sorted(set(sites[cohort.split == "calibrate"])):
        local = cohort[(sites == site) & cohort.split.isin(["calibrate", "test"])]
        if (n := len(local.test)) < FEWEST_TESTED:
            logger.info("site %s: %d held-out controls, too few for a calibration report", site, n)
            continue
        reports[site] = calibration_report(norm, local, dev, site=site, seed=seed)
    return reports


def _write_scores(folder: RunFolder, config: Config, dev: xr.Dataset, cohort: Cohort) -> None:
    """Write deviations.nc, z.csv and subjects.csv."""
    folder.write_netcdf("deviations.nc", dev)
    one = dev.sel(kind=config.deviations.primary)
    folder.write_table("z.csv", _z_table(one))
    folder.write_table("subjects.csv", _subjects(one, cohort))


def _model(config: Config, cohort: Cohort) -> MMVAE | LinearGaussian:
    """An untrained VAE, or a baseline, which is fitted already."""
    if config.baseline:
        if "latent" in config.deviations.kinds and config.baseline != "factor_analysis":
            got = f"latent, with baseline {config.baseline}"
            raise InputError(
                "deviations.kinds", got, "regional kinds, because this baseline has no latents", "remove latent"
            )
        k, scaling = config.model.latent_dim, config.data.scaling
        return LinearGaussian.for_cohort(cohort, config.baseline, latent_dim=k, scaling=scaling)
    parts = config.model.model_dump()
    if unknown := set(parts["modality_weights"]) - set(cohort.values):
        want = f"some of {sorted(cohort.values)}"
        raise InputError("model.modality_weights", f"{sorted(unknown)}", want, "correct the names")
    return MMVAE.for_cohort(cohort, seed=config.seed, scaling=config.data.scaling, **parts)


def _train(
    config: Config, cohort: Cohort, norm: NormativeModel, folder: RunFolder, device: str, progress: bool | None
) -> None:
    """Train the model of a norm, calibrate and save it."""
    for m, names in norm.preprocess.set_aside.items():
        if names:
            sentence = "%s: %d columns excluded, totals or constant among the training controls: %s"
            logger.info(sentence, m, len(names), ", ".join(names[:5]))
    model = norm.model
    if isinstance(model, MMVAE):
        history = fit(model, cohort.train, config.train, seed=config.seed, device=device, progress=progress)
        folder.write_table("history.csv", history, index=False)
        held_out = norm.preprocess(cohort.calibrate)
        folder.write_table("latents.csv", latent_table(model, held_out), index=False)
        diagnosis = diagnostics(model, history, held_out)
        folder.write_json("diagnostics.json", diagnosis)
        if diagnosis["warning"]:
            logger.warning("%s", diagnosis["warning"])
    norm.calibrate(cohort.calibrate, tuple(config.deviations.kinds))
    norm.save(folder.path / "model")


def _z_table(dev: xr.Dataset) -> pd.DataFrame:
    """z.csv: a row per person, a column per region."""
    frame = pd.DataFrame(dev["z"].to_pandas())
    return frame.rename_axis(index="id", columns=None)


def _deviations(norm: NormativeModel, cohort: Cohort) -> xr.Dataset:
    """Deviations of every calibrated kind, dims (kind, subject, region), with the measures of kind `latent`."""
    kinds = [kind for kind in norm.kinds if kind != "latent"]
    regional = [norm.deviations(cohort, kind) for kind in kinds]
    dev = [xr.concat(regional, dim=pd.Index(kinds, name="kind"))] if kinds else []
    if dev:
        dev[0]["observed"] = (("subject", "region"), norm.preprocess.observed(cohort))
    if "latent" in norm.kinds and (latent := norm.deviations(cohort, "latent"))["latent_p"].notnull().any():
        dev.append(latent)
    return xr.merge(dev, compat="equals", join="exact")


def _subjects(dev: xr.Dataset, cohort: Cohort) -> pd.DataFrame:
    """subjects.csv: measures of each person, known site and range, covariates and scores."""
    subjects = subject_table(dev, cohort.split, cohort.group)
    names = (*LATENT_MEASURES, "outside_range", "site_known")
    subjects = subjects.assign(**{name: dev[name].to_numpy() for name in names if name in dev.variables})
    columns = cohort.nuisance.join(cohort.scores.drop(columns=cohort.nuisance.columns, errors="ignore"))
    return subjects.join(columns.drop(columns=subjects.columns, errors="ignore"))


def _write_findings(folder: RunFolder, dev: xr.Dataset, cohort: Cohort, evidence: pd.Series, seed: int) -> None:
    """Write subjects.csv, regions.csv and findings.json."""
    subjects = _subjects(dev, cohort).join(evidence)
    folder.write_table("subjects.csv", subjects)
    folder.write_table("regions.csv", region_table(dev, cohort.split, cohort.group, cohort.groups), index=False)
    folder.write_json(
        "findings.json",
        findings(dev, subjects, cohort.scores, cohort.directions, cohort.nuisance, cohort.groups, seed=seed),
    )


def _write_provenance(folder: RunFolder, config: Config, cohort: Cohort, norm: NormativeModel) -> None:
    """Write provenance.json: versions, inputs, steps and counts."""
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


def _text(path: Path) -> str:
    """The text of a file of a finished run."""
    if not path.is_file():
        raise InputError(str(path), "no such file", "the folder of a finished run", "check the path")
    return path.read_text(encoding="utf-8")
