"""Figures of the page: those drawn from a run, with alternative texts and captions."""

import base64
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_mmnorm import plots
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.files import atomic_write
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.evaluation.report_tables import coverage_table, group_table, kind_table
from pyro_mmnorm.plots.style import STYLE
from pyro_mmnorm.plots.z_values import levels_of
from pyro_mmnorm.results.run_results import RunResults

__all__ = ["Picture", "Plan", "draw", "draw_plans"]

DPI = 130
CSS_DPI = 100  # pixels of the page per inch


class Picture(NamedTuple):
    """A figure in the page: `data` is a data URI, `width` and `height` are in CSS pixels."""

    alt: str
    caption: str
    data: str
    width: int
    height: int


class Plan(NamedTuple):
    """A figure: its file, what it shows, how to read it, and the function that draws it."""

    name: str
    what: str
    caption: str
    draw: Callable[[], Axes | Figure]


def draw(run: RunResults) -> tuple[dict[str, list[Picture]], list[str]]:
    """Draw the figures of a run into its folder `figures/`; returns the same as `draw_plans`."""
    plans = {"calibration": _calibration(run), "findings": _findings(run), "training": _training(run)}
    return draw_plans(plans, run.path / "figures")


def draw_plans(
    plans: Mapping[str, Iterable[Plan]], folder: Path, *, vector: bool = False
) -> tuple[dict[str, list[Picture]], list[str]]:
    """Draw figures into a folder.

    Args:
        plans: Part of the page -> its figures.
        folder: Folder for <name>.png.
        vector: Write <name>.svg too.

    Returns:
        Part of the page -> its pictures, and a sentence for each figure that could not be drawn.
    """
    left_out: list[str] = []
    pictures: dict[str, list[Picture]] = {part: [] for part in plans}
    for part, figures in plans.items():
        for plan in bar(list(figures), f"figures: {part}", unit="figure"):
            try:
                pictures[part].append(_saved(plan, folder, vector))
            except InputError as error:
                left_out.append(f"Figure not drawn: {plan.what}. {error}")
    return pictures, left_out


def _saved(plan: Plan, folder: Path, vector: bool) -> Picture:
    """Save a figure, and return it for the page; the title of its only Axes ends the alternative text."""
    with rc_context({**STYLE, "svg.hashsalt": plan.name}):
        drawn = plan.draw()
        figure = drawn if isinstance(drawn, Figure) else cast(Figure, drawn.get_figure(root=True))
        formats = [("svg", {"Date": None}), ("png", {"Software": None})]
        for form, metadata in formats if vector else formats[1:]:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, dpi=DPI, metadata=metadata)
            atomic_write(folder / f"{plan.name}.{form}", buffer.getvalue())
    title = "" if isinstance(drawn, Figure) else " {}.".format(drawn.get_title(loc="left").replace("\n", " "))
    width, height = (round(inches * CSS_DPI) for inches in figure.get_size_inches())
    data = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(f"{plan.what}.{title}", plan.caption, data, width, height)


def _calibration(run: RunResults) -> Iterator[Plan]:
    z = run.test_z
    if z.empty:
        return
    yield Plan(
        "pit",
        "Histogram of the probability integral transform of z in test controls",
        "Uniform under calibration. High at both ends: SD of z above 1; high in the middle: SD below 1; a slope: mean "
        "shifted.",
        partial(plots.pit_histogram, z, n_calibrate=run.counts.get("calibrate")),
    )
    yield Plan(
        "qq",
        "Quantiles of z in test controls against the normal distribution",
        "On the dashed line under calibration. The ends show whether values of |z| > 3 are calibrated.",
        partial(plots.qq, z),
    )
    yield from _by_group(run)
    yield Plan(
        "coverage",
        "Observed coverage of the central intervals of z in test controls",
        "Where an interval excludes the dashed line, coverage differs from nominal.",
        partial(plots.coverage_curve, coverage_table(run.reliability)),
    )
    yield Plan(
        "regions",
        "Mean and standard deviation of z in test controls, a dot per region",
        "About 5 % of the dots are expected outside each grey band; more of them show miscalibrated regions.",
        partial(plots.sd_by_region, z, n_calibrate=run.counts.get("calibrate")),
    )
    yield Plan(
        "groups",
        "Mean and standard deviation of z by subgroup of test controls",
        "One in twenty 95 % intervals excludes 0 by chance.",
        partial(plots.group_forest, group_table(run.reliability)),
    )
    for name in run.named("covariates"):
        yield Plan(
            f"along_{_slug(name)}",
            f"Mean and standard deviation of z in test controls over {name}",
            "Mean 0 and SD 1 are expected everywhere under calibration. Intervals are 95 % intervals.",
            partial(plots.z_against, z, run.subjects[name], name),
        )


