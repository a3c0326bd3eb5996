"""The command line: only wires."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyro_mmnorm.errors import InputError

if TYPE_CHECKING:
    from pyro_mmnorm.config import Config

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help is there in half the time
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How far does each region of each person's brain lie from what is expected at that age and sex?\n\n"
    "Start with `mmnorm demo`. With tables of your own: `mmnorm inspect CONFIG`, then `mmnorm run CONFIG`.",
)
"""The commands of `mmnorm`."""

OUT = Annotated[Path | None, typer.Option(help="Folder to write.")]
SET = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key; may be repeated.")
]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
DEVICE = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
OVERWRITE = Annotated[bool, typer.Option(help="Replace what an earlier run wrote.")]


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Bad input ends with one clear line and exit code 2; Ctrl-C says how to go on."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        _log_to_stderr(quiet=bool(kwargs.get("quiet", False)))
        try:
            command(*args, **kwargs)
        except InputError as error:
            typer.echo(f"mmnorm: {error}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("mmnorm: interrupted; no half-written file was left. Give --resume to go on.", err=True)
            raise typer.Exit(130) from error

    return wrapped


def _log_to_stderr(*, quiet: bool) -> None:
    logger = logging.getLogger("pyro_mmnorm")
    logger.handlers = [logging.StreamHandler(sys.stderr)]
    logger.handlers[0].setFormatter(logging.Formatter("%(message)s"))
    logger.setLevel(logging.ERROR if quiet else logging.INFO)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        typer.echo(text)


@app.command(epilog="Example: mmnorm run configs/abide.yaml --out runs/abide --set model.latent_dim=24")
@_told
def run(
    config: Annotated[Path, typer.Argument(help="YAML file.")],
    out: OUT = None,
    set_: SET = None,
    device: DEVICE = "auto",
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run.")] = False,
    overwrite: OVERWRITE = False,
    dry_run: Annotated[bool, typer.Option(help="Check the configuration and the tables; write nothing.")] = False,
    quiet: QUIET = False,
) -> None:
    """The main job: tables in; a model, deviations, findings and a page out."""
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    if dry_run:
        _inspect(resolved)
        return
    _run(resolved, out, device, resume, overwrite, quiet)


def _run(config: "Config", out: Path | None, device: str, resume: bool, overwrite: bool, quiet: bool) -> None:
    import json

    from pyro_mmnorm import pipeline

    folder = pipeline.run(
        config, out=out, device=device, resume=resume, overwrite=overwrite, progress=False if quiet else None
    )
    verdict = json.loads((folder / "calibration.json").read_text())[config.deviations.primary]["verdict"]
    _say(verdict, quiet)
    _say(f"report: {folder / 'report.html'}", quiet)


@app.command(epilog="Example: mmnorm score runs/abide --config configs/new_people.yaml --out runs/new_people")
@_told
def score(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    config: Annotated[Path, typer.Option(help="YAML file; its data part names the new tables.")],
    out: OUT = None,
    set_: SET = None,
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
) -> None:
    """Deviations of new people with a fitted run; nothing is trained."""
    from pyro_mmnorm import pipeline
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    folder = pipeline.score(run_dir, resolved, out=out or Path(resolved.out), overwrite=overwrite)
    _say(f"z-scores: {folder / 'z.csv'}", quiet)


@app.command(epilog="Example: mmnorm adapt runs/abide --config configs/our_scanner.yaml --out runs/our_scanner")
@_told
def adapt(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    config: Annotated[Path, typer.Option(help="YAML file; its data part names the local tables.")],
    out: OUT = None,
    set_: SET = None,
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
) -> None:
    """A new site, or several, from at least 10 healthy people of each; others of the site are scored."""
    from pyro_mmnorm import pipeline
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    folder = pipeline.adapt(run_dir, resolved, out=out or Path(resolved.out), overwrite=overwrite)
    _say(f"adapted: {folder}; later people of these sites: mmnorm score {folder}", quiet)


@app.command(epilog="Example: mmnorm inspect configs/abide.yaml")
@_told
def inspect(config: Annotated[Path, typer.Argument(help="YAML file.")], set_: SET = None, quiet: QUIET = False) -> None:  # noqa: ARG001
    """What would be read: subjects, regions, missing cells, sites, problems; fits nothing."""
    from pyro_mmnorm.config import read_config

    _inspect(read_config(config, overrides=set_ or []))


def _inspect(config: "Config") -> None:
    from pyro_mmnorm.io import inspect_config

    typer.echo(inspect_config(config).to_text())


@app.command(epilog="Example: mmnorm simulate --out demo_data --healthy 2000 --patients 200 --seed 3")
@_told
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write the tables to.")],
    healthy: Annotated[int, typer.Option(min=100)] = 9875,
    patients: Annotated[int, typer.Option(min=4)] = 862,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    kind: Annotated[
        str, typer.Option(help="poster: one study; ukb_adni: UK Biobank and ADNI, two studies with scanner shifts.")
    ] = "poster",
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
) -> None:
    """Tables of a made-up cohort of the poster's kind, with the truth beside them."""
    _simulate(out, healthy, patients, seed, overwrite, kind)
    _say(f"tables: {out}", quiet)


