"""Calibration of a trained norm: in test controls, at a new site, and of its conformal p."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.figure import Ask, Found
from benchmarks.people import LOCAL_CONTROLS, People
from pyro_mmnorm.calibration.calibrators import CALIBRATORS
from pyro_mmnorm.calibration.conformal import mean_square
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.evaluation.assess import assess
from pyro_mmnorm.evaluation.verdict import outside
from pyro_mmnorm.norm.calibration_report import calibration_report
from pyro_mmnorm.norm.normative_model import NormativeModel
from pyro_mmnorm.stats.metrics import COVERAGE_LEVELS, square_spread

__all__ = ["REGIONAL", "Norm", "calibrated", "conformal", "incomplete", "new_site", "tails", "z_table"]

REGIONAL = ("reconstruction", "cross_modal", "normative", "local")
P_LEVELS = (0.01, 0.05, 0.1)
SPLITS = 40
"""Random splits of each seed: 200 over five seeds."""
LARGE_PATTERN = 400
WORDS = {"sd": "SD", "mean": "mean", "rms_mean": "RMS over regions of the mean", "rms_sd": "RMS over regions of SD - 1"}
SLACK: dict[str, dict[str, float]] = {
    "overall": {"sd": 0.03, "mean": 0.05, "rms_sd": 0.06},
    "age tertile": {"sd": 0.05, "mean": 0.05, "rms_mean": 0.12},
    "sex": {"sd": 0.05, "mean": 0.05, "rms_mean": 0.12},
    "site": {"sd": 0.05, "mean": 0.05, "rms_mean": 0.15},
}
NORMATIVE: dict[str, dict[str, float]] = {
    "overall": {"sd": 0.07, "mean": 0.06},
    **{by: {"sd": 0.07, "mean": 0.15} for by in ("age tertile", "sex", "site")},
}


class Norm(NormativeModel):
    """A norm that keeps the raw z of people it has scored: every figure uses the same raw z."""

    def raw(self, cohort: Cohort, kind: str = "reconstruction", *, member: int | None = None) -> xr.Dataset:
        """Raw deviations, from memory where these people were scored before."""
        known: dict[Any, xr.Dataset] = self.__dict__.setdefault("known", {})
        key = (
            kind,
            member,
            str(self.widths.get(kind)),
            hash(tuple(frame.to_numpy().tobytes() for frame in cohort.values.values())),
        )
        if key not in known:
            known[key] = super().raw(cohort, kind, member=member)
        return known[key]

    def pair(self, cohort: Cohort, kind: str = "reconstruction") -> tuple[np.ndarray, np.ndarray]:
        """Raw z and design."""
        return self.raw(cohort, kind)["z_raw"].to_numpy(), self.preprocess.design(cohort)


def z_table(norm: Norm, cohort: Cohort, kind: str) -> pd.DataFrame:
    """Calibrated z as a table."""
    frame: pd.DataFrame = norm.deviations(cohort, kind)["z"].to_pandas()
    return frame


def calibrated(norm: Norm, cohort: Cohort, truth: str) -> Iterable[Found]:
    """Figures of z in test controls, overall and by age, sex and site."""
    reports = calibration_report(norm, cohort)
    if "latent" in reports:
        share = reports.pop("latent")["share_p_below_0.05"]["latent_p"]
        ask = Ask(around=0.05, slack=0.02)
        yield Found(f"{truth}, latent: share of test controls with p < .05", share["value"], ask, _error(share))
    for kind, report in reports.items():
        start, slack = f"{truth}, {kind}: ", NORMATIVE if kind == "normative" else SLACK
        for name, wide in slack["overall"].items():
            yield _reported(f"{start}{WORDS[name]}", report["overall"], name, wide)
        for level in COVERAGE_LEVELS:
            name = f"coverage_{round(100 * level)}"
            yield _reported(f"{start}coverage", report["overall"], name, 0.01, f"{100 * level:g} %", level)
        for block in report["groups"]:
            for name, wide in slack.get(block["by"], {}).items():
                what = f"{start}{WORDS[name]}, by {block['by']}"
                yield _reported(what, block, name, wide, _tertile(block["level"]))
        if truth == "linear":
            yield from tails(report, f"linear, {kind}")


def tails(report: dict[str, Any], start: str) -> Iterable[Found]:
    """Shares far out, in per cent."""
    for bound, low, high in ((2.58, 0.6, 1.4), (3.29, 0.04, 0.2)):
        share = 100 * report["overall"][f"beyond_{bound}"]["value"]
        yield Found(f"{start}: % beyond {bound}", share, Ask(low=low, high=high))


def incomplete(norm: Norm, cohort: Cohort) -> Iterable[Found]:
    """Figures within each pattern of missing modalities."""
    for kind, report in calibration_report(norm, cohort).items():
        for block in report["groups"]:
            if block["by"] == "modalities present":
                large = block["n"] >= LARGE_PATTERN
                for name in ("sd", "mean"):
                    what = f"missing, {kind}: {WORDS[name]}, patterns of {'400 or more' if large else 'fewer than 400'}"
                    yield _reported(what, block, name, 0.05, block["level"])


def new_site(norm: Norm, study: People) -> Iterable[Found]:
    """A new site, shifted, with 1.25 times the SD: reported as miscalibrated; calibrated with 30 local controls."""
    adapted = norm.adapt(study.local)
    norm.unseen_site = "population"
    asked = {"mean": Ask(high=0.15), "SD": Ask(low=0.9, high=1.1), "RMS": Ask(high=1.3 / np.sqrt(LOCAL_CONTROLS))}
    for kind in REGIONAL:
        start, there = f"new site, {kind}: ", study.elsewhere
        modality = norm.raw(there, kind)["modality"].to_numpy()
        pairs = (norm.pair(study.cohort.calibrate, kind), norm.pair(there, kind))
        report = assess(norm.calibrators[kind], *pairs, there.covariates, there.kinds, modality, repeats=50)
        warned = bool(outside(report["overall"]))  # everybody is of that site
        yield Found(f"{start}share of reports that say it is off, before", float(warned), Ask(low=1.0))
        z = z_table(adapted, there, kind).to_numpy()
        wide = Ask(high=0.3) if kind == "normative" else asked["mean"]
        yield Found(f"{start}|mean| after {LOCAL_CONTROLS} local controls", abs(z.mean()), wide)
        square = square_spread(np.stack([z**i for i in range(5)], -1).sum(0))["rms_mean"]
        yield Found(f"{start}SD after", z.std(), asked["SD"])
        yield Found(f"{start}RMS over regions of the mean after", np.sqrt(max(0.0, square)), asked["RMS"])
    norm.unseen_site = "refuse"


def conformal(norm: Norm, cohort: Cohort, seed: int) -> Iterable[Found]:
    """P(p <= a) of healthy people over random splits of them, with a calibrator fitted in each split."""
    raw, design = (np.concatenate(x) for x in zip(norm.pair(cohort.calibrate), norm.pair(cohort.test), strict=True))
    rng = np.random.default_rng([seed, 5])
    for n in (106, 1000):
        for _ in range(SPLITS):
            fitted, others = np.split(rng.permutation(len(raw)), [n])
            calibrator = CALIBRATORS["empirical"](raw[fitted], design[fitted], norm.preprocess.groups)
            z = calibrator(raw[others], design[others])
            p = {"region": calibrator.conformal(np.abs(z)), "omnibus": calibrator.omnibus(mean_square(z)[:, None])}
            for part, values in p.items():
                for a in P_LEVELS:
                    name = f"conformal p, {part}, n_cal {n}: P(p <= {a:g})"
                    yield Found(name, float((values <= a).mean()), Ask(high=a, chance=True))


def _reported(
    what: str, block: dict[str, Any], name: str, slack: float, level: str = "", nominal: float | None = None
) -> Found:
    """A figure of the report with its standard error."""
    around = float(name == "sd") if nominal is None else nominal
    ask = Ask(around=around, slack=slack, positive=name.startswith("rms"))
    return Found(what, block[name]["value"], ask, _error(block[name]), level)


def _error(figure: dict[str, float]) -> float:
    """Standard error of a figure, from its 95 % interval."""
    return (figure["high"] - figure["low"]) / 3.92


def _tertile(level: str) -> str:
    """The name of a tertile without its limits, which differ between seeds."""
    if level.startswith("below"):
        return "youngest"
    return "oldest" if level.endswith("above") else "middle" if " to " in level else level
