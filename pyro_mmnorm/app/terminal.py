"""Output of commands: a summary at the end, one line for an error, and after Ctrl-C how to continue."""

import inspect
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pyro_mmnorm.core.errors import InputError

__all__ = ["GroupedHelp", "Summary", "cli_command", "print_summary"]

INTERRUPTED = 130
TICK = 0.05  # seconds; the clock of file times is coarse
CONTENT = {
    "report.html": "the page: open it in a browser",
    "compare.html": "the page: open it in a browser",
    "study.html": "the page: open it in a browser",
    "z.csv": "calibrated z, person by region",
    "subjects.csv": "measures and covariates, a row per person",
    "regions.csv": "results by region and group",
    "calibration.json": "calibration check in test controls",
    "findings.json": "trends, contrasts and correlations",
    "deviations.nc": "z, p, q, expected value and SD of every kind",
    "calibration_controls.nc": "data to which calibrators are refitted",
    "posterior.nc": "draws, for arviz.from_netcdf",
    "study.csv": "a row per measure and model",
    "runs": "run folders, one per model and seed",
    "compare.csv": "a row per metric and run",
    "compare.json": "the same as JSON",
    "participants.csv": "age, sex, site and diagnosis of the people",
    "effect.csv": "truth: planted effects",
    "reference_reconstruction.csv": "truth: exact z, each region given all others",
    "reference_cross_modal.csv": "truth: exact z, each region given the other modalities",
    "reference_normative.csv": "truth: exact z for age, sex and site",
    "truth.npz": "truth: parameters of the simulation",
    "figures": "figures of the page",
    "model": "the fitted norm, read by mmnorm score",
    "history.csv": "training, a row per epoch",
    "latents.csv": "activity of each latent",
    "diagnostics.json": "diagnostics of the training",
    "centiles.nc": "centile curves of the page",
    "config.yaml": "the configuration with all defaults",
    "provenance.json": "versions, seed, checksums of the tables, times",
    "manifest.json": "the files of this run, which --overwrite may remove",
}
"""File or folder -> its content, in the order of a summary."""

QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
JSON = Annotated[
    bool, typer.Option("--json", help="Print the summary as one JSON object, and nothing else, to stdout.")
]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The summary that a command prints at its end.

    Args:
        out: The file or folder that was written.
        words: The answer in words, a line each.
        verdict: The verdict of the calibration report.
        then: The next step.
        facts: Additional entries for `--json`.
    """

    out: Path | None = None
    words: Sequence[str] = ()
    verdict: str = ""
    then: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def written(self) -> list[dict[str, Any]]:
        """Name, content and bytes of every file and folder in `out`."""
        if self.out is None or not self.out.exists():
            return []
        inside = sorted(self.out.iterdir()) if self.out.is_dir() else [self.out]
        order = list(CONTENT)
        inside.sort(key=lambda path: order.index(path.name) if path.name in CONTENT else len(order))
        return [{"name": p.name, "content": CONTENT.get(p.name, ""), "bytes": _bytes(p)} for p in inside]


def _bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def cli_command(command: Callable[..., Summary]) -> Callable[..., None]:
    """A command with `--quiet` and `--json` that prints its summary and ends with exit code 0, 2 or 130.

    Progress, log lines and errors go to stderr, the summary goes to stdout. Bad input (`InputError`) ends with one line
    and exit code 2, Ctrl-C with exit code 130 and the command with which to continue.
    """

    @wraps(command)
    def wrapped(*args: Any, quiet: bool, as_json: bool, **kwargs: Any) -> None:
        from pyro_mmnorm.core.progress import silent

        began = time.time()
        _log_to_stderr(quiet=quiet)
        try:
            with silent(quiet):
                summary = command(*args, **kwargs)
        except InputError as error:
            typer.echo(f"mmnorm: {error}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo(f"\nmmnorm: interrupted. {_how_to_continue(kwargs, began)}", err=True)
            raise typer.Exit(INTERRUPTED) from error
        if as_json:
            typer.echo(json.dumps(_record(command.__name__, summary, time.time() - began), ensure_ascii=False))
        elif not quiet:
            print_summary(summary)

    signature = inspect.signature(command)
    keyword, options = inspect.Parameter.KEYWORD_ONLY, {"quiet": QUIET, "as_json": JSON}
    added = [inspect.Parameter(name, keyword, default=False, annotation=kind) for name, kind in options.items()]
    with_options: Any = wrapped
    with_options.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])
    return with_options


def _log_to_stderr(*, quiet: bool) -> None:
    """Log lines above progress bars; only errors when quiet."""
    from pyro_mmnorm.core.progress import LogAboveBars

    logger = logging.getLogger("pyro_mmnorm")
    logger.handlers = [LogAboveBars()]
    logger.setLevel(logging.ERROR if quiet else logging.INFO)


def _record(name: str, summary: Summary, seconds: float) -> dict[str, Any]:
    """The summary for `--json`."""
    record = {
        "command": name,
        "out": None if summary.out is None else str(summary.out),
        "written": summary.written(),
        "verdict": summary.verdict or None,
        "words": list(summary.words),
        "seconds": round(seconds, 3),
    }
    return record | dict(summary.facts)


def print_summary(summary: Summary) -> None:
    """Print the answer, the files written, the verdict and the next step; with styles on a terminal only."""
    for line in summary.words:
        typer.echo(line)
    if rows := summary.written():
        _table(summary.out, [(row["name"], _size(row["bytes"]), row["content"]) for row in rows])
    for line in (summary.verdict, summary.then):
        if line:
            typer.echo(line)


def _table(out: Path | None, rows: list[tuple[str, str, str]]) -> None:
    """Print name, size and content of files."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        typer.echo(f"written to {out}:")
        for name, size, content in rows:
            typer.echo(f"  {name:<{widths[0]}}  {size:>{widths[1]}}  {content}".rstrip())
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Written to {out}", title_justify="left", box=SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def _size(count: int) -> str:
    """Bytes in kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _how_to_continue(kwargs: Mapping[str, Any], began: float) -> str:
    """A sentence after Ctrl-C: the same command, with --resume where an interrupted run can be continued."""
    command = ["mmnorm", *sys.argv[1:]]
    if "resume" not in kwargs:
        return f"No file is incomplete. To start again: {shlex.join(command)}"
    config = Path(kwargs["out"] or ".") / "config.yaml"
    if kwargs.get("overwrite") and not (config.is_file() and config.stat().st_mtime >= began - TICK):
        return f"Nothing was changed. To start again: {shlex.join(command)}"
    command = [word for word in command if word not in ("--overwrite", "--resume")]
    return f"No file is incomplete. To continue: {shlex.join([*command, '--resume'])}"


class GroupedHelp(TyperGroup):
    """A --help with the commands under headings, in the order of their definition; see `rich_help_panel`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each heading with its commands; names have one width in all groups."""
        groups: dict[str, list[tuple[str, str]]] = {}
        width = max(len(name) for name in self.commands)
        for name in self.list_commands(ctx):
            command = self.commands[name]
            text = (command.help or "").partition("\n")[0].rstrip(".")
            panel = getattr(command, "rich_help_panel", None)
            groups.setdefault(str(panel or "More"), []).append((f"{name:<{width}}", text))
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)