def _simulate(out: Path, healthy: int, patients: int, seed: int, overwrite: bool, kind: str = "poster") -> None:
    from pyro_mmnorm.simulation import simulate

    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise InputError(
            str(out), "a folder that is not empty", "a new or empty one", "choose another --out, or give --overwrite"
        )
    simulate(kind=kind, healthy=healthy, patients=patients, seed=seed).write(out)


@app.command(epilog="Example: mmnorm demo --quick")
@_told
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option(help="A tenth of the people.")] = False,
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
) -> None:
    """Simulate a cohort of the poster's size, run everything, say where the report lies."""
    from pyro_mmnorm.config import shipped_config
    from pyro_mmnorm.run_folder import RunFolder

    RunFolder(out, overwrite=overwrite)
    data = out.parent / f"{out.name}_data"
    _simulate(data, 988 if quick else 9875, 88 if quick else 862, 1, overwrite)
    config = shipped_config("demo.yaml", overrides=[f"data.root={data.resolve()}", f"out={out}"])
    _run(config, out, "auto", False, overwrite, quiet)


@app.command(epilog="Example: mmnorm compare runs/factor_analysis runs/vae --out runs/compare")
@_told
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Folders of runs, the reference first.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/compare"),
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
) -> None:
    """Several runs on the same test and target subjects, side by side, with paired tests."""
    from pyro_mmnorm.comparison import compare as compared

    if out.exists() and not out.is_dir():
        raise InputError(str(out), "a file", "a folder, or nothing", "choose another --out")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        todo = "choose another --out, or give --overwrite"
        raise InputError(str(out), "a folder that is not empty", "a new or empty one", todo)
    table = compared(runs, out=out)
    for sentence in table["sentence"].dropna():
        _say(sentence, quiet)
    _say(f"page: {out / 'compare.html'}", quiet)


@app.command(epilog="Example: mmnorm study configs/ukb_adni.yaml --out runs/study")
@_told
def study(
    config: Annotated[Path, typer.Argument(help="YAML file; its model is the one that the others are set against.")],
    out: OUT = None,
    set_: SET = None,
    seeds: Annotated[int, typer.Option(min=1, help="Training seeds of every VAE.")] = 3,
    quick: Annotated[bool, typer.Option(help="One seed and few epochs: to see that it runs.")] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; one a core, at most 4, if none.")
    ] = None,
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
) -> None:
    """The poster's study: all models and baselines, findings, figures, one page. Goes on where it was stopped."""
    from pyro_mmnorm.config import read_config
    from pyro_mmnorm.studies import study as studied

    resolved = read_config(config, overrides=set_ or [])
    folder = studied(resolved, out=out, seeds=seeds, quick=quick, processes=processes, overwrite=overwrite)
    _say(f"page: {folder / 'study.html'}", quiet)


@app.command(epilog="Example: mmnorm report runs/abide")
@_told
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")], quiet: QUIET = False
) -> None:
    """Build report.html again from the files of a run."""
    from pyro_mmnorm.report import build_report

    if not (run_dir / "provenance.json").is_file():
        raise InputError(str(run_dir), "no provenance.json in it", "the folder of a finished run", "check the path")
    _say(f"report: {build_report(run_dir)}", quiet)


def main() -> None:
    """Entry point of `mmnorm`."""
    app()


if __name__ == "__main__":
    main()
