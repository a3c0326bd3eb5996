"""Every bound on deviations, measured with trained default models on simulated cohorts of fresh seeds.

A figure is the mean over seeds. Figures of test controls have the standard errors of the report: by bootstrap over
people, with the calibration controls resampled too. The bound is |figure - nominal| <= max(tolerance, 3 standard errors
of the mean).
"""

import json
import logging
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks import calibrated, detected, far
from benchmarks.calibrated import REGIONAL, Norm
from benchmarks.figure import Ask, Figure, Found, gathered
from benchmarks.people import People, people
from benchmarks.quality import linear as linear_model
from benchmarks.quality import trained
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.results.schema import KINDS

__all__ = ["COMMON", "main"]

COMMON = {"no common factor": 0.0, "one big factor": 0.2}
CONDITIONAL = ("reconstruction", "cross_modal", "local")
logger = logging.getLogger(__name__)


def fitted(study: People, seed: int, kinds: tuple[str, ...]) -> Norm:
    """The calibrated norm of the default model, trained on these people."""
    return Norm(trained(study.cohort, seed), seed=seed).calibrate(study.cohort.calibrate, kinds)


def linear(seed: int, common: float) -> Iterable[Found]:
    """Linear truth: calibration, detection, false discoveries, an effect along a factor, a new site, conformal p."""
    study = people(seed, common_factor=common)
    norm = fitted(study, seed, KINDS)
    yield from calibrated.calibrated(norm, study.cohort, "linear")
    yield from detected.detection(norm, study)
    yield from detected.false_discoveries(norm, study)
    yield from detected.along_a_factor(norm, people(seed, common_factor=common, effect="latent"))
    yield from calibrated.new_site(norm, study)
    yield from calibrated.conformal(norm, study.cohort, seed)
    yield from far.tails(norm, study.cohort)
    yield from far.right_tail(Norm(linear_model(study.cohort, seed), seed=seed), study.cohort)


def uneven(seed: int, common: float) -> Iterable[Found]:
    """The SD grows by 1.6 over the range of age and differs by site from .8 to 1.25."""
    study = people(seed, common_factor=common, heteroscedastic=1.6, site_scale=(0.8, 1.25))
    yield from calibrated.calibrated(fitted(study, seed, REGIONAL), study.cohort, "uneven")


def heavy(seed: int, common: float) -> Iterable[Found]:
    """Noise of t with 4 degrees of freedom."""
    study = people(seed, common_factor=common, tails=4.0)
    norm = fitted(study, seed, CONDITIONAL)
    for kind, report in calibrated.calibration_report(norm, study.cohort).items():
        yield from calibrated.tails(report, f"t4, {kind}")


def incomplete(seed: int, common: float) -> Iterable[Found]:
    """20 % of the modalities and 3 % of the cells missing."""
    study = people(seed, common_factor=common, missing_modalities=0.2, missing_cells=0.03)
    norm = fitted(study, seed, CONDITIONAL)
    yield from calibrated.incomplete(norm, study.cohort)
    yield from detected.incomplete_detection(norm, study)


COHORTS = {"linear": linear, "uneven": uneven, "heavy": heavy, "incomplete": incomplete}


def main(first: int, seeds: int = 5, cohorts: Iterable[str] = COHORTS, keep: Path | None = None) -> list[Figure]:
    """Every figure.

    Args:
        first: First seed; nothing was tuned on any seed from here on.
        seeds: Number of seeds.
        cohorts: Names of `COHORTS`.
        keep: Folder for the figures of each cohort; cohorts with a file there are not measured again.
    """
    found = []
    with one_thread():
        for seed in range(first, first + seeds):
            for word, common in COMMON.items():
                for name in cohorts:
                    file = keep / f"{word}, {name}, {seed}.json".replace(" ", "-") if keep else None
                    parts = _kept(file) if file and file.is_file() else _measured(name, seed, common, file)
                    found += [x._replace(name=f"{word}; {x.name}") for x in parts]
    return gathered(sorted(found, key=lambda x: list(COMMON).index(x.name.split("; ")[0])))


def _measured(name: str, seed: int, common: float, file: Path | None) -> list[Found]:
    """The figures of one cohort, kept in a file."""
    began = time.process_time()
    found = list(COHORTS[name](seed, common))
    logger.info("%s, common factor %.1f, seed %d: %.0f s", name, common, seed, time.process_time() - began)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, default=float))
    return found


def _kept(file: Path) -> list[Found]:
    """The figures in a file."""
    rows = json.loads(file.read_text())
    return [Found(name, value, Ask(*ask), error, level) for name, value, ask, error, level in rows]
