"""Our defaults against their alternatives on simulated cohorts: held-out evidence, paired over seeds.

Run by itself: `python -m tests.benchmarks.defaults [--write]`, which keeps the table in docs/defaults.md.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from scipy import stats

from pyro_mmnorm.evidence import log_evidence
from tests.benchmarks.quality import curved, simulation, trained

DOCUMENT = Path(__file__).parents[2] / "docs" / "defaults.md"

ALTERNATIVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "latent_dim 8": ({"latent_dim": 8}, {}),
    "latent_dim 32": ({"latent_dim": 32}, {}),
    "hidden 128-64": ({"hidden": (128, 64)}, {}),
    "hidden none (linear)": ({"hidden": ()}, {}),
    "start random": ({}, {"start": "random"}),
    "learning_rate 0.001": ({}, {"learning_rate": 1e-3}),
    "weight_decay 0.01": ({}, {"weight_decay": 1e-2}),
    "fusion gpoe": ({"fusion": "gpoe"}, {}),
    "fusion mopoe": ({"fusion": "mopoe"}, {}),
    "experts joint": ({"experts": "joint"}, {}),
    "likelihood normal_hetero": ({"likelihood": "normal_hetero"}, {}),
    "likelihood student_t": ({"likelihood": "student_t"}, {}),
    "prior mixture": ({"prior": "mixture"}, {}),
    "objective subsampled": ({}, {"objective": "subsampled"}),
    "hide_cells 0.05": ({}, {"hide_cells": 0.05}),
}
COHORTS = {
    "linear": lambda seed, n: simulation(seed, train=n, calibrate=30, test=1000).to_cohort(),
    "mildly curved": lambda seed, n: simulation(seed, train=n, calibrate=30, test=1000, nonlinear=1.0).to_cohort(),
    "strongly curved": lambda seed, n: curved(seed, train=n, calibrate=30, test=1000, patients=0, exact=False).cohort,
}


def evidence(cohort: Any, seed: int, parts: dict[str, Any], train: dict[str, Any]) -> float:
    """Mean held-out evidence of a test control, nats, with refined posteriors where there are any."""
    model = trained(cohort, seed, train, **parts)
    refine = 0 if parts.get("fusion") == "mopoe" else 5
    return float(log_evidence(model, cohort.test, draws=32, refine=refine).mean())


def main(people: tuple[int, ...] = (2500, 8000), seeds: tuple[int, ...] = (1, 2, 3)) -> pd.DataFrame:
    """Rows: alternatives; columns: cohorts; evidence less that of the default, mean and 95 % t interval over seeds."""
    table: dict[str, dict[str, str]] = {}
    for n in people:
        for kind, make in COHORTS.items():
            drawn = [(seed, make(seed, n)) for seed in seeds]
            base = np.array([evidence(cohort, seed, {}, {}) for seed, cohort in drawn])
            column = f"{kind}, {n:,}"
            table.setdefault("default: nats", {})[column] = f"{base.mean():.2f}"
            for name, (parts, train) in ALTERNATIVES.items():
                less = np.array([evidence(cohort, seed, parts, train) for seed, cohort in drawn]) - base
                half = stats.t.ppf(0.975, len(less) - 1) * less.std(ddof=1) / np.sqrt(len(less))
                table.setdefault(name, {})[column] = f"{less.mean():+.2f} ± {half:.2f}"
    return pd.DataFrame(table).T


def keep(table: pd.DataFrame, people: tuple[int, ...], seeds: tuple[int, ...]) -> None:
    """Write the table to docs/defaults.md."""
    sizes, which = " ".join(map(str, people)), " ".join(map(str, seeds))
    lines = [
        "# The defaults against their alternatives",
        "",
        "Held-out log evidence per person (importance-weighted bound, 32 draws) less that of the default, in nats:",
        f"mean over {len(seeds)} cohorts with its 95 % t interval, paired by cohort. Below 0 the default is better.",
        "Columns tell the number of training controls; 115 regions, 1,000 test controls. The command:",
        "",
        f"    python -m tests.benchmarks.defaults --people {sizes} --seeds {which} --write",
        "",
        "| | " + " | ".join(table.columns) + " |",
        "|---|" + "---|" * len(table.columns),
        *(f"| {name} | " + " | ".join(row) + " |" for name, row in zip(table.index, table.to_numpy(), strict=True)),
        "",
    ]
    DOCUMENT.write_text("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, nargs="+", default=[2500, 8000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--write", action="store_true", help="keep the table in docs/defaults.md")
    chosen = parser.parse_args()
    found = main(tuple(chosen.people), tuple(chosen.seeds))
    Console(width=200).print(found.to_string())
    if chosen.write:
        keep(found, tuple(chosen.people), tuple(chosen.seeds))
