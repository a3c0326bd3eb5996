"""The figures that the project promises, in parts: each is printed beside its bounds, and kept in docs/results."""

import argparse
import platform
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import abide, memory, page, processes, quality, scoring, step_time, trust
from benchmarks.figure import Figure

__all__ = ["PARTS", "run", "trust_options"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "results" / "benchmarks.md"
FRESH = 40_000
"""First seed of `trust`: nothing was tuned on seeds from here on."""


def speed() -> list[Figure]:
    """Speed of training steps, imports and help."""
    step = step_time.main()
    return [
        Figure("training step / hand-written PyTorch step, ratio of medians", None, 1.3, step["ratio"]),
        Figure("step of 20 members on two threads / 20 steps of one", None, 0.5, step_time.members()),
        Figure("time to the held-out loss of 100 hand-written epochs / their time", None, 1.0, step_time.to_quality()),
        Figure("training step, ms", None, None, step["library_ms"]),
        Figure("import pyro_mmnorm beyond torch and pyro, s", None, 0.5, processes.import_seconds()),
        Figure(
            "  and its model, fit and norm", None, None, processes.import_seconds("mm.MMVAE, mm.fit, mm.NormativeModel")
        ),
        Figure("mmnorm --help, s", None, 1.0, processes.help_seconds()),
    ]


def commands() -> list[Figure]:
    """Time and memory of whole commands."""
    figures = []
    asked = {
        "demo": (("demo", "--out", "{out}"), 2048),
        "run configs/abide.yaml": (("run", "configs/abide.yaml", "--out", "{out}"), 1536),
        "run configs/aomic.yaml": (("run", "configs/aomic.yaml", "--out", "{out}"), 1536),
    }
    for name, (words, most) in asked.items():
        seconds, peak = processes.command(*words)
        figures += [
            Figure(f"mmnorm {name}: wall time, s", None, 180, seconds),
            Figure(f"mmnorm {name}: peak memory, MiB", None, most, peak),
        ]
    return figures


def newcomer() -> list[Figure]:
    """From a folder of tables to a page, and the notebooks."""
    page = Figure("init, inspect and run on 1000 people: wall time, s", None, 600, processes.newcomer_seconds())
    return [page, *(Figure(f"notebook {name}, s", None, 180, s) for name, s in processes.notebook_seconds().items())]


def brains() -> list[Figure]:
    """ABIDE-I, means over five split seeds."""
    f = abide.main()
    return [
        Figure("ABIDE regions", None, None, f["regions"]),
        Figure("ABIDE test controls: SD of z", 0.95, 1.05, f["sd"]),
        Figure("ABIDE test controls: mean of z", -0.05, 0.05, f["mean"]),
        Figure("ABIDE test controls: share beyond 1.96", 0.04, 0.06, f["beyond_1.96"]),
        Figure("ABIDE AUC of mean z^2, autism against test controls", 0.50, 0.68, f["auc_autism"]),
        Figure("  the same, adjusted for image quality", None, None, f["auc_autism_adjusted"]),
        Figure("  AUC of the signed mean z (about 0.5)", None, None, f["auc_signed_mean"]),
        Figure("  left-out training controls against test controls", 0.45, 0.55, f["auc_train_left_out"]),
        Figure("  training controls in sample against test controls", None, None, f["auc_train_in_sample"]),
    ]


def simulated() -> list[Figure]:
    """Detection on simulated cohorts of known truth, means over seeds."""
    figures = []
    for kind, table in quality.main().items():
        mean = table.mean()
        reached = {name: mean[name]["correlation"] for name in mean.index.get_level_values(0).unique()}
        ours, default, start = reached["default"], mean["default"], quality.SAME_START
        less = {name: ours - theirs for name, theirs in reached.items()}
        if kind == "curved":
            figures += [
                Figure(
                    f"{kind}: correlation with effects, ours less factor analysis", 0.05, None, less["factor analysis"]
                ),
                Figure(f"{kind}: ours less concatenated", -0.01, None, less["concatenated"]),
                Figure(f"{kind}: ours less concatenated {start}", -0.01, None, less[f"concatenated {start}"]),
            ]
        else:
            brain = 0.10 if kind == quality.BIG_FACTOR else None
            figures += [
                Figure(f"{kind}: correlation with effects / that of the exact z", 0.97, None, ours),
                Figure(f"{kind}: rank AUC / that of the exact z", 0.98, None, default["auc"]),
                Figure(f"{kind}: SD of z in test controls", 0.95, 1.05, default["sd"]),
                Figure(f"{kind}: ours less factor analysis", -0.02, None, less["factor analysis"]),
                Figure(f"{kind}: ours less unimodal, as in the literature", 0.10, None, less["unimodal"]),
                Figure(f"{kind}: ours less concatenated, as in the literature", brain, None, less["concatenated"]),
                Figure(f"{kind}: ours less unimodal {start}", None, None, less[f"unimodal {start}"]),
                Figure(f"{kind}: ours less concatenated {start}", None, None, less[f"concatenated {start}"]),
                Figure(f"{kind}: ours less the best of any unimodal model", None, None, less[quality.EXACT_UNIMODAL]),
            ]
        for name, theirs in reached.items():
            figures.append(Figure(f"  {kind}, {name}: correlation ratio", None, None, theirs))
            if name != quality.EXACT_UNIMODAL:
                figures.append(Figure(f"  {kind}, {name}: held-out evidence, nats", None, None, mean[name]["evidence"]))
    return figures


def sizes() -> list[Figure]:
    """Memory of a fit."""
    small, large = (memory.fit_memory(n) for n in (25_000, 100_000))
    growth = (large[1] - large[0]) / (small[1] - small[0])
    return [
        Figure("fit at 100,000 x 115: peak memory, MiB", None, 1536, large[1]),
        Figure("  of which before the fit", None, None, large[0]),
        Figure("memory of the fit itself at 100,000 / at 25,000 people", None, 4, growth),
    ]


def scored() -> list[Figure]:
    """Scoring of many people, with few draws where memory and growth are asked."""
    small, large = (scoring.scoring(n, draws=16, normative=64) for n in (25_000, 100_000))
    usual = scoring.scoring(1000)
    return [
        Figure("scoring 100,000 x 115 by all kinds: peak memory, MiB", None, 2048, large.peak),
        Figure("  CPU time a person at 100,000 / at 25,000, few draws", None, 1.15, large.seconds / small.seconds / 4),
        *(Figure(f"  people a second, {kind}", None, None, 1000 / s) for kind, s in usual.parts.items()),
        Figure("  people a second, all kinds", None, None, 1000 / usual.seconds),
    ]


def pages() -> list[Figure]:
    """The page of the demo run in headless Chromium."""
    f = page.main()
    return [
        Figure("page of the demo run, MB", None, 10, f["megabytes"]),
        Figure("first view (largest contentful paint), s", None, 2, f["first_view"]),
        Figure("  until every person can be picked, s", None, None, f["ready"]),
        Figure("requests beside the page itself", None, 0, f["requests"]),
        Figure("messages on the console", None, 0, f["console"]),
        Figure("serious or critical findings of axe-core", None, 0, f["axe"]),
    ]


def trusted(options: argparse.Namespace) -> list[Figure]:
    """Calibration and detection of trained default models on simulated cohorts of fresh seeds."""
    first, seeds = getattr(options, "seed", FRESH), getattr(options, "seeds", 5)
    return trust.main(first, seeds, keep=getattr(options, "keep", None))


def trust_options(parser: argparse.ArgumentParser) -> None:
    """The options of `trust`."""
    parser.add_argument("--seed", type=int, default=FRESH, help="first seed; any other value gives fresh cohorts")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds in the mean")
    parser.add_argument("--keep", type=Path, help="folder for the figures of each cohort; read again when present")


PARTS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "speed": lambda _: speed(),
    "commands": lambda _: commands(),
    "newcomer": lambda _: newcomer(),
    "brains": lambda _: brains(),
    "simulated": lambda _: simulated(),
    "sizes": lambda _: sizes(),
    "page": lambda _: pages(),
    "scoring": lambda _: scored(),
    "trust": trusted,
}


