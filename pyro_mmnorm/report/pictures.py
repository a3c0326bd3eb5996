"""Figures of the page: which are drawn from a run, and how a reader takes them."""

import base64
import io
import re
from collections.abc import Callable, Iterator
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

__all__ = ["Picture", "draw"]

DPI = 130
CSS_DPI = 100  # pixels of the page per inch


class Picture(NamedTuple):
    """A figure inside the page; `data` is a data URI, `width` and `height` are in CSS pixels."""

    alt: str
    caption: str
    data: str
    width: int
    height: int


class _Plan(NamedTuple):
    name: str
    what: str
    caption: str
    draw: Callable[[], Axes]


def draw(run: RunResults) -> tuple[dict[str, list[Picture]], list[str]]:
    """Draw every figure of a run into its folder `figures/`.

    Returns:
        The pictures of each part of the page, and a sentence for every figure that could not be drawn.
    """
    folder, left_out = run.path / "figures", []
    folder.mkdir(exist_ok=True)
    pictures: dict[str, list[Picture]] = {}
    for part, plans in (("calibration", _calibration), ("findings", _findings), ("training", _training)):
        pictures[part] = []
        for plan in bar(list(plans(run)), f"figures: {part}", unit="figure"):
            try:
                pictures[part].append(_saved(plan, folder / f"{plan.name}.png"))
            except InputError as error:
                left_out.append(f"Figure not drawn: {plan.what}. {error}")
    return pictures, left_out


def _saved(plan: _Plan, path: Path) -> Picture:
    buffer = io.BytesIO()
    with rc_context(STYLE):
        ax = plan.draw()
        figure = cast(Figure, ax.get_figure(root=True))
        figure.savefig(buffer, dpi=DPI, format="png", metadata={"Software": None})
    atomic_write(path, buffer.getvalue())
    title = ax.get_title(loc="left").replace("\n", " ")
    width, height = (round(inches * CSS_DPI) for inches in figure.get_size_inches())
    data = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(f"{plan.what}. {title}.", plan.caption, data, width, height)


def _calibration(run: RunResults) -> Iterator[_Plan]:
    z = run.test_z
    if z.empty:
        return
    yield _Plan(
        "pit",
        "Histogram of the probability integral transform of z in test controls",
        "Flat when calibrated. High at both ends: z too wide; high in the middle: too narrow; a slope: shifted.",
        partial(plots.pit_histogram, z, n_calibrate=run.counts.get("calibrate")),
    )
    yield _Plan(
        "qq",
        "Quantiles of z in test controls against the normal distribution",
        "On the dashed line when calibrated; the ends tell whether |z| > 3 can be believed.",
        partial(plots.qq, z),
    )
    yield from _by_group(run)
    yield _Plan(
        "coverage",
        "Reached coverage of the central intervals of z in test controls",
        "An interval that misses the dashed line shows a level that is not kept.",
        partial(plots.coverage_curve, coverage_table(run.reliability)),
    )
    yield _Plan(
        "regions",
        "Mean and standard deviation of z in test controls, a dot per region",
        "A few dots outside the grey bands are expected; many are not.",
        partial(plots.sd_by_region, z, n_calibrate=run.counts.get("calibrate")),
    )
    yield _Plan(
        "groups",
        "Mean and standard deviation of z by group of test controls",
        "With many groups, one in twenty intervals misses by chance.",
        partial(plots.group_forest, group_table(run.reliability)),
    )
    for name in run.named("covariates"):
        yield _Plan(
            f"along_{_slug(name)}",
            f"Mean and standard deviation of z in test controls along {name}",
            "Mean 0 and SD 1 everywhere when calibrated; with 95 % intervals.",
            partial(plots.z_against, z, run.subjects[name], name),
        )


