"""Mutants: numbers and comparisons of the package are changed one at a time, and the tests must notice.

`python -m benchmarks mutants --write`. Each mutant is applied to a copy of the package, and the tests of the changed
line are run on the copy. A mutant is killed when one of them fails. The list was written by hand; it is data, so that
anyone can add to it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["ASKED", "MUTANTS", "Mutant", "add_options", "document", "is_killed", "mutated", "run"]

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "results" / "mutants.md"
COPIED = ("pyro_mmnorm", "tests", "configs", "conftest.py", "pyproject.toml")
ASKED = 28 / 30
"""Smallest share of mutants that the tests must kill."""
SECONDS = 1200
"""A run of tests that takes longer has met an endless loop, and counts as a failure."""


class Mutant(NamedTuple):
    """One change of one line.

    Args:
        file: Path below `pyro_mmnorm`.
        original: Text that stands exactly once in the file.
        mutated: Text that replaces it.
        why: What would be wrong for a user.
        tests: Paths below `tests`, separated by a space.
        slow: Whether slow tests are run too.
    """

    file: str
    original: str
    mutated: str
    why: str
    tests: str
    slow: bool = False


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "calibration/conformal.py",
        "(1 + count - below) / (count + 1)",
        "(count - below) / (count + 1)",
        "a conformal p of 0, which is not valid",
        "calibration/test_conformal.py",
    ),
    Mutant(
        "calibration/conformal.py",
        "1 / (group.count + 1) <= self.level",
        "1 / (group.count + 1) < self.level",
        "a group of exactly 19 controls would not count as large enough for p = .05",
        "calibration/test_conformal.py",
    ),
    Mutant(
        "calibration/empirical.py",
        "TAIL_ERRORS = 2.0",
        "TAIL_ERRORS = 0.0",
        "Gaussian tails would be declared heavy by chance, and large z would be too small",
        "calibration/test_empirical.py",
    ),
    Mutant(
        "calibration/empirical.py",
        "np.sqrt(1 - 2 / np.maximum(df, FEWEST_DF))",
        "np.sqrt(1 - 1 / np.maximum(df, FEWEST_DF))",
        "the empirical calibrator would see variables of a wrong SD",
        "calibration/test_empirical.py calibration/test_calibration.py",
    ),
    Mutant(
        "calibration/empirical.py",
        "TAIL = 0.05",
        "TAIL = 0.005",
        "wrong smallest and largest probabilities of the tails",
        "calibration/test_empirical.py",
    ),
    Mutant(
        "calibration/gaussian.py",
        "spread: Floats = 0.5 * np.log(",
        "spread: Floats = np.log(",
        "SDs that depend on age would be calibrated twice over",
        "calibration/test_calibration.py",
    ),
    Mutant(
        "calibration/gaussian.py",
        "np.nanmean(t**2 * (1 - 2 / df))",
        "np.nanmean(t**2 * (1 - 1 / df))",
        "z of few calibration controls would have the wrong SD",
        "calibration/test_gaussian.py",
    ),
    Mutant(
        "calibration/gaussian.py",
        "return 2 * half, float(",
        "return half, float(",
        "variances of regions would be shrunk half as much as is right",
        "calibration/test_calibration.py",
    ),
    Mutant(
        "calibration/mahalanobis.py",
        "f = (self.df - k + 1) / (k * self.df) * square",
        "f = (self.df - k + 1) / self.df * square",
        "latent p-values would be too small",
        "calibration/test_mahalanobis.py",
    ),
    Mutant(
        "calibration/mahalanobis.py",
        "return (df - 1) * square * (1 - h)",
        "return df * square * (1 - h)",
        "leave-one-out distances would not be those of a fit without the person",
        "calibration/test_mahalanobis.py",
    ),
    Mutant(
        "calibration/missing_patterns.py",
        "log = 0.5 * np.log(level / level[common])",
        "log = np.log(level / level[common])",
        "z of people without a modality would be divided by a squared width",
        "calibration/test_missing_patterns.py",
    ),
    Mutant(
        "calibration/missing_patterns.py",
        "error = dispersion / 2 * (",
        "error = dispersion / 8 * (",
        "patterns would get a width of their own by chance",
        "calibration/test_missing_patterns.py",
    ),
    Mutant(
        "calibration/site.py",
        "FEWEST_CONTROLS = 10",
        "FEWEST_CONTROLS = 9",
        "a site would be adapted from fewer controls than documented",
        "calibration/test_site.py norm/test_sites.py",
    ),
    Mutant(
        "calibration/site.py",
        "self.scale * np.sqrt(1 + self.uncertainty)",
        "self.scale * np.sqrt(1 + 3 * self.uncertainty)",
        "z of an adapted site would be too small",
        "calibration/test_site.py",
    ),
    Mutant(
        "calibration/site.py",
        "log = np.log(level) / 2",
        "log = np.log(level)",
        "the scale of a site would be squared",
        "calibration/test_site.py",
    ),
    Mutant(
        "stats/intervals.py",
        "special.ndtri(0.975)",
        "special.ndtri(0.95)",
        "95 % intervals would cover 90 %",
        "stats/test_intervals.py",
    ),
    Mutant(
        "stats/intervals.py",
        "FEWEST = 3",
        "FEWEST = 2",
        "a mean of two people would get an interval",
        "stats/test_intervals.py stats/test_contrasts.py",
    ),
    Mutant(
        "stats/contrasts.py",
        "(p < level).sum(0)",
        "(p <= level).sum(0)",
        "a p of exactly .05 would count as significant",
        "stats/test_contrasts.py",
    ),
    Mutant(
        "stats/contrasts.py",
        "special.gammaln((df - 1) / 2)",
        "special.gammaln((df - 2) / 2)",
        "Hedges' g without the right correction of bias",
        "stats/test_contrasts.py",
    ),
    Mutant(
        "stats/multiplicity.py",
        "np.isfinite(p).sum() - np.arange(p.size)",
        "np.isfinite(p).sum() - np.arange(1, p.size + 1)",
        "Holm's p-values would not control the family-wise error",
        "stats/test_multiplicity.py",
    ),
    Mutant(
        "stats/rates.py",
        "(1 - level) / 2",
        "1 - level",
        "exact intervals would be too short",
        "stats/test_rates.py",
    ),
    Mutant(
        "stats/rates.py",
        "(flag * group).sum(-1) + 0.5",
        "(flag * group).sum(-1) + 0.0",
        "a likelihood ratio of 0 or infinity in a bootstrap sample",
        "stats/test_rates.py app/compare/test_compare.py",
    ),
    Mutant(
        "stats/ranks.py",
        "0.025 ** (1 / sizes.min())",
        "0.05 ** (1 / sizes.min())",
        "the interval of a perfect AUC would be one-sided",
        "stats/test_ranks.py",
    ),
    Mutant(
        "stats/ranks.py",
        "return full / 72",
        "return full / 36",
        "p-values of trends over stages would be too large",
        "stats/test_ranks.py",
    ),
    Mutant(
        "stats/associations.py",
        "1 + r**2 / 2 if method",
        "1 + r**2 if method",
        "intervals of Spearman correlations would be too long",
        "stats/test_associations.py",
    ),
    Mutant(
        "stats/associations.py",
        "factor / (n - k - 3)",
        "factor / (n - k - 1)",
        "intervals of correlations would be too short in small groups",
        "stats/test_associations.py",
    ),
    Mutant(
        "stats/student_t.py",
        "EXPANDED_DF, EXPANDED_T = 500.0, 4.0",
        "EXPANDED_DF, EXPANDED_T = 5.0, 4.0",
        "the expansion would be used where it is inaccurate",
        "stats/test_student_t.py",
    ),
    Mutant(
        "stats/metrics.py",
        "ratio(fourth, variance**2) - 3",
        "ratio(fourth, variance**2) - 2",
        "normal z would have an excess kurtosis of 1",
        "stats/test_metrics.py",
    ),
    Mutant(
        "stats/grouping.py",
        "[1 / 3, 2 / 3]",
        "[1 / 4, 3 / 4]",
        "groups of age would not be tertiles",
        "stats/test_grouping.py",
    ),
    Mutant(
        "stats/dependence.py",
        "/ (permutations + 1)",
        "/ permutations",
        "a permutation p above its valid value",
        "stats/test_dependence.py",
    ),
    Mutant(
        "inference/mixture.py",
        "EDGE = 2.576",
        "EDGE = 1.9",
        "raw z would become Gaussian inside the region where draws are many",
        "inference/test_mixture.py",
    ),
    Mutant(
        "inference/local.py",
        "FLAGGED, READMITTED = 2.8, 2.0",
        "FLAGGED, READMITTED = 3.4, 2.0",
        "strongly deviating regions would stay in the prediction of the others",
        "inference/test_local.py",
    ),
    Mutant(
        "inference/local.py",
        "FLAGGED, READMITTED = 2.8, 2.0",
        "FLAGGED, READMITTED = 2.8, 1.0",
        "regions would not return to the prediction",
        "inference/test_local.py",
    ),
    Mutant(
        "inference/local.py",
        "WORST = 0.03",
        "WORST = 0.06",
        "too many regions would be flagged in one round",
        "inference/test_local.py",
    ),
    Mutant(
        "inference/local.py",
        "kept.shape[-1] // 2",
        "kept.shape[-1] // 3",
        "at most a third of the regions would be flagged instead of half",
        "inference/test_local.py",
    ),
    Mutant(
        "inference/exact.py",
        "seen[rows] & ~flagged",
        "seen[rows]",
        "kind local of linear models would keep flagged regions in the prediction",
        "inference/test_local.py models/test_linear.py",
    ),
    Mutant(
        "inference/evidence.py",
        "ACTIVE_VARIANCE = 0.01",
        "ACTIVE_VARIANCE = 0.1",
        "active latents would be counted as inactive",
        "inference/test_evidence.py inference/test_diagnostics.py",
    ),
    Mutant(
        "inference/initialisation.py",
        "precision / (1 + precision), 1 + precision",
        "precision / (1 + precision), precision",
        "an expert of moe would start with a too large variance",
        "inference/test_initialisation.py inference/test_training.py",
    ),
    Mutant(
        "inference/refine.py",
        "slope[1] / 2",
        "slope[1] / 4",
        "refinement of posteriors would need more steps than it makes",
        "inference/test_refine.py",
    ),
    Mutant(
        "inference/training.py",
        "(epoch + 1) / max(1, warmup)",
        "epoch / max(1, warmup)",
        "the weight of the KL term would be 0 in the first epoch",
        "inference/test_training.py",
    ),
    Mutant(
        "norm/sites.py",
        "kept = gain > error",
        "kept = gain > 0",
        "a decoder tuned to chance would be kept",
        "norm/test_sites_fine_tuning.py",
    ),
    Mutant(
        "norm/sites.py",
        "FEWEST_TUNED = 50",
        "FEWEST_TUNED = 40",
        "a decoder would be tuned to fewer controls than documented",
        "norm/test_sites_fine_tuning.py",
    ),
    Mutant(
        "norm/centiles.py",
        "special.ndtri(q / 100)",
        "special.ndtri(q / 101)",
        "centile curves would be drawn at wrong z",
        "norm/test_centiles.py",
    ),
    Mutant(
        "evaluation/verdict.py",
        '"sd": (0.95, 1.05)',
        '"sd": (0.9, 1.1)',
        "z with an SD of 1.08 would be called well calibrated",
        "evaluation/test_verdict.py",
    ),
    Mutant(
        "findings/frequency.py",
        "p <= LEVEL, np.nan",
        "p < LEVEL, np.nan",
        "an omnibus p of exactly .05 would not count",
        "findings/test_frequency.py",
    ),
    Mutant(
        "findings/summaries.py",
        "benjamini_hochberg(ndtr(-np.abs(z)), axis=0)",
        "benjamini_hochberg(2 * ndtr(-np.abs(z)), axis=0)",
        "the rule of the poster would not be the rule of the poster",
        "findings/test_summaries.py",
    ),
)
"""Every mutant that is tried."""


def mutated(text: str, mutant: Mutant) -> str:
    """The text of the file with the mutant in it.

    Raises:
        ValueError: The original does not stand exactly once in the text.
    """
    count = text.count(mutant.original)
    if count != 1:
        raise ValueError(f"{mutant.file}: {mutant.original!r} stands {count} times; expected once. Correct the list.")
    return text.replace(mutant.original, mutant.mutated)


@contextmanager
def _copy() -> Iterator[Path]:
    """A temporary folder with the package and its tests."""
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        yield Path(folder)


def _pass(folder: Path, tests: Iterable[str], slow: bool) -> bool:
    """Whether these tests pass on the copy."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # no bytecode: a mutant of the same length within the same second would not be compiled anew
    environment = clean | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*words, *(["-m", ""] if slow else []), *(f"tests/{path}" for path in tests)],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{tests}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def is_killed(mutant: Mutant) -> bool:
    """Whether the tests named by the mutant fail with it."""
    with _copy() as folder:
        path = folder / "pyro_mmnorm" / mutant.file
        path.write_text(mutated(path.read_text(encoding="utf-8"), mutant), encoding="utf-8")
        return not _pass(folder, mutant.tests.split(), mutant.slow)


