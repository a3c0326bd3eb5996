"""The defaults against their alternatives on simulated cohorts of known truth, paired over seeds; effect of refinement.

`python -m benchmarks defaults [--write]`, which keeps the tables in docs/results/defaults.md, column by
column; columns that are not measured again stay as they are.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy import stats

import pyro_mmnorm as mm
from benchmarks.quality import Known, curved, deviations, found, simulation, trained
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.inference.evidence import log_evidence

__all__ = ["ALTERNATIVES", "add_options", "document", "judged", "known", "run"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "results" / "defaults.md"
SHORT = {"patience": 10, "epochs": 150, "start": "linear"}
"""The defaults are 30, 300 and best; smaller values here, for the default and every alternative, save time."""
SPLITS: dict[str, Any] = {"calibrate": 300, "test": 300}
PATIENTS = 100
DEFAULT_REFINE, REFINES = 5, (0, 20)
JOINT = "experts joint (concatenated)"

ALTERNATIVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hidden none (linear)": ({"hidden": ()}, {}),
    "hidden 128-64": ({"hidden": (128, 64)}, {}),
    JOINT: ({"experts": "joint"}, {}),
    "latent_dim 8": ({"latent_dim": 8}, {}),
    "latent_dim 32": ({"latent_dim": 32}, {}),
    "start random": ({}, {"start": "random"}),
    "start nonlinear": ({}, {"start": "nonlinear"}),
    "start best": ({}, {"start": "best"}),
    "fusion gpoe": ({"fusion": "gpoe"}, {}),
    "fusion mopoe": ({"fusion": "mopoe"}, {}),
    "likelihood student_t": ({"likelihood": "student_t"}, {}),
    "prior mixture": ({"prior": "mixture"}, {}),
    "hide_cells 0.05": ({}, {"hide_cells": 0.05}),
    "objective subsampled": ({}, {"objective": "subsampled"}),
}
MANY, OF_MANY = 5_000, tuple(ALTERNATIVES)[:3]
"""From this many training controls on, only these alternatives are trained."""
SEEN = (JOINT, "hidden none (linear)", "start best")
"""Alternatives whose detection is reported too."""
SLOW = ("fusion mopoe", "objective subsampled")
"""Trained on strongly curved cohorts only."""
COHORTS = ("strongly curved", "mildly curved", "linear")


def cohort(kind: str, seed: int, n: int) -> Known:
    """A cohort with n training controls; for the strongly curved kind with planted effects and exact z."""
    if kind == "strongly curved":
        return curved(seed, train=n, **SPLITS, patients=PATIENTS, exact=n < MANY)
    drawn = simulation(seed, train=n, **SPLITS, nonlinear=1.0 if kind == "mildly curved" else 0.0)
    return Known(drawn.to_cohort(), drawn.effect, {})


def evidence(model: mm.MMVAE, truth: Known, refine: int) -> float:
    """Mean held-out evidence of a test control, nats."""
    return float(log_evidence(model, truth.cohort.test, draws=64, refine=refine).mean())


def detection(model: mm.MMVAE, truth: Known, refine: int) -> float:
    """Correlation of calibrated z with the planted effects, as a share of that of the exact z."""
    norm = mm.NormativeModel(model, refine=refine).calibrate(truth.cohort.calibrate)
    z = deviations(norm, truth.cohort.target, "reconstruction")
    return found(z, truth.effect, truth.reference["reconstruction"])["correlation"]


def judged(kind: str, n: int, seed: int, chosen: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Evidence of the default, of more or less refinement and of alternatives; detection where the truth is known."""
    truth = cohort(kind, seed, n)
    default = trained(truth.cohort, seed, SHORT)
    nats = {f"refine {r}": evidence(default, truth, r) for r in REFINES}
    nats["default"] = evidence(default, truth, DEFAULT_REFINE)
    models = {f"default, refine {r}": (default, r) for r in (0, DEFAULT_REFINE, 20)}
    for name in (a for a in chosen if _is_run(a, kind, n)):
        parts, train = ALTERNATIVES[name]
        model = trained(truth.cohort, seed, SHORT | train, **parts)
        nats[name] = evidence(model, truth, 0 if parts.get("fusion") == "mopoe" else DEFAULT_REFINE)
        if name in SEEN:
            models |= {f"{name}, refine {r}": (model, r) for r in (0, DEFAULT_REFINE)}
    known = bool(truth.reference) and n < MANY
    seen = {name: detection(model, truth, r) for name, (model, r) in models.items()} if known else {}
    return nats, seen


def _is_run(name: str, kind: str, n: int) -> bool:
    return name in OF_MANY if n >= MANY else kind == "strongly curved" or name not in SLOW


