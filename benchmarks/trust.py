"""Whether deviations can be trusted: every number asked of them, of trained default models on fresh simulated cohorts.

A figure is the mean over seeds. Those of test controls have standard errors, the report's: by bootstrap over people,
the calibration controls resampled too. Asked is |figure - nominal| <= max(tolerance, 3 standard errors of the mean).
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


def fitted(them: People, seed: int, kinds: tuple[str, ...]) -> Norm:
    """The default model of these people, trained, and its calibrated norm."""
    return Norm(trained(them.cohort, seed), seed=seed).calibrate(them.cohort.calibrate, kinds)


def linear(seed: int, common: float) -> Iterable[Found]:
    """Calibration, detection, false finds, an effect along a factor, a new site, conformal p: truth is linear."""
    them = people(seed, common_factor=common)
    norm = fitted(them, seed, KINDS)
    yield from calibrated.calibrated(norm, them.cohort, "linear")
    yield from detected.detection(norm, them)
    yield from detected.false_finds(norm, them)
    yield from detected.along_a_factor(norm, people(seed, common_factor=common, effect="latent"))
    yield from calibrated.new_site(norm, them)
    yield from calibrated.conformal(norm, them.cohort, seed)
    yield from far.far_out(norm, them.cohort)
    yield from far.right_tail(Norm(linear_model(them.cohort, seed), seed=seed), them.cohort)


def uneven(seed: int, common: float) -> Iterable[Found]:
    """The SD grows by 1.6 over the range of age and differs by site from .8 to 1.25."""
    them = people(seed, common_factor=common, heteroscedastic=1.6, site_scale=(0.8, 1.25))
    yield from calibrated.calibrated(fitted(them, seed, REGIONAL), them.cohort, "uneven")


def heavy(seed: int, common: float) -> Iterable[Found]:
    """Noise of t with 4 degrees of freedom."""
    them = people(seed, common_factor=common, tails=4.0)
    norm = fitted(them, seed, CONDITIONAL)
    for kind, report in calibrated.calibration_report(norm, them.cohort).items():
        yield from calibrated.tails(report, f"t4, {kind}")


def incomplete(seed: int, common: float) -> Iterable[Found]:
    """20 % of the modalities and 3 % of the cells missing."""
    them = people(seed, common_factor=common, missing_modalities=0.2, missing_cells=0.03)
    norm = fitted(them, seed, CONDITIONAL)
    yield from calibrated.incomplete(norm, them.cohort)
    yield from detected.incomplete_detection(norm, them)


COHORTS = {"linear": linear, "uneven": uneven, "heavy": heavy, "incomplete": incomplete}


def main(first: int, seeds: int = 5, cohorts: Iterable[str] = COHORTS, keep: Path | None = None) -> list[Figure]:
    """Every figure.

    Args:
        first: The first seed; nothing was tuned on any from here.
        seeds: How many.
        cohorts: Some of `COHORTS`.
        keep: A folder for what each cohort gave; what lies there is not measured again.
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
    """What was kept."""
    rows = json.loads(file.read_text())
    return [Found(name, value, Ask(*ask), error, level) for name, value, ask, error, level in rows]
