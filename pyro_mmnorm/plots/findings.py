"""Findings figures: deviations by group, region and person, always beside the test controls."""

from collections.abc import Collection, Sequence
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import stats

from pyro_mmnorm.core.errors import InputError, needed
from pyro_mmnorm.plots.style import (
    GREY,
    INK,
    OKABE_ITO,
    axes_of,
    capitalised,
    group_colours,
    legend_below,
    short,
    styled,
)
from pyro_mmnorm.plots.z_values import half_width
from pyro_mmnorm.results.schema import TEST_CONTROLS, group_of, groups_of
from pyro_mmnorm.stats.intervals import MEAN_ABS_Z

__all__ = [
    "axis_label",
    "frequency_axis",
    "group_heatmap",
    "groups_in_order",
    "region_bars",
    "score_scatter",
    "significance_frequency",
    "subject_boxes",
    "values_by_group",
]

MEASURES = {
    "mean_abs_z": ("mean |z| over regions", MEAN_ABS_Z),
    "mean_sq_z": ("mean z² over regions", 1.0),
    "mean_z": ("mean z over regions (negative: smaller than expected)", 0.0),
    "n_outliers": ("regions with |z| > 1.96", None),
    "n_significant": ("regions with q < 0.05", None),
    "dsi": ("disease severity index", None),
}
"""Column of subjects.csv -> label of the axis, and the value expected under calibration."""


def axis_label(measure: str) -> tuple[str, float | None]:
    """The label of a measure of a person, and the value expected under calibration, if there is one.

    Examples:
        >>> axis_label("mean_sq_z"), axis_label("mse")
        (('mean z² over regions', 1.0), ('mse', None))
    """
    return MEASURES.get(measure, (measure.replace("_", " "), None))


def groups_in_order(names: Collection[str], order: Sequence[str] = ()) -> list[str]:
    """Names of groups: test controls first, then in the given order, then the others alphabetically.

    Examples:
        >>> groups_in_order({"MCI", "AD", "test controls"}, ["MCI"])
        ['test controls', 'MCI', 'AD']
    """
    return [name for name in dict.fromkeys([TEST_CONTROLS, *order, *sorted(names)]) if name in names]


def values_by_group(subjects: pd.DataFrame, value: str, where: str = "subjects") -> dict[str, NDArray[np.float64]]:
    """Group -> observed values of a measure, for the groups that have any.

    Raises:
        InputError: When the table has no rows, lacks a column, or has no value.

    Examples:
        >>> people = pd.DataFrame({"split": ["test", "target"], "group": ["CN", "AD"], "mean_abs_z": [0.8, 1.1]})
        >>> values_by_group(people, "mean_abs_z")
        {'AD': array([1.1]), 'test controls': array([0.8])}
    """
    needed(subjects, ["split", "group", value], where)
    known = subjects[subjects[value].notna()]
    if known.empty:
        raise InputError(where, f"no value of {value}", "numbers", "choose another column")
    return {str(name): part.to_numpy(float) for name, part in known[value].groupby(group_of(known))}


