"""One entry: `python -m benchmarks NAME [--write]`; `--write` keeps the output on a page of docs/results."""

import argparse
from typing import Protocol

from benchmarks import ablations, defaults, mutants, parts


class Benchmark(Protocol):
    """A module with a page of its own."""

    def add_options(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> None: ...


PAGES: dict[str, Benchmark] = {"ablations": ablations, "defaults": defaults, "mutants": mutants}
"""Each has docs/results/<name>.md; every other name is a section of docs/results/benchmarks.md."""


def main() -> None:
    """Parse the command line, measure, print, and keep on request."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the output in docs/results")
    names = parser.add_subparsers(dest="name", metavar="NAME", help="all of benchmarks.md without a name, or one of:")
    for name in (*parts.PARTS, *PAGES):
        page = f"{name}.md" if name in PAGES else f"benchmarks.md, section {name}"
        command = names.add_parser(name, help=page)
        # no default of its own, so that `--write` before the name counts too
        command.add_argument("--write", action="store_true", default=argparse.SUPPRESS, help=f"docs/results/{page}")
        if name in PAGES:
            PAGES[name].add_options(command)
    parts.trust_options(names.choices["trust"])
    options = parser.parse_args()
    if options.name in PAGES:
        PAGES[options.name].run(options)
        return
    for name in [options.name] if options.name else parts.PARTS:
        parts.run(name, options)


if __name__ == "__main__":
    main()
