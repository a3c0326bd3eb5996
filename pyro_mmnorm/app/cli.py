"""The command line: only wires."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyro_mmnorm.app.terminal import Summary, Tour, cli_command
from pyro_mmnorm.core.errors import InputError

if TYPE_CHECKING:
    from pyro_mmnorm.config import Config

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Tour,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help is there in half the time
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How far does each region of each person's brain lie from what is expected at that age and sex?\n\n"
    "Healthy people teach a model what is usual. Other healthy people, whom it has not seen, put its z-scores right, "
    "and a third part of them says how far these can be trusted. Then everybody else is held against the norm, and one "
    "page tells what came out.",
    epilog="""
    \b
    The first ten minutes:
      mmnorm demo --quick               a made-up study, from tables to the page
      mmnorm init tables --out my.yaml  looks at your tables, says what is what
      mmnorm inspect my.yaml            what would be read, and what is odd
      mmnorm run my.yaml --out runs/my  fits, calibrates, scores, writes a page

    Every command has its own --help with an example. Exit codes: 0 done, 2 wrong usage or bad input, 130 interrupted,
    1 a fault of the program.
    """,
)
"""The commands of `mmnorm`."""

FIRST, OWN, LATER = "A first look", "Your own tables", "Later people and other sites"
SIDE_BY_SIDE, MADE_UP = "Side by side", "Made-up tables"

OUT = Annotated[Path | None, typer.Option(help="Folder to write; the `out` of CONFIG if not given.")]
SET = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key; may be repeated.")
]
DEVICE = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
RESUME = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote.")]
CONFIG = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file.")]
RUN = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]


@app.command(rich_help_panel=FIRST, epilog="\b\nExample:\n  mmnorm demo --quick")
@cli_command
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the people.")] = False,
    resume: RESUME = False,
    overwrite: OVERWRITE = False,
) -> Summary:
    """A made-up study of the poster's size, from tables to the page."""
    from pyro_mmnorm.app.run_folder import RunFolder
    from pyro_mmnorm.config import shipped_config

    RunFolder(out, resume=resume, overwrite=overwrite)
    data = out.parent / f"{out.name}_data"
    _simulate(data, 988 if quick else 9875, 88 if quick else 862, 1, resume or overwrite)
    config = shipped_config("demo.yaml", overrides=[f"data.root={data.resolve()}", f"out={out}"])
    return _run(config, out, "auto", resume, overwrite)


@app.command(rich_help_panel=OWN, epilog="\b\nExample:\n  mmnorm init my_tables --out my.yaml")
@cli_command
def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of csv, tsv or parquet tables.")],
    out: Annotated[Path, typer.Option(help="YAML file to write.")],
    overwrite: OVERWRITE = False,
) -> Summary:
    """Look at the tables in a folder and write a commented configuration."""
    from pyro_mmnorm.core.files import atomic_write
    from pyro_mmnorm.data.first_config import UNKNOWN, first_config

    if out.exists() and not (overwrite and out.is_file()):
        raise InputError(str(out), "something is there", "a new file", "choose another --out, or give --overwrite")
    text, words = first_config(path, out)
    atomic_write(out, text)
    look = f"Say in {out} who is healthy, then: " if UNKNOWN in text else f"Read {out}, then: "
    return Summary(out=out, words=words, then=f"{look}mmnorm inspect {out}", facts={"complete": UNKNOWN not in text})


@app.command(rich_help_panel=OWN, epilog="\b\nExample:\n  mmnorm inspect configs/abide.yaml")
@cli_command
def inspect(config: CONFIG, set_: SET = None) -> Summary:
    """What would be read: people, regions, missing cells, sites, problems."""
    from pyro_mmnorm.config import read_config

    return _inspect(read_config(config, overrides=set_ or []))


def _inspect(config: "Config") -> Summary:
    from pyro_mmnorm.data.inspect import inspect_config

    found = inspect_config(config)
    tables = {title: table.to_dict("records") for title, table in found.tables.items()}
    facts = {"tables": tables, "notes": list(found.notes), "problems": list(found.problems)}
    return Summary(words=[found.to_text()], facts=facts)