def _by_group(run: RunResults) -> Iterator[_Plan]:
    """The whole distribution of z, for everybody and by every covariate; and every kind beside the primary one."""
    z, n_calibrate = run.test_z, run.counts.get("calibrate")
    names = [name for name in run.named("covariates") if levels_of(run.subjects[name].loc[z.index]).nunique() > 1]
    for name in ("", *names):
        yield _Plan(
            f"worm_{_slug(name)}" if name else "worm",
            f"Worm plot of z in test controls{f' by {name}' if name else ''}",
            "Flat on the dashed line when calibrated. Above or below: mean off; rising or falling: SD off; bent: "
            "skewed; an S: wrong tails. A band that leaves the line shows it (95 % for the whole line).",
            partial(plots.worm, z, run.subjects[name] if name else None, name, n_calibrate=n_calibrate),
        )
    name = names[0] if names else ""
    yield _Plan(
        "coverage_curves",
        f"Reached coverage of every central interval of z in test controls{f' by {name}' if name else ''}",
        "On the dashed line when calibrated. A band that leaves it shows intervals too wide or too narrow.",
        partial(plots.coverage_by, z, run.subjects[name] if name else None, name, n_calibrate=n_calibrate),
    )
    if len(kinds := kind_table(run.calibration)) > 1:
        yield _Plan(
            "kinds",
            "Mean and standard deviation of z in test controls for every kind of deviation",
            "Each kind is calibrated by itself; findings rest on the primary one.",
            partial(plots.group_forest, kinds),
        )


def _findings(run: RunResults) -> Iterator[_Plan]:
    subjects, regions, groups = run.subjects, run.regions, run.groups
    yield _Plan(
        "subjects",
        "Mean |z| of every person by group, test controls first",
        "A group lies apart only as far as it lies apart from the test controls, who went through the same model.",
        partial(plots.subject_boxes, subjects, order=groups),
    )
    for score in run.named("scores"):
        yield _Plan(
            f"score_{_slug(score)}",
            f"{score} against mean |z|, by group",
            "Groups differ in both, so the overall correlation is no proof of one within a group.",
            partial(plots.score_scatter, subjects, subjects[score], score, order=groups),
        )
    yield _Plan(
        "frequency",
        "Share of people with a significant deviation per region and group",
        "Read each group against the test controls of the same region, not against 5 % alone.",
        partial(plots.significance_frequency, regions),
    )
    for i, group in enumerate(groups, 1):
        yield _Plan(
            f"regions_{i:02d}_{_slug(group)}",
            f"Regions with the largest mean z in {group}",
            "Chosen by size, so the largest are flattered; diamonds are the test controls.",
            partial(plots.region_bars, regions, group),
        )
    if "mean_z" in regions:
        limit = max(1.0, float(regions["mean_z"].abs().max()))
        for i, (name, part) in enumerate(regions.groupby("modality", sort=False), 1):
            yield _Plan(
                f"map_{i:02d}_{_slug(str(name))}",
                f"Mean z of every region of {name} by group",
                "All modalities share one colour scale.",
                partial(plots.group_heatmap, part, limit=limit),
            )


def _training(run: RunResults) -> Iterator[_Plan]:
    if run.history.empty:
        return
    yield _Plan(
        "loss",
        "Loss of every epoch on training and validation controls",
        "Dotted: the epoch whose weights are kept; 0 is the start. Training and validation controls are other people: "
        "compare the shapes, not the heights.",
        partial(plots.history_curves, run.history),
    )
    if "active_units" in run.history:
        yield _Plan(
            "active_units",
            "Number of latents in use at every epoch",
            "A latent that is not in use carries nothing of the brain.",
            partial(plots.active_units, run.history, run.latent_dim),
        )
    sizes = {str(m): int(n) for m, n in run.modalities.items() if f"log_likelihood_{m}" in run.history}
    if sizes:
        yield _Plan(
            "held_out_fit",
            "Log-likelihood of each modality on validation controls at every epoch",
            "A modality whose curve falls while the others rise is being given up for them.",
            partial(plots.held_out_fit, run.history, sizes),
        )
    if "share_prior" in run.latents:
        yield _Plan(
            "latents",
            "KL of every latent from the prior, divided by the share of precision of the prior and of every expert",
            "On held-out controls. A latent without KL carries nothing; a modality without a share is not listened to.",
            partial(plots.latent_use, run.latents),
        )


def _slug(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "x"