def interval(x: Sequence[float], digits: int, *, sign: bool) -> str:
    """Mean and half width of its 95 % t interval over seeds."""
    half = stats.t.ppf(0.975, len(x) - 1) * np.std(x, ddof=1) / np.sqrt(len(x))
    return f"{np.mean(x):{'+' if sign else ''}.{digits}f} ± {half:.{digits}f}"


def columns(
    people: Sequence[int], seeds: Sequence[int], only: Sequence[str]
) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """One column per kind and number of controls: evidence minus that of the default, and detection."""
    for n in people:
        for kind in COHORTS:
            with one_thread():
                rows = [judged(kind, n, seed, only) for seed in seeds]
            nats, seen = ({k: [row[i][k] for row in rows] for k in rows[0][i]} for i in (0, 1))
            base = nats.pop("default")
            cells = {"default: nats": f"{np.mean(base):.2f}"}
            cells |= {k: interval(np.subtract(x, base), 2, sign=True) for k, x in nats.items()}
            yield f"{kind}, {n:,}", cells, {k: interval(x, 3, sign=False) for k, x in seen.items()}


HEAD = """# The defaults against their alternatives

Held-out log evidence per person (importance-weighted bound, 64 draws, 5 refining steps) minus that of the default, in
nats: mean over {count} simulated cohorts with its 95 % t interval, paired by cohort. Below 0 the default is better.
Columns give the number of training controls; 115 regions in three modalities, 300 test controls; empty where not run.
Everything was trained with patience {patience} and at most {epochs} epochs, where the defaults are 30 and 300, and from
`start: {start}`, which the default, `best`, tries first; its row shows the gain of the second try. The cohorts
are those of `benchmarks/quality.py`. The commands:

    {commands}

"""
DETECTION = """
## Effect of refinement on detection

Correlation of calibrated `reconstruction` z with the planted effects as a share of that of the exact
leave-one-region-out z ({kinds} training controls, {patients} patients a cohort), mean and interval over the cohorts:

"""


type Cells = dict[str, dict[str, str]]


def document(evidence: Cells, detection: Cells, commands: Sequence[str], seeds: int) -> str:
    """docs/results/defaults.md from column -> row -> cell."""
    possible = ("default: nats", *(f"refine {r}" for r in REFINES), *ALTERNATIVES)
    names = [name for name in possible if any(name in cells for cells in evidence.values())]
    head = HEAD.format(count=seeds, commands="\n    ".join(commands), **SHORT)
    lines = ["| | " + " | ".join(evidence) + " |", "|---|" + "---|" * len(evidence)]
    lines += [f"| {name} | " + " | ".join(cells.get(name, "") for cells in evidence.values()) + " |" for name in names]
    text = head + "\n".join(lines) + "\n"
    for column, seen in detection.items():
        rows = "\n".join(f"| {name} | {x} |" for name, x in seen.items())
        text += DETECTION.format(kinds=column, patients=PATIENTS) + f"| | share of the exact |\n|---|---|\n{rows}\n"
    return text


def known(text: str) -> tuple[Cells, Cells, list[str]]:
    """Evidence, detection and commands of the document as it is."""
    first, *others = text.split(DETECTION[: DETECTION.index("(")])
    (_, *columns), *rows = _table(first)
    evidence = {column: {row[0]: row[i + 1] for row in rows if row[i + 1]} for i, column in enumerate(columns)}
    detection = {re.search(r"\((.*) training", part)[1]: dict(_table(part)[1:]) for part in others}  # type: ignore[index]
    return evidence, detection, re.findall(r"^    (python .*)$", first, flags=re.MULTILINE)


def _table(text: str) -> list[list[str]]:
    """Cells of the rows of the only table in a text, without the separator."""
    rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m benchmarks defaults`."""
    parser.add_argument("--people", type=int, nargs="+", default=[2500, 8000], help="numbers of training controls")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of the cohorts")
    parser.add_argument("--only", nargs="+", default=list(ALTERNATIVES), choices=ALTERNATIVES, metavar="ALTERNATIVE")


def run(options: argparse.Namespace) -> None:
    """Measure and print; replace the columns that were measured on the page on request."""
    nats, seen, commands = known(DOCUMENT.read_text()) if DOCUMENT.is_file() else ({}, {}, [])
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    commands += [command] * (command not in commands)
    for name, cells, found_by in columns(options.people, options.seeds, options.only):
        Console(width=200).print(name, cells, found_by)
        nats[name] = nats.get(name, {}) | cells
        if found_by:
            seen[name] = seen.get(name, {}) | found_by
        if options.write:
            DOCUMENT.write_text(document(nats, seen, commands, len(options.seeds)))