def check_tests_pass(mutants: Iterable[Mutant]) -> None:
    """Run the tests of these mutants on an unchanged copy.

    Raises:
        RuntimeError: They fail without a mutant, so that a failure with one would show nothing.
    """
    mutants = list(mutants)
    for slow in {mutant.slow for mutant in mutants}:
        tests = dict.fromkeys(path for mutant in mutants if mutant.slow == slow for path in mutant.tests.split())
        with _copy() as folder:
            if not _pass(folder, tests, slow):
                raise RuntimeError(f"{', '.join(tests)}: a test fails without any mutant; correct it first")


def document(results: Iterable[tuple[Mutant, bool]]) -> str:
    """docs/results/mutants.md."""
    results = list(results)
    killed = sum(dead for _, dead in results)
    rows = [
        f"| {mutant.file} | {_code(mutant.original)} | {_code(mutant.mutated)} | {mutant.why} | {mutant.tests} "
        f"| {'killed' if dead else '**survived**'} |"
        for mutant, dead in results
    ]
    return HEAD.format(killed=killed, tried=len(results), asked=ASKED, rows="\n".join(rows))


def _code(text: str) -> str:
    """Code in a cell of a Markdown table."""
    return "`" + re.sub(r"\s+", " ", text).strip().replace("|", "\\|") + "`"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m benchmarks mutants`."""
    parser.add_argument("--only", default="", help="try only mutants whose file contains this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants tried at the same time")


def run(options: argparse.Namespace) -> None:
    """Try every mutant, print killed of tried, and write the page on request."""
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.file]
    check_tests_pass(chosen)
    results = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, dead in zip(chosen, pool.map(is_killed, chosen), strict=True):
            results.append((mutant, dead))
            change = f"{_code(mutant.original)} -> {_code(mutant.mutated)}"
            print("killed  " if dead else "SURVIVED", mutant.file, change, flush=True)
    killed = sum(dead for _, dead in results)
    print(f"{killed} of {len(results)} mutants killed; asked: at least {ASKED:.0%}")
    if options.write:
        DOCUMENT.write_text(document(results), encoding="utf-8")
    if killed < ASKED * len(results):
        raise SystemExit("too many mutants survived: write tests that kill them")


HEAD = """# Mutants

`uv run python -m benchmarks mutants --write`. Numbers and comparisons of the package are changed one at a time, and the
tests that concern the changed line are run; a mutant is killed when one of them fails. The list, written by hand, is in
`benchmarks/mutants.py`.

**{killed} of {tried} mutants killed**; asked: at least {asked:.0%}.

| file | original | mutant | what would be wrong | tests | result |
|---|---|---|---|---|---|
{rows}
"""
