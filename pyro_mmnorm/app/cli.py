"""The command line: commands, their arguments and help; each calls a function of another file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyro_mmnorm.app.terminal import GroupedHelp, Summary, cli_command
from pyro_mmnorm.core.errors import InputError

if TYPE_CHECKING:
    from pyro_mmnorm.config import Config

__all__ = ["app", "main"]

app = typer.Typer(
    cls=GroupedHelp,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text halves the time of --help
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How much does each brain region of a person deviate from what is expected at that age and sex?\n\n"
    "A model is trained on healthy people. Its z-scores are calibrated in other healthy people, and the calibration is "
    "tested in a third group. All other people are compared with this norm, and one page reports the results.",
    epilog="""
    \b
    Typical use:
      mmnorm demo --quick               a simulated study, from tables to the page
      mmnorm init tables --out my.yaml  writes a configuration for your tables
      mmnorm inspect my.yaml            lists what would be read, and problems
      mmnorm run my.yaml --out runs/my  trains, calibrates, scores, writes a page

    Every command has its own --help with an example. Exit codes: 0 success, 2 wrong usage or bad input, 130
    interrupted, 1 an error in the program.
    """,
)
"""The commands of `mmnorm`."""

FIRST, OWN, LATER = "First steps", "Your own tables", "New people and new sites"
COMPARISON, SIMULATION = "Comparisons", "Simulation"

OUT = Annotated[Path | None, typer.Option(help="Output folder; default: `out` of CONFIG.")]
SET = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the configuration; can be repeated."),
]
DEVICE = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
RESUME = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
CONFIG = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file.")]
RUN = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]


def _command(heading: str, example: str) -> Callable[[Callable[..., Summary]], Callable[..., None]]:
    """Add a function to the commands, under a heading and with an example in its help."""

    def register(function: Callable[..., Summary]) -> Callable[..., None]:
        added = app.command(rich_help_panel=heading, epilog=f"\b\nExample:\n  {example}")
        return added(cli_command(function))

    return register


@_command(FIRST, "mmnorm demo --quick")
def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Simulate a tenth of the people.")] = False,
    resume: RESUME = False,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Simulate a study of the poster's size and run it, from tables to the page."""
    from pyro_mmnorm.app.run_folder import RunFolder
    from pyro_mmnorm.config import shipped_config

    RunFolder(out, resume=resume, overwrite=overwrite)
    data = out.parent / f"{out.name}_data"
    _simulate(data, 988 if quick else 9875, 88 if quick else 862, 1, resume or overwrite)
    config = shipped_config("demo.yaml", overrides=[f"data.root={data.resolve()}", f"out={out}"])
    return _run(config, out, "auto", resume, overwrite)


@_command(OWN, "mmnorm init my_tables --out my.yaml")
def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of csv, tsv or parquet tables.")],
    out: Annotated[Path, typer.Option(help="Configuration to write, a YAML file.")],
    overwrite: OVERWRITE = False,
) -> Summary:
    """Write a commented configuration for the tables in a folder."""
    from pyro_mmnorm.core.files import atomic_write
    from pyro_mmnorm.data.first_config import UNKNOWN, first_config

    if out.exists() and not (overwrite and out.is_file()):
        raise InputError(
            str(out), "a file or folder that exists", "a new file", "choose another --out, or add --overwrite"
        )
    text, words = first_config(path, out)
    atomic_write(out, text)
    first = f"Define the healthy people in {out}" if UNKNOWN in text else f"Check {out}"
    then = f"{first}, then run: mmnorm inspect {out}"
    return Summary(out=out, words=words, then=then, facts={"complete": UNKNOWN not in text})


@_command(OWN, "mmnorm inspect configs/abide.yaml")
def inspect(config: CONFIG, set_: SET = None) -> Summary:
    """List what a run would read: people, regions, missing cells, sites, problems."""
    from pyro_mmnorm.config import read_config

    return _inspect(read_config(config, overrides=set_ or []))