def run(name: str, options: argparse.Namespace) -> None:
    """Measure one part, print it, and keep it on request."""
    rows = [(f.name, f.asked, f"{f.reached:.3f}", f.met) for f in PARTS[name](options)]
    table = Table("figure", "asked", "reached", "met", title=name)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
    if options.write:
        _keep(name, rows)


def _row(cells: tuple[str, ...]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _keep(name: str, rows: list[tuple[str, str, str, str]]) -> None:
    """Replace the section of this part in the document."""
    text = DOCUMENT.read_text() if DOCUMENT.is_file() else HEAD
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE))
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    lines = ["| figure | asked | reached | met |", "|---|---|---|---|", *(_row(row) for row in rows)]
    sections[name] = f"\n{datetime.now(UTC).date()}; {machine}\n\n" + "\n".join(lines) + "\n\n"
    parts = [f"## {part}\n\n{sections[part].strip()}\n\n" for part in PARTS if part in sections]
    DOCUMENT.write_text((HEAD + "".join(parts)).rstrip() + "\n")


HEAD = """# Benchmarks

The last output of `uv run python -m benchmarks --write`, on 2 cores without a GPU; with the name of a
section, that section alone. Ratios are medians of interleaved steps within one run, one thread. ABIDE and AOMIC figures
need the optional tables (configs/abide.yaml gives their place); ABIDE figures are means over five split seeds.

Training controls deviate less in sample than test controls do, with any model fitted to 300 people and 238 regions. No
table or finding uses in-sample z-scores. The row that must be near .5 compares like with like: training and test
controls are scored by a model that was fitted without the fold of the training controls.

`trust` evaluates deviations on simulated cohorts of 115 regions, 2,500 training, 1,000 calibration and 1,200 test
controls: means over five seeds, or `--seeds N` from `--seed S` on. The bound of a figure of test controls is
its tolerance, or 3 standard errors where that is more; of age tertiles, sexes, sites and coverages the worst is shown.

`simulated` plants changes of 1 SD in 6 % of the regions. Other models "as in the literature" have the networks, the
latents and the training of the default, but random starts, no linear paths and no refinement; those with "same start"
have these too. On linear data a concatenated model with the same start equals the default. A gain on a concatenated
model as in the literature is required where regions share one big positive factor, as brain volumes do; otherwise it is
printed.

"""