@app.command(
    rich_help_panel=OWN,
    epilog="\b\nExample:\n  mmnorm run configs/abide.yaml --out runs/abide --set model.latent_dim=8",
)
@cli_command
def run(
    config: CONFIG,
    out: OUT = None,
    set_: SET = None,
    device: DEVICE = "auto",
    resume: RESUME = False,
    overwrite: OVERWRITE = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the configuration and the tables; write nothing.")
    ] = False,
) -> Summary:
    """The main job: tables in; a model, deviations, findings and a page out."""
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    return _inspect(resolved) if dry_run else _run(resolved, out, device, resume, overwrite)


def _run(config: "Config", out: Path | None, device: str, resume: bool, overwrite: bool) -> Summary:
    from pyro_mmnorm.app import pipeline

    return _page(pipeline.run(config, out=out, device=device, resume=resume, overwrite=overwrite))


def _page(folder: Path) -> Summary:
    """The verdict, and where the page lies."""
    page = folder / "report.html"
    return Summary(out=folder, verdict=_verdict(folder), then=f"report: {page}", facts={"report": str(page)})


def _verdict(folder: Path) -> str:
    """What calibration.json says of the kind of z.csv, site by site after adapting; '' where it is absent."""
    import json

    from pyro_mmnorm.config import read_config

    file = folder / "calibration.json"
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    primary = read_config(folder / "config.yaml").deviations.primary
    if primary in told:
        return str(told[primary]["verdict"])
    return "\n".join(f"{site}: {kinds[primary]['verdict']}" for site, kinds in told.items() if primary in kinds)


@app.command(rich_help_panel=OWN, epilog="\b\nExample:\n  mmnorm report runs/abide")
@cli_command
def report(run_dir: RUN) -> Summary:
    """Build report.html again from the files of a run."""
    from pyro_mmnorm.report.page import build_report

    if not (run_dir / "provenance.json").is_file():
        raise InputError(str(run_dir), "no provenance.json in it", "the folder of a finished run", "check the path")
    build_report(run_dir)
    return _page(run_dir)


