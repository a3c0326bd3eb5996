"""Page: the self-contained report.html of a run folder."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pyro_mmnorm.core.files import atomic_write
from pyro_mmnorm.evaluation.verdict import verdict
from pyro_mmnorm.plots.shapes import brain_svg_shapes
from pyro_mmnorm.plots.training_curves import best_epoch
from pyro_mmnorm.plots.z_values import half_width
from pyro_mmnorm.report.explorer import Explorer, explorer
from pyro_mmnorm.report.html_tables import Table, calibration_tables, columns_of, finding_tables, pairs
from pyro_mmnorm.report.maps import BrainFigure, colours, group_maps, path_id
from pyro_mmnorm.report.pictures import Picture, draw
from pyro_mmnorm.results.formatting import interval, number, plain
from pyro_mmnorm.results.run_results import RunResults
from pyro_mmnorm.results.schema import TEST_CONTROLS, group_of

__all__ = ["Note", "Section", "build_report", "page_of"]

TOP_REGIONS, TOP_PEOPLE, FEW_UNITS = 15, 20, 2
FADED = 0.05

REGION_COLUMNS = {
    "modality": ["modality"],
    "n": ["n"],
    "mean z": ["mean_z", "mean_z_low", "mean_z_high"],
    "mean z, controls": ["mean_z_controls"],
    "Hedges g": ["hedges_g", "hedges_g_low", "hedges_g_high"],
    "Welch q": ["welch_q"],
    "Mann-Whitney q": ["mannwhitney_q"],
    "people with p\u00a0<\u00a00.05": ["share_significant", "share_significant_low", "share_significant_high"],
    "controls with p\u00a0<\u00a00.05": ["share_significant_controls"],
    "people, poster's rule": ["share_poster_rule"],
}
PEOPLE_COLUMNS = {
    "group": ["shown_group"],
    "regions": ["n_observed"],
    "mean |z|": ["mean_abs_z"],
    "mean z": ["mean_z"],
    "|z| > 1.96": ["n_outliers"],
    "q < 0.05": ["n_significant"],
    "severity index": ["dsi"],
    "omnibus p": ["omnibus_p"],
    "regions with the largest |z|": ["largest"],
}
SHOWN_ABOVE = ("overall", "groups", "warnings", "verdict", "bounds")
STEP_COLUMNS = {"seconds": ["seconds"], "peak memory (MiB)": ["peak_memory_mib"]}


class Note(NamedTuple):
    """A paragraph; with a `tone` (good, unclear or bad) it is a coloured box."""

    text: str
    tone: str = ""
    points: Sequence[str] = ()


class Section(NamedTuple):
    """A part of the page under its own heading."""

    id: str
    heading: str
    notes: list[Note]
    tables: list[Table]
    pictures: Sequence[Picture] = ()
    code: str = ""
    brains: Sequence[BrainFigure] = ()
    explorer: Explorer | None = None


def build_report(run_dir: str | Path) -> Path:
    """Draw the figures of a run and write its page.

    Args:
        run_dir: Folder with the files of a run; `figures/*.png` and `report.html` are written there.

    Returns:
        Path of report.html, which opens without a network.

    Raises:
        InputError: When the folder or a required file is missing, or a file has other content.

    Examples:
        >>> build_report("no/such/run")
        Traceback (most recent call last):
        ...
        pyro_mmnorm.core.errors.InputError: no/such/run: no config.yaml; expected a run folder. ...
    """
    run = RunResults.read(run_dir)
    pictures, left_out = draw(run)
    sections = [_run(run), _calibration(run), _findings(run), _people(run), _training(run), _provenance(run, left_out)]
    sections = [section._replace(pictures=pictures.get(section.id, ())) for section in sections]
    title = f"Normative deviations: {run.path.resolve().name}"
    return atomic_write(run.path / "report.html", page_of(title, _lead(run), sections))


def page_of(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A self-contained page: nothing is loaded from elsewhere, and all text is escaped.

    Examples:
        >>> page_of("A < B", "", []).count("A &lt; B")
        2
    """
    environment = Environment(
        loader=PackageLoader("pyro_mmnorm", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = (_own(name) for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        title=title,
        lead=lead,
        sections=sections,
        paths=_paths(sections),
        scales={"diverging": colours("diverging"), "sequential": colours("sequential")},
        style=Markup(style),  # noqa: S704  (a file of the package)
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{digest}",
    )


def _own(name: str) -> str:
    """Text of a file beside this one."""
    return files("pyro_mmnorm.report").joinpath(name).read_text(encoding="utf-8")


def _paths(sections: Sequence[Section]) -> dict[str, str]:
    """Id -> path of every shape shown by a map of the page."""
    figures = [figure for s in sections for figure in (*s.brains, *(s.explorer.brains if s.explorer else ()))]
    names = dict.fromkeys(drawing.name for figure in figures for _, row in figure.rows for drawing in row)
    return {
        path_id(name, shape): d
        for name in names
        for view in [brain_svg_shapes()[name]]
        for shape, d in [*view.shapes.items(), ("ground", view.ground), ("lines", view.lines)]
        if d
    }


def _lead(run: RunResults) -> str:
    people = run.subjects["split"].value_counts()
    names = {"target": "people", "test": TEST_CONTROLS}
    who = [f"{people[split]:,} {name}" for split, name in names.items() if split in people]
    return (
        f"Deviations of {run.z.shape[1]:,} brain regions ({', '.join(run.modalities.index)}) from their expected "
        f"values in {' and '.join(who)}."
    )


def _run(run: RunResults) -> Section:
    config = run.config
    scored = group_of(run.subjects).value_counts().reindex([TEST_CONTROLS, *run.groups]).dropna().astype(int)
    tables = [
        pairs("People by split", ("split", "n"), run.counts),
        pairs("Scored people", ("group", "n"), scored.to_dict()),
        pairs("Regions", ("modality", "regions"), run.modalities.to_dict()),
        pairs("Model", ("part", "setting"), _model(config)),
        pairs("Deviations", ("part", "setting"), config.get("deviations", {})),
    ]
    notes = [Note(f"Note: {text}.".replace("..", ".")) for text in run.provenance.get("notes", [])]
    return Section("run", "Data and settings", notes, tables)


def _model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the model; for a baseline, its name and number of factors."""
    model, baseline = dict(config.get("model", {})), config.get("baseline")
    if not baseline:
        return model
    return {"baseline": baseline} | ({"factors": model["latent_dim"]} if baseline == "factor_analysis" else {})


def _calibration(run: RunResults) -> Section:
    result, reliability = verdict(run.reliability), run.reliability
    notes = [Note(result.sentence, result.tone, result.evidence)]
    if outside := [str(text) for text in reliability.get("warnings", [])]:
        notes.append(Note("Limitations:", "unclear", outside))
    extrapolated = run.extrapolated.reindex([TEST_CONTROLS, *run.groups]).dropna()
    if len(extrapolated):
        shares = [f"{group} {number('share_', float(share))}" for group, share in extrapolated.items()]
        notes.append(Note(f"Values outside the calibration range (extrapolated z): {', '.join(shares)}."))
    rest = {key: value for key, value in reliability.items() if key not in SHOWN_ABOVE}
    if isinstance(calibrator := rest.get("calibrator"), Mapping) and "p_values" in calibrator:
        notes.append(Note(f"P-values: {calibrator['p_values']}"))
        rest["calibrator"] = {key: value for key, value in calibrator.items() if key != "p_values"}
    tables = calibration_tables(reliability) + finding_tables(rest)
    return Section("calibration", "Calibration", notes, tables)


def _findings(run: RunResults) -> Section:
    notes = [] if run.groups else [Note("Only test controls were scored: there are no groups to compare.")]
    if isinstance(primary := run.findings.get("primary"), Mapping):
        figures = f"{interval('', primary)}, n {number('n', primary.get('n'))}, p {number('p', primary.get('p'))}"
        notes.append(Note(f"Primary endpoint: {primary.get('endpoint', 'not named')}: {figures}."))
    notes += [Note(str(text)) for text in run.findings.get("notes", [])]
    findings = {key: value for key, value in run.findings.items() if key != "notes"}
    tables = [_top_regions(run.regions, group) for group in run.groups if "mean_z" in run.regions]
    brains, left_out = _maps(run)
    notes += [Note(text) for text in left_out]
    return Section("findings", "Findings by group", notes, finding_tables(findings) + tables, brains=brains)


def _maps(run: RunResults) -> tuple[list[BrainFigure], list[str]]:
    """Maps of mean z and of the proportion of people with extreme deviations, by group."""
    if not run.groups or "mean_z" not in run.regions:
        return [], []
    regions = run.regions.assign(name=run.regions["modality"] + "." + run.regions["region"])

    def wide(column: str, groups: Sequence[str]) -> pd.DataFrame:
        return regions.pivot_table(column, "name", "group", sort=False, dropna=False).reindex(columns=list(groups))

    n = regions.groupby("group")["n"].max()
    heads = {group: f"{group}, n {n[group]:,}" for group in n.index}
    faded = wide("welch_q", run.groups) >= FADED if "welch_q" in regions else None
    brains, left_out = group_maps(
        wide("mean_z", run.groups), key="mean_z", kind="diverging", faded=faded, heads=heads,
        label="mean z (SD; below 0: smaller than expected)", caption="Mean z by group",
        fading="" if faded is None else f"Fade regions that do not differ from the controls (Welch q \u2265 {FADED})",
    )  # fmt: skip
    if "share_significant" in regions:
        with_controls = [group for group in (TEST_CONTROLS, *run.groups) if group in n.index]
        more, _ = group_maps(
            wide("share_significant", with_controls), key="share_significant", kind="sequential", heads=heads,
            label="people with p < 0.05 (%)", caption="Proportion of people with extreme deviations by group",
        )  # fmt: skip
        brains += more
    return brains, left_out


def _top_regions(regions: pd.DataFrame, group: str) -> Table:
    rows = regions[regions["group"] == group].set_index(["modality", "region"])
    controls = regions[regions["group"] == TEST_CONTROLS].set_index(["modality", "region"])
    rows = rows.assign(mean_z_controls=controls["mean_z"].reindex(rows.index)).reset_index("modality")
    if "sd_z" in rows:
        half = half_width(rows)
        rows = rows.assign(mean_z_low=rows["mean_z"] - half, mean_z_high=rows["mean_z"] + half)
    top = rows.sort_values("mean_z", key=np.abs, ascending=False).head(TOP_REGIONS)
    caption = f"{group}: the {len(top)} regions of {len(rows)} with the largest |mean z|"
    return columns_of(top, REGION_COLUMNS, caption, "region")


def _people(run: RunResults) -> Section:
    split, who = ("target", "people") if run.groups else ("test", TEST_CONTROLS)
    scored = run.subjects[run.subjects["split"] == split]
    top = scored.sort_values("mean_abs_z", ascending=False, kind="stable").head(TOP_PEOPLE)
    largest = [_largest(run.z.loc[name]) for name in top.index]
    top = top.assign(shown_group=group_of(top), largest=largest)
    caption = f"The {len(top)} of {len(scored):,} {who} with the largest mean |z|"
    note = Note("Mean |z| is expected to be 0.798. Poor image quality increases it: check the image first.")
    people = explorer(run)
    notes = [note, *(Note(text) for text in people.notes)]
    tables = [columns_of(top, PEOPLE_COLUMNS, caption, "id")]
    return Section("people", "People", notes, tables, explorer=people)


def _largest(z: pd.Series, top: int = 3) -> str:
    """The regions with the largest |z| of one person."""
    z = z.dropna()
    return "; ".join(f"{region}\u00a0{number('z', float(z[region]))}" for region in z.abs().nlargest(top).index)


def _training(run: RunResults) -> Section:
    history, diagnostics = run.history, run.diagnostics
    if history.empty:
        return Section("training", "Training", [Note("This run has no training history: no model was trained.")], [])
    selected = diagnostics.get("best_epoch") or [int(history["epoch"].iloc[best_epoch(history)])]
    seconds = f" in {history['seconds'].sum():,.0f} s" if "seconds" in history else ""
    epochs = ", ".join(f"{epoch}{' (initialisation)' if epoch == 0 else ''}" for epoch in selected)
    notes = [Note(f"{len(history)} epochs{seconds}; selected weights: epoch {epochs}."), *_latents_in_use(run)]
    tables = [_diagnostics_table(diagnostics)] if diagnostics else []
    if "kl" in run.latents:
        latents = run.latents.sort_values("kl", ascending=False).reset_index(drop=True)
        latents = latents.assign(active=latents["active"].astype(str)) if "active" in latents else latents
        columns = {plain(str(name)): [str(name)] for name in latents}
        tables.append(
            columns_of(latents.set_axis(latents.index + 1), columns, "Latent dimensions, by KL from the prior", "rank")
        )
    return Section("training", "Training and diagnostics", notes, tables)


def _latents_in_use(run: RunResults) -> list[Note]:
    """The number of active latent dimensions, or a warning of posterior collapse."""
    if diagnostics := run.diagnostics:
        active = ", ".join(str(n) for n in diagnostics.get("active_units", []))
        warning = diagnostics.get("warning")
        counted = f"{active} of {diagnostics.get('latents')} latent dimensions are active."
        return [Note(warning, "bad") if warning else Note(counted)]
    if "active_units" not in run.history:
        return []
    units = run.history["active_units"].iloc[best_epoch(run.history)]
    counted = f"{units:.0f} of {run.latent_dim} latent dimensions are active."
    collapsed = f"Posterior collapse: {counted} z is then close to that of a regression on the covariates."
    return [Note(collapsed, "bad") if units < FEW_UNITS else Note(counted)]


def _diagnostics_table(diagnostics: Mapping[str, Any]) -> Table:
    """diagnostics.json as a table."""
    rows: dict[str, object] = {
        "active latent dimensions": diagnostics.get("active_units"),
        "KL (nats per person)": diagnostics.get("kl"),
    }
    for m, nats in diagnostics.get("log_likelihood", {}).items():
        rows[f"log-likelihood of {m} (nats per person)"] = nats
    for expert, share in diagnostics.get("share_of_precision", {}).items():
        rows[f"share of precision, {expert}"] = number("share_", share)
    n = f"{diagnostics['people']:,} " if "people" in diagnostics else ""
    return pairs(f"Fitted model, on {n}calibration controls", ("measure", "value"), rows)


def _provenance(run: RunResults, left_out: list[str]) -> Section:
    record = run.provenance
    software = {key: record[key] for key in ("seed", "platform") if key in record} | record.get("versions", {})
    steps = pd.DataFrame.from_dict(record.get("steps", {}), orient="index")
    tables = [
        pairs("Software and seed", ("package", "version"), software),
        columns_of(steps, STEP_COLUMNS, "Wall time and memory", "step"),
        pairs("Inputs", ("file", "SHA-256"), record.get("inputs", {})),
    ]
    code = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    return Section("provenance", "Provenance", [Note(text) for text in left_out], tables, code=code)