@styled
def subject_boxes(
    subjects: pd.DataFrame, value: str = "mean_abs_z", *, order: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    r"""A measure of each person by group, test controls first: quartiles, whiskers and every person as a point.

    The dashed line is the value expected under calibration: :math:`E|z| = \sqrt{2/\pi} = 0.798`, :math:`E z^2 = 1`.

    Args:
        subjects: `split`, `group` and the column `value`, a row per subject.
        value: Column to draw.
        order: Order of the groups; others follow.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table has no rows, lacks a column, or has no value.

    Examples:
        >>> people = pd.DataFrame({"split": ["test", "target"], "group": ["CN", "AD"], "mean_abs_z": [0.8, 1.1]})
        >>> [label.get_text().split()[-1] for label in subject_boxes(people).get_xticklabels()]
        ['1', '1']
    """
    values = values_by_group(subjects, value)
    names = groups_in_order(values, order)
    ax = axes_of(ax, max(6.2, 1.1 * len(names) + 1.2), 4.4)
    colours = group_colours([name for name in names if name != TEST_CONTROLS])
    for at, name in enumerate(names):
        x, colour = values[name], colours.get(name, GREY)
        spread = ((np.arange(x.size) * 0.618034) % 1 - 0.5) * 0.5  # golden ratio: evenly spread and reproducible
        ax.plot(at + spread, x, "o", color=colour, markersize=3, alpha=0.45, markeredgewidth=0, zorder=1)
        ax.boxplot(x, positions=[at], widths=0.62, showfliers=False, manage_ticks=False, zorder=2,
                   medianprops={"color": INK, "linewidth": 2}, boxprops={"color": INK})  # fmt: skip
    label, null = axis_label(value)
    if null is not None:
        ax.axhline(
            null, color=INK, linestyle="--", linewidth=1, zorder=0, label=f"expected under calibration: {null:.3g}"
        )
        ax.legend(loc="upper left")
        ax.margins(y=0.12)
    ax.set_xticks(range(len(names)), [f"{_wrapped(short(name, 24))}\nn {values[name].size:,}" for name in names])
    ax.set(xlim=(-0.6, len(names) - 0.4), ylabel=label)
    ax.set_title(capitalised(label).split(" (")[0])
    return ax


def _wrapped(name: str, width: int = 14) -> str:
    """A long group name over several lines."""
    lines = [""]
    for word in name.split():
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < width else [*lines, word]
    return "\n".join(line for line in lines if line)


def _one_group(regions: pd.DataFrame, group: str) -> pd.DataFrame:
    rows = regions[regions["group"] == group]
    if rows.empty:
        raise InputError("group", repr(group), f"one of {list(regions['group'].unique())}", "correct the name")
    return rows.set_index(["modality", "region"])


@styled
def region_bars(regions: pd.DataFrame, group: str, *, top: int = 20, ax: Axes | None = None) -> Axes:
    """The regions of a group with the largest mean z of either sign, with 95 % intervals, beside the test controls.

    Full colour marks q < 0.05 (Welch test against test controls, Benjamini-Hochberg over regions). Regions are selected
    post hoc, which biases |mean z| upwards.

    Args:
        regions: `modality`, `region`, `group`, `n`, `mean_z`, `sd_z`, and optionally `welch_q`.
        group: Group to draw.
        top: Number of regions.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table has no rows, lacks a column, or lacks the group.

    Examples:
        >>> rows = pd.DataFrame({"modality": "t1", "region": ["a", "b"], "group": "AD", "n": 9, "mean_z": [-1.0, 0.2],
        ...                      "sd_z": 1.0})
        >>> [label.get_text() for label in region_bars(rows, "AD").get_yticklabels()]
        ['a', 'b']
    """
    needed(regions, ["modality", "region", "group", "n", "mean_z", "sd_z"], "regions")
    rows = _one_group(regions, group).dropna(subset="mean_z").sort_values("mean_z", key=np.abs, ascending=False)
    if rows.empty:
        raise InputError("regions", f"no mean z of group {group!r}", "observed regions", "choose another group")
    total, rows = len(rows), rows.head(top)
    ax, y = axes_of(ax, 8.2, 1.6 + 0.26 * len(rows)), np.arange(len(rows))
    modality = rows.index.get_level_values("modality")
    colours = dict(zip(regions["modality"].unique(), OKABE_ITO * 9, strict=False))
    strong = (rows["welch_q"] < 0.05) if "welch_q" in rows else pd.Series(True, rows.index)
    for at, name, full, mean in zip(y, modality, strong, rows["mean_z"], strict=True):
        ax.barh(at, mean, height=0.72, color=colours[name], alpha=0.9 if full else 0.3)
    ax.errorbar(rows["mean_z"], y, xerr=half_width(rows), fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
    handles: list[Artist] = [Patch(color=colours[name], label=name) for name in colours if name in set(modality)]
    if TEST_CONTROLS in set(regions["group"]) and group != TEST_CONTROLS:
        controls = _one_group(regions, TEST_CONTROLS)["mean_z"].reindex(rows.index)
        ax.plot(controls, y, "D", color="white", markeredgecolor=INK, markersize=4.5)
        handles.append(Line2D([], [], marker="D", color="white", markeredgecolor=INK, label=TEST_CONTROLS))
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_yticks(y, [short(region) for region in rows.index.get_level_values("region")])
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlabel="mean z (negative: smaller than expected), 95 % interval")
    shown = f"top {len(rows)} of {total}" if len(rows) < total else f"all {total}"
    ax.set_title(f"{short(group, 24)}, n {int(rows['n'].max()):,}: {shown} regions by |mean z|; pale: q ≥ 0.05")
    legend_below(ax, ncols=4, handles=handles)
    return ax


@styled
def significance_frequency(regions: pd.DataFrame, *, top: int = 20, ax: Axes | None = None) -> Axes:
    """Proportion of people of each group with p < 0.05 in a region (the poster's frequency of significance).

    The test controls and the 5 % expected by chance are drawn for comparison.

    Args:
        regions: `modality`, `region`, `group`, `n`, `share_significant`, and optionally its `_low` and `_high`.
        top: Number of regions: those with the largest proportion in any group.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table has no rows, lacks a column, or has no proportion.

    Examples:
        >>> rows = pd.DataFrame({"modality": "t1", "region": "a", "group": ["test controls", "AD"], "n": [40, 9],
        ...                      "share_significant": [0.05, 0.4]})
        >>> significance_frequency(rows).get_xlabel()
        'people with p < 0.05 in this region (%)'
    """
    needed(regions, ["modality", "region", "group", "n", "share_significant"], "regions")
    groups = groups_of(regions)
    ranked = regions[regions["group"].isin(groups or [TEST_CONTROLS])].dropna(subset="share_significant")
    best = ranked.groupby(["modality", "region"], sort=False)["share_significant"].max().nlargest(top).index
    if best.empty:
        raise InputError("regions", "no share of significant people", "observed regions", "check the run")
    present = [group for group in (TEST_CONTROLS, *groups) if (regions["group"] == group).any()]
    ax = axes_of(ax, 8.2, 1.6 + len(best) * (0.12 + 0.065 * len(present)))
    offsets, colours = (np.arange(len(present)) - (len(present) - 1) / 2) * 0.8 / len(present), group_colours(groups)
    for offset, group in zip(offsets, present, strict=True):
        rows = _one_group(regions, group).reindex(best)
        x, y, colour = 100 * rows["share_significant"], np.arange(len(best)) + offset, colours.get(group, GREY)
        low, high = (100 * rows.get(f"share_significant_{end}", rows["share_significant"]) for end in ("low", "high"))
        ax.hlines(y, low, high, color=colour, linewidth=1.3)
        marker = "D" if group == TEST_CONTROLS else "o"
        ax.plot(x, y, marker, color=colour, markersize=4.5, label=f"{short(group, 24)} (n {int(rows['n'].max()):,})")
    frequency_axis(ax, [short(r if m in r else f"{r} ({m})") for m, r in best])
    ax.hlines(np.arange(len(best) - 1) + 0.5, 0, 1, transform=ax.get_yaxis_transform(), color="#dddddd", linewidth=0.7)
    title = "Proportion of people with extreme deviations, 95 % intervals"
    ax.set_title(f"{title}\n(p < 0.05; the poster's frequency of significance)")
    legend_below(ax, ncols=3)
    return ax


def frequency_axis(ax: Axes, regions: Sequence[str]) -> None:
    """Axes of the proportion of people with p < 0.05 (x, percent) by region (y), with the 5 % expected by chance.

    Examples:
        >>> ax = axes_of(None, 4.0, 3.0)
        >>> frequency_axis(ax, ["insula"])
        >>> ax.get_xlabel()
        'people with p < 0.05 in this region (%)'
    """
    ax.axvline(5, color=INK, linestyle="--", linewidth=1, label="5 %, expected by chance")
    ax.set_yticks(range(len(regions)), regions)
    ax.set(ylim=(len(regions) - 0.4, -0.6), xlabel="people with p < 0.05 in this region (%)")
    ax.set_xlim(left=0)


@styled
def group_heatmap(regions: pd.DataFrame, *, limit: float | None = None, ax: Axes | None = None) -> Axes:
    """Mean z of every region (row) and group (column), in blocks by modality; a dot marks q < 0.05.

    Args:
        regions: `modality`, `region`, `group`, `mean_z`, and optionally `welch_q`.
        limit: End of the colour scale, the same on both sides of 0; the largest |mean z|, at least 1, if None.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table has no rows, lacks a column, or has no mean z.

    Examples:
        >>> rows = pd.DataFrame({"modality": "t1", "region": ["a", "b"], "group": "AD", "mean_z": [-1.0, 0.2]})
        >>> [label.get_text() for label in group_heatmap(rows).get_yticklabels()]
        ['a', 'b']
    """
    needed(regions, ["modality", "region", "group", "mean_z"], "regions")
    if regions["mean_z"].isna().all():
        raise InputError("regions", "no mean z", "observed regions", "check the run")
    keys = pd.MultiIndex.from_frame(regions[["modality", "region"]].drop_duplicates())
    groups = list(dict.fromkeys(regions["group"]))
    table = pd.concat([_one_group(regions, group)["mean_z"].reindex(keys) for group in groups], axis=1)
    ax = axes_of(ax, max(5.2, 3.4 + 0.55 * len(groups)), 2.2 + 0.175 * len(keys))
    limit = limit or max(1.0, float(np.nanmax(table.abs().to_numpy())))
    picture = ax.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    if "welch_q" in regions:
        small = pd.concat([_one_group(regions, group)["welch_q"].reindex(keys) < 0.05 for group in groups], axis=1)
        row, column = np.nonzero(small.to_numpy())
        ax.plot(column, row, ".", color=INK, markersize=3)
    modality = keys.get_level_values("modality")
    ends = np.flatnonzero(modality[1:] != modality[:-1]) + 0.5
    ax.hlines(ends, -0.5, len(groups) - 0.5, color=INK, linewidth=1.5)
    for name in modality.unique():
        middle = np.flatnonzero(modality == name).mean()
        ax.text(1.01, middle, name, rotation=-90, va="center", transform=ax.get_yaxis_transform())
    ax.set_yticks(range(len(keys)), [short(region) for _, region in keys], fontsize=8)
    ax.set_xticks(
        range(len(groups)), [short(group, 24) for group in groups], rotation=40, ha="right", rotation_mode="anchor"
    )
    ax.spines[:].set_visible(False)
    ax.set_title("Mean z of regions by group" + (f": {modality[0]}" if modality.nunique() == 1 else ""))
    figure = cast(Figure, ax.get_figure(root=True))
    inch = 1 / figure.get_size_inches()[1]
    bar = figure.colorbar(
        picture, ax=ax, location="bottom", fraction=0.25 * inch, pad=0.1 * inch, aspect=30, shrink=0.9
    )
    bar.set_label("mean z (blue: smaller than expected, red: larger)\ndot: q < 0.05 against test controls", fontsize=9)
    return ax


def _band(x: pd.Series, y: pd.Series, at: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Half width of the 95 % band of a least squares line, :math:`t\, s \sqrt{1/n + (a - \bar x)^2 / S_{xx}}`."""
    n, away = len(x), x - x.mean()
    line = stats.linregress(x, y)
    error = np.sqrt(float(((y - line.intercept - line.slope * x) ** 2).sum()) / (n - 2))
    half: NDArray[np.float64] = np.sqrt(1 / n + (at - x.mean()) ** 2 / float((away**2).sum()))
    return stats.t.ppf(0.975, n - 2) * error * half


@styled
def score_scatter(
    subjects: pd.DataFrame, scores: pd.Series, name: str, *, value: str = "mean_abs_z", order: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """A clinical or cognitive score against a measure of each person, by group, with the unadjusted correlation.

    The line is the least squares fit, with the 95 % confidence band of its mean.

    Args:
        subjects: `split`, `group` and the column `value`, a row per subject.
        scores: The score with the same index; subjects without a value are excluded.
        name: Label of the axis, with the unit.
        value: Column to draw.
        order: Order of the groups; others follow.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table lacks a column or fewer than four subjects have both numbers.

    Examples:
        >>> people = pd.DataFrame({"split": "target", "group": "AD", "mean_abs_z": [0.8, 1.1, 1.0, 1.3]})
        >>> score_scatter(people, pd.Series([10, 25, 19, 30]), "ADAS13").get_ylabel()
        'ADAS13'
    """
    needed(subjects, ["split", "group", value], "subjects")
    both = pd.DataFrame({"x": subjects[value], "y": scores.reindex(subjects.index), "g": group_of(subjects)}).dropna()
    if len(both) < 4 or both["x"].nunique() < 2 or both["y"].nunique() < 2:
        raise InputError(f"score {name!r}", f"{len(both)} subjects with both", "at least 4 that differ", "check ids")
    ax, groups = axes_of(ax, 6.2, 4.6), groups_in_order(set(both["g"]), order)
    colours = group_colours([group for group in groups if group != TEST_CONTROLS])
    for group in groups:
        part = both[both["g"] == group]
        ax.plot(part["x"], part["y"], "o", color=colours.get(group, GREY), markersize=4, alpha=0.7, markeredgewidth=0,
                label=f"{short(group, 24)} (n {len(part):,})")  # fmt: skip
    pearson, line = stats.pearsonr(both["x"], both["y"]), stats.linregress(both["x"], both["y"])
    low, high = pearson.confidence_interval(0.95)
    ends = both["x"].agg(["min", "max"]).to_numpy()
    grid = np.linspace(float(ends[0]), float(ends[1]), 60)
    fit, half = line.intercept + line.slope * grid, _band(both["x"], both["y"], grid)
    ax.fill_between(grid, fit - half, fit + half, color=INK, alpha=0.15, linewidth=0, zorder=2.5)
    ax.plot(grid, fit, color=INK, linewidth=1.4)
    ax.set(xlabel=axis_label(value)[0], ylabel=name)
    ax.set_title(f"{name}: Pearson r {pearson.statistic:.2f} [{low:.2f}, {high:.2f}], n {len(both):,}, unadjusted")
    legend_below(ax, ncols=3)
    return ax
