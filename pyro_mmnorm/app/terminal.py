"""How a command speaks: a summary at its end, one line for an error, after Ctrl-C the way to go on."""

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

__all__ = ["Summary", "Tour", "cli_command", "print_summary"]

INTERRUPTED = 130
TICK = 0.05  # seconds: the time of a file is that of the last tick of a coarse clock
CONTENT = {
    "report.html": "the page: open it in a browser",
    "compare.html": "the page: open it in a browser",
    "study.html": "the page: open it in a browser",
    "z.csv": "calibrated z, person by region",
    "subjects.csv": "a row a person",
    "regions.csv": "a row a region and group",
    "calibration.json": "is z right about healthy people?",
    "findings.json": "trends, contrasts and correlations",
    "deviations.nc": "z, p, q, expected value and SD, of every kind",
    "calibration_controls.nc": "what calibrators are refitted on",
    "posterior.nc": "draws, for arviz.from_netcdf",
    "study.csv": "a row a figure and model",
    "runs": "a run folder a model and training",
    "compare.csv": "a row a question and run",
    "compare.json": "the same, for programs",
    "participants.csv": "who they are",
    "effect.csv": "the truth: what was planted",
    "reference_reconstruction.csv": "the truth: exact z, each region given all others",
    "reference_cross_modal.csv": "the truth: exact z, each region given the other modalities",
    "reference_normative.csv": "the truth: exact z for age, sex and site",
    "truth.npz": "the truth: what they were drawn from",
    "figures": "the figures of the page",
    "model": "what was fitted; mmnorm score reads it",
    "history.csv": "a row an epoch",
    "latents.csv": "what each latent carries",
    "diagnostics.json": "what the fit came to",
    "centiles.nc": "centile curves of the page",
    "config.yaml": "the configuration, every default told",
    "provenance.json": "versions, seed, checksums of the tables, times",
}
"""File or folder -> what is in it, in the order in which a reader meets them."""

QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
JSON = Annotated[bool, typer.Option("--json", help="The summary as one JSON object on stdout, and nothing else there.")]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a command says at its end.

    Args:
        out: The file or folder it wrote.
        words: The answer in words, a line each.
        verdict: Whether the numbers can be trusted, in a sentence.
        then: What to do next.
        facts: More for `--json`.
    """

    out: Path | None = None
    words: Sequence[str] = ()
    verdict: str = ""
    then: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def written(self) -> list[dict[str, Any]]:
        """name, content and bytes of everything in `out`."""
        if self.out is None or not self.out.exists():
            return []
        inside = sorted(self.out.iterdir()) if self.out.is_dir() else [self.out]
        order = list(CONTENT)
        inside.sort(key=lambda path: order.index(path.name) if path.name in CONTENT else len(order))
        return [{"name": p.name, "content": CONTENT.get(p.name, ""), "bytes": _bytes(p)} for p in inside]


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def cli_command(command: Callable[..., Summary]) -> Callable[..., None]:
    """A command with `--quiet` and `--json` that tells its summary, and ends with exit code 0, 2 or 130.

    Progress, log lines and errors go to stderr, the summary to stdout. Bad input (`InputError`) is one line and exit
    code 2; Ctrl-C is exit code 130 and the command to go on with.
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
            typer.echo(f"\nmmnorm: interrupted. {_again(kwargs, began)}", err=True)
            raise typer.Exit(INTERRUPTED) from error
        if as_json:
            typer.echo(json.dumps(_record(command.__name__, summary, time.time() - began), ensure_ascii=False))
        elif not quiet:
            print_summary(summary)

    signature = inspect.signature(command)
    more = {"quiet": QUIET, "as_json": JSON}
    asked = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=a) for n, a in more.items()]
    told: Any = wrapped
    told.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *asked])
    return told


def _log_to_stderr(*, quiet: bool) -> None:
    from pyro_mmnorm.core.progress import LogAboveBars

    logger = logging.getLogger("pyro_mmnorm")
    logger.handlers = [LogAboveBars()]
    logger.setLevel(logging.ERROR if quiet else logging.INFO)


def _record(name: str, summary: Summary, seconds: float) -> dict[str, Any]:
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
    """Words, what was written, the verdict and what to do next; a table with styles on a terminal only."""
    for line in summary.words:
        typer.echo(line)
    if rows := summary.written():
        _table(summary.out, [(row["name"], _size(row["bytes"]), row["content"]) for row in rows])
    for line in (summary.verdict, summary.then):
        if line:
            typer.echo(line)


def _table(out: Path | None, rows: list[tuple[str, str, str]]) -> None:
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
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _again(kwargs: Mapping[str, Any], began: float) -> str:
    """How to go on after Ctrl-C: the command itself, with --resume where it has begun and can be gone on with."""
    asked = ["mmnorm", *sys.argv[1:]]
    if "resume" not in kwargs:
        return f"No file was left half written. To start again: {shlex.join(asked)}"
    kept = Path(kwargs["out"] or ".") / "config.yaml"
    if kwargs.get("overwrite") and not (kept.is_file() and kept.stat().st_mtime >= began - TICK):
        return f"Nothing was changed. To start again: {shlex.join(asked)}"
    asked = [word for word in asked if word not in ("--overwrite", "--resume")]
    return f"No file was left half written. To go on: {shlex.join([*asked, '--resume'])}"


class Tour(TyperGroup):
    """--help with the commands in groups, in the order in which a user meets them; see `rich_help_panel`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The groups, a heading each, with one column for the names."""
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