@app.command(rich_help_panel=OWN, epilog="\b\nExample:\n  mmnorm export runs/abide --to csv")
@cli_command
def export(
    run_dir: RUN,
    to: Annotated[str, typer.Option(help="csv or parquet: a row a kind, person and region; netcdf: everything.")],
    out: Annotated[Path | None, typer.Option(help="File to write; one in the folder of the run if not given.")] = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """The results in one file for other programs: csv, parquet or netcdf."""
    from pyro_mmnorm.app.export import export as exported

    return Summary(out=exported(run_dir, to, out, overwrite=overwrite))


@app.command(
    rich_help_panel=LATER,
    epilog="\b\nExample:\n  mmnorm score runs/abide --config new_people.yaml --out runs/new",
)
@cli_command
def score(
    run_dir: RUN,
    config: Annotated[Path, typer.Option(metavar="CONFIG", help="YAML file; its data part names the new tables.")],
    out: OUT = None,
    set_: SET = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Deviations of new people with a fitted run; nothing is trained."""
    from pyro_mmnorm.app import pipeline
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    folder = pipeline.score(run_dir, resolved, out=out or Path(resolved.out), overwrite=overwrite)
    verdict = _verdict(run_dir)
    return Summary(out=folder, verdict=verdict and f"The run: {verdict}", then=f"z-scores: {folder / 'z.csv'}")


@app.command(
    rich_help_panel=LATER,
    epilog="\b\nExample:\n  mmnorm adapt runs/abide --config our_scanner.yaml --out runs/ours",
)
@cli_command
def adapt(
    run_dir: RUN,
    config: Annotated[Path, typer.Option(metavar="CONFIG", help="YAML file; its data part names the local tables.")],
    out: OUT = None,
    fine_tune: Annotated[
        bool, typer.Option(help="With 50 controls or more: a decoder of the site's own, if held-out controls agree.")
    ] = False,
    set_: SET = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """A new site, or several, from at least 10 healthy people of each; the others of the site are scored."""
    from pyro_mmnorm.app import pipeline
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    folder = pipeline.adapt(run_dir, resolved, out=out or Path(resolved.out), fine_tune=fine_tune, overwrite=overwrite)
    return Summary(
        out=folder,
        verdict=_verdict(folder),
        then=f"adapted: {folder}; later people of these sites: mmnorm score {folder}",
    )


@app.command(
    rich_help_panel=SIDE_BY_SIDE,
    epilog="\b\nExample:\n  mmnorm compare runs/factor_analysis runs/vae --out runs/compare",
)
@cli_command
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Folders of runs, the reference first.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/compare"),
    truth: Annotated[Path | None, typer.Option(help="Folder of simulate: who finds what was planted?")] = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Several runs on the same test and target people, with paired tests; x-seed1, x-seed2 are trainings of one x."""
    from pyro_mmnorm.app.compare.compare import compare as compared

    _unused(out, overwrite)
    table = compared(runs, out=out, truth=truth)
    return Summary(out=out, words=table["sentence"].dropna().tolist(), then=f"page: {out / 'compare.html'}")


@app.command(
    rich_help_panel=SIDE_BY_SIDE,
    epilog="\b\nExample:\n  mmnorm study configs/ukb_adni.yaml --out runs/study",
)
@cli_command
def study(
    config: CONFIG,
    out: OUT = None,
    set_: SET = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of every VAE.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="One training and few epochs: to see that it runs.")] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; one a core, at most 4, if not given.")
    ] = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """The poster's study: the model of CONFIG against others and baselines, figures, one page."""
    from pyro_mmnorm.app.study.study import study as studied
    from pyro_mmnorm.config import read_config

    resolved = read_config(config, overrides=set_ or [])
    folder = studied(resolved, out=out, seeds=seeds, quick=quick, processes=processes, overwrite=overwrite)
    return Summary(out=folder, then=f"page: {folder / 'study.html'}")


@app.command(
    rich_help_panel=MADE_UP,
    epilog="\b\nExample:\n  mmnorm simulate --out demo_data --healthy 2000 --patients 200 --seed 3",
)
@cli_command
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write the tables to.")],
    healthy: Annotated[int, typer.Option(min=100, help="Healthy people.")] = 9875,
    patients: Annotated[int, typer.Option(min=4, help="Patients.")] = 862,
    seed: Annotated[int, typer.Option(min=0, help="Of the random numbers.")] = 1,
    kind: Annotated[
        str, typer.Option(help="poster: one study; ukb_adni: UK Biobank and ADNI, two studies with scanner shifts.")
    ] = "poster",
    effect: Annotated[
        str | None, typer.Option(help="ukb_adni: illness in the regions themselves, local, or along normal variation.")
    ] = None,
    spelling: Annotated[
        str | None, typer.Option(help="ukb_adni: also tables under the column names of ukb or adni.")
    ] = None,
    overwrite: OVERWRITE = False,
) -> Summary:
    """Tables of a made-up study, with the truth beside them."""
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

    _unused(out, overwrite)
    if spelling and kind != "ukb_adni":
        raise InputError("--spelling", f"kind {kind}", "kind ukb_adni", "add --kind ukb_adni, or leave it out")
    told: dict[str, Any] = {"effect": effect} if effect else {}
    names: dict[str, Any] = {"spelling": spelling} if spelling else {}
    simulate(kind=kind, healthy=healthy, patients=patients, seed=seed, **told).write(out, **names)


def _unused(out: Path, overwrite: bool) -> None:
    """Refuse a file, and a folder that holds something unless it may be replaced."""
    if out.exists() and not out.is_dir():
        raise InputError(str(out), "a file", "a folder, or nothing", "choose another --out")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        todo = "choose another --out, or give --overwrite"
        raise InputError(str(out), "a folder that is not empty", "a new or empty one", todo)


def main() -> None:
    """Entry point of `mmnorm`."""
    app()


if __name__ == "__main__":
    main()