def _by_group(run: RunResults) -> Iterator[Plan]:
    """The distribution of z in all test controls and by covariate; and the kinds of deviation, if several."""
    z, n_calibrate = run.test_z, run.counts.get("calibrate")
    names = [name for name in run.named("covariates") if levels_of(run.subjects[name].loc[z.index]).nunique() > 1]
    for name in ("", *names):
        yield Plan(
            f"worm_{_slug(name)}" if name else "worm",
            f"Worm plot of z in test controls{f' by {name}' if name else ''}",
            "On the dashed line under calibration. Above or below: mean shifted; a slope: SD not 1; a U: skewness; an "
            "S: wrong tails. Bands are simultaneous 95 % bands: a band that excludes the line shows misfit.",
            partial(plots.worm, z, run.subjects[name] if name else None, name, n_calibrate=n_calibrate),
        )
    name = names[0] if names else ""
    yield Plan(
        "coverage_curves",
        f"Observed coverage of every central interval of z in test controls{f' by {name}' if name else ''}",
        "On the dashed line under calibration. A band that excludes it shows intervals too wide or too narrow.",
        partial(plots.coverage_by, z, run.subjects[name] if name else None, name, n_calibrate=n_calibrate),
    )
    if len(kinds := kind_table(run.calibration)) > 1:
        yield Plan(
            "kinds",
            "Mean and standard deviation of z in test controls for every kind of deviation",
            "Each kind of deviation is calibrated separately. Findings use the primary kind.",
            partial(plots.group_forest, kinds),
        )


def _findings(run: RunResults) -> Iterator[Plan]:
    subjects, regions, groups = run.subjects, run.regions, run.groups
    yield Plan(
        "subjects",
        "Mean |z| of each person by group, test controls first",
        "Compare each group with the test controls, who were scored with the same model.",
        partial(plots.subject_boxes, subjects, order=groups),
    )
    for score in run.named("scores"):
        yield Plan(
            f"score_{_slug(score)}",
            f"{score} against mean |z|, by group",
            "Groups differ in both variables: the correlation over all people does not imply one within a group.",
            partial(plots.score_scatter, subjects, subjects[score], score, order=groups),
        )
    yield Plan(
        "frequency",
        "Proportion of people with extreme deviations (p < 0.05) per region and group",
        "Compare each group with the test controls in the same region, not with 5 % alone.",
        partial(plots.significance_frequency, regions),
    )
    for i, group in enumerate(groups, 1):
        yield Plan(
            f"regions_{i:02d}_{_slug(group)}",
            f"Regions with the largest mean z in {group}",
            "Regions are selected post hoc, which biases |mean z| upwards. Diamonds: test controls.",
            partial(plots.region_bars, regions, group),
        )
    if "mean_z" in regions:
        limit = max(1.0, float(regions["mean_z"].abs().max()))
        for i, (name, part) in enumerate(regions.groupby("modality", sort=False), 1):
            yield Plan(
                f"map_{i:02d}_{_slug(str(name))}",
                f"Mean z of each region of {name} by group",
                "All modalities share one colour scale.",
                partial(plots.group_heatmap, part, limit=limit),
            )


def _training(run: RunResults) -> Iterator[Plan]:
    if run.history.empty:
        return
    yield Plan(
        "loss",
        "Loss per epoch on training and validation controls",
        "Dotted: epoch of the selected weights (0: initialisation). Training and validation controls are different "
        "people: compare the shapes of the curves, not their levels.",
        partial(plots.history_curves, run.history),
    )
    if "active_units" in run.history:
        yield Plan(
            "active_units",
            "Number of active latent dimensions per epoch",
            "A latent dimension is active if its posterior mean varies between people.",
            partial(plots.active_units, run.history, run.latent_dim),
        )
    regions = {str(m): int(n) for m, n in run.modalities.items() if f"log_likelihood_{m}" in run.history}
    if regions:
        yield Plan(
            "held_out_fit",
            "Log-likelihood of each modality on validation controls per epoch",
            "A curve that falls while the others rise shows a modality collapse.",
            partial(plots.held_out_fit, run.history, regions),
        )
    if "share_prior" in run.latents:
        yield Plan(
            "latents",
            "KL of each latent dimension from the prior, split by the share of the prior and each expert in precision",
            "On held-out controls. A latent dimension with KL 0 is inactive; a modality with share 0 does not "
            "contribute to the posterior.",
            partial(plots.latent_use, run.latents),
        )


def _slug(name: str) -> str:
    """A name in the characters that every file system accepts."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "x"