def _inspect(config: "Config") -> Summary:
    from pyro_mmnorm.data.inspect import inspect_config

    inspection = inspect_config(config)
    tables = {title: table.to_dict("records") for title, table in inspection.tables.items()}
    facts = {"tables": tables, "notes": list(inspection.notes), "problems": list(inspection.problems)}
    return Summary(words=[inspection.to_text()], facts=facts)


@_command(OWN, "mmnorm run configs/abide.yaml --out runs/abide --set model.latent_dim=8")
def run(
    config: CONFIG,
    out: OUT = None,
    set_: SET = None,
    device: DEVICE = "auto",
    resume: RESUME = False,
    overwrite: OVERWRITE = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check configuration and tables only.")] = False,
) -> Summary:
    """Train, calibrate and score: from tables to deviations, findings and a page."""
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    return _inspect(resolved) if dry_run else _run(resolved, out, device, resume, overwrite)


def _run(config: "Config", out: Path | None, device: str, resume: bool, overwrite: bool) -> Summary:
    from pyro_mmnorm.app import pipeline

    return _page(pipeline.run(config, out=out, device=device, resume=resume, overwrite=overwrite))


def _page(folder: Path) -> Summary:
    """The verdict, and the path of the page."""
    page = folder / "report.html"
    return Summary(out=folder, verdict=_verdict(folder), then=f"report: {page}", facts={"report": str(page)})


def _verdict(folder: Path) -> str:
    """The verdict in calibration.json for the kind of z.csv, per site after an adaptation; '' if there is none."""
    import json

    from pyro_mmnorm.config import read_config

    file = folder / "calibration.json"
    reports = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    primary = read_config(folder / "config.yaml").deviations.primary
    if primary in reports:
        return str(reports[primary]["verdict"])
    return "\n".join(f"{site}: {kinds[primary]['verdict']}" for site, kinds in reports.items() if primary in kinds)


@_command(OWN, "mmnorm report runs/abide")
def report(run_dir: RUN) -> Summary:
    """Rebuild report.html from the files of a run."""
    from pyro_mmnorm.report.page import build_report

    if not (run_dir / "provenance.json").is_file():
        raise InputError(str(run_dir), "no provenance.json in it", "the folder of a finished run", "check the path")
    build_report(run_dir)
    return _page(run_dir)


