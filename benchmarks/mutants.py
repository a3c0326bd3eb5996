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
        tests: Path or test id below `tests`, as pytest takes it.
        slow: Whether slow tests are run too.
    """

    file: str
    original: str
    mutated: str
    why: str
    tests: str
    slow: bool = False


MUTANTS: tuple[Mutant, ...] = ()
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


def _pass(folder: Path, tests: str, slow: bool) -> bool:
    """Whether these tests pass on the copy."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", f"tests/{tests}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # no bytecode: a mutant of the same length within the same second would not be compiled anew
    environment = clean | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*words, "-m", ""] if slow else words,
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
        return not _pass(folder, mutant.tests, mutant.slow)


def check_tests_pass(mutants: Iterable[Mutant]) -> None:
    """Run the tests of these mutants on an unchanged copy.

    Raises:
        RuntimeError: They fail without a mutant, so that a failure with one would show nothing.
    """
    for tests, slow in dict.fromkeys((mutant.tests, mutant.slow) for mutant in mutants):
        with _copy() as folder:
            if not _pass(folder, tests, slow):
                raise RuntimeError(f"tests/{tests} fails without any mutant; expected it to pass. Correct it first.")


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