@_command(OWN, "mmnorm export runs/abide --to csv")
def export(
    run_dir: RUN,
    to: Annotated[str, typer.Option(help="csv or parquet: a row per kind, person and region; netcdf: all results.")],
    out: Annotated[Path | None, typer.Option(help="Output file; default: in the folder of the run.")] = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Write the results to one file for other programs: csv, parquet or netcdf."""
    from pyro_mmnorm.app.export import export as exported

    return Summary(out=exported(run_dir, to, out, overwrite=overwrite))


@_command(LATER, "mmnorm score runs/abide --config new_people.yaml --out runs/new")
def score(
    run_dir: RUN,
    config: Annotated[Path, typer.Option(metavar="CONFIG", help="YAML file; `data` names the new tables.")],
    out: OUT = None,
    set_: SET = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Compute deviations of new people from a finished run, without training."""
    from pyro_mmnorm.app import pipeline
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    folder = pipeline.score(run_dir, resolved, out=out or Path(resolved.out), overwrite=overwrite)
    verdict = _verdict(run_dir)
    return Summary(
        out=folder, verdict=verdict and f"Verdict of the run: {verdict}", then=f"z-scores: {folder / 'z.csv'}"
    )


@_command(LATER, "mmnorm adapt runs/abide --config our_scanner.yaml --out runs/ours")
def adapt(
    run_dir: RUN,
    config: Annotated[Path, typer.Option(metavar="CONFIG", help="YAML file; `data` names the local tables.")],
    out: OUT = None,
    fine_tune: Annotated[
        bool, typer.Option(help="Fine-tune the decoder of sites with 50 controls, if it helps.")
    ] = False,
    set_: SET = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Adapt a finished run to new sites, with at least 10 healthy people of each."""
    from pyro_mmnorm.app import pipeline
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    folder = pipeline.adapt(run_dir, resolved, out=out or Path(resolved.out), fine_tune=fine_tune, overwrite=overwrite)
    return Summary(
        out=folder,
        verdict=_verdict(folder),
        then=f"adapted norm: {folder}; score other people of these sites with: mmnorm score {folder}",
    )


@_command(COMPARISON, "mmnorm compare runs/factor_analysis runs/vae --out runs/compare")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Run folders, the reference first.")],
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/compare"),
    truth: Annotated[Path | None, typer.Option(help="Folder of simulate: measures detection of its effects.")] = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Compare runs on the same people with paired tests; x-seed1, x-seed2 are repeats of x."""
    from pyro_mmnorm.app.compare.compare import compare as compared

    _check_unused(out, overwrite)
    table = compared(runs, out=out, truth=truth)
    return Summary(out=out, words=table["sentence"].dropna().tolist(), then=f"page: {out / 'compare.html'}")


@_command(COMPARISON, "mmnorm study configs/ukb_adni.yaml --out runs/study")
def study(
    config: CONFIG,
    out: OUT = None,
    set_: SET = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds with which every VAE is trained.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="One seed and few epochs, as a test.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Parallel runs; default: cores, at most 4.")] = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Run the poster's study: the model of CONFIG, other models and baselines, on one page."""
    from pyro_mmnorm.app.study.study import study as studied
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    folder = studied(resolved, out=out, seeds=seeds, quick=quick, processes=processes, overwrite=overwrite)
    return Summary(out=folder, then=f"page: {folder / 'study.html'}")


@_command(SIMULATION, "mmnorm simulate --out demo_data --healthy 2000 --patients 200 --seed 3")
def simulate(
    out: Annotated[Path, typer.Option(help="Output folder for the tables.")],
    healthy: Annotated[int, typer.Option(min=100, help="Number of healthy people.")] = 9875,
    patients: Annotated[int, typer.Option(min=4, help="Number of patients.")] = 862,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 1,
    kind: Annotated[
        str,
        typer.Option(help="poster: one study; ukb_adni: two studies with scanner shifts, like UK Biobank and ADNI."),
    ] = "poster",
    effect: Annotated[
        str | None,
        typer.Option(help="For ukb_adni: effect in single regions (local), or along normal variation (along)."),
    ] = None,
    spelling: Annotated[str | None, typer.Option(help="Kind ukb_adni: add tables with names of ukb or adni.")] = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Simulate the tables of a study, with the true effects."""
    _simulate(out, healthy, patients, seed, overwrite, kind, effect, spelling)
    return Summary(out=out, then=f"tables: {out}")


def _simulate(
    out: Path,
    healthy: int,
    patients: int,
    seed: int,
    overwrite: bool,
    kind: str = "poster",
    effect: str | None = None,
    spelling: str | None = None,
) -> None:
    from pyro_mmnorm.simulation.kinds import simulate

    _check_unused(out, overwrite)
    if spelling and kind != "ukb_adni":
        raise InputError("--spelling", f"kind {kind}", "kind ukb_adni", "add --kind ukb_adni, or omit --spelling")
    effects: dict[str, Any] = {"effect": effect} if effect else {}
    names: dict[str, Any] = {"spelling": spelling} if spelling else {}
    simulate(kind=kind, healthy=healthy, patients=patients, seed=seed, **effects).write(out, **names)


def _check_unused(out: Path, overwrite: bool) -> None:
    """Refuse a file, and a folder that is not empty unless it may be replaced."""
    if out.exists() and not out.is_dir():
        raise InputError(str(out), "a file", "a folder, new or empty", "choose another --out")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        todo = "choose another --out, or add --overwrite"
        raise InputError(str(out), "a folder that is not empty", "a new or empty one", todo)


def main() -> None:
    """Entry point of `mmnorm`."""
    app()


if __name__ == "__main__":
    main()
