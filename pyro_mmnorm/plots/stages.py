"""Figures of several models or stages side by side, each beside its test controls."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pyro_mmnorm.core.errors import InputError, needed
from pyro_mmnorm.plots.findings import axis_label, frequency_axis, groups_in_order, values_by_group
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
from pyro_mmnorm.results.schema import TEST_CONTROLS

__all__ = ["frequency_bars", "stage_boxes"]

WIDE = 0.84
"""Width of the boxes or bars of one group together, as a share of the distance between groups."""


@styled
def stage_boxes(
    people: Mapping[str, pd.DataFrame], value: str = "mean_abs_z", *, order: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    r"""A measure of each person by stage, test controls first, a box per model: quartiles, 5th and 95th centile.

    The dashed line is the value expected under calibration, :math:`E|z| = \sqrt{2/\pi} = 0.798` for mean |z|. The
    hollow boxes are the test controls of each model.

    Args:
        people: Model -> its subjects: `split`, `group` and the column `value`.
        value: Column to draw.
        order: Order of the groups; others follow.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: Without models, or when a table has no rows, lacks a column, or has no value.

    Examples:
        >>> one = pd.DataFrame({"split": ["test", "target"], "group": ["CN", "AD"], "mean_abs_z": [0.8, 1.1]})
        >>> ax = stage_boxes({"VAE": one, "regression": one})
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['test controls\nn 1', 'AD\nn 1']
    """
    values = {model: values_by_group(table, value, model) for model, table in people.items()}
    if not values:
        raise InputError("people", "no model", "a table per model", "pass at least one")
    names = groups_in_order({name for groups in values.values() for name in groups}, order)
    ax = axes_of(ax, max(6.5, 0.32 * len(names) * len(values) + 2), 4.6)
    colours = dict(zip(values, OKABE_ITO * 9, strict=False))
    step = WIDE / len(values)
    for i, (model, groups) in enumerate(values.items()):
        for at, name in enumerate(names):
            if name in groups:
                place = at + (i - (len(values) - 1) / 2) * step
                _box(ax, groups[name], place, 0.82 * step, colours[model], hollow=name == TEST_CONTROLS)
    label, null = axis_label(value)
    handles: list[Patch | Line2D] = [Patch(color=colours[model], label=short(model, 24)) for model in values]
    if null is not None:
        ax.axhline(null, color=INK, linestyle="--", linewidth=1, zorder=0)
        handles.append(Line2D([], [], color=INK, linestyle="--", label=f"expected under calibration: {null:.3g}"))
    ax.vlines(np.arange(len(names) - 1) + 0.5, 0, 1, transform=ax.get_xaxis_transform(), color="#e4e4e4", linewidth=0.8)
    n = {name: max(len(groups.get(name, [])) for groups in values.values()) for name in names}
    ax.set_xticks(range(len(names)), [f"{short(name, 24)}\nn {n[name]:,}" for name in names])
    ax.set(xlim=(-0.5, len(names) - 0.5), ylabel=label)
    ax.set_title(capitalised(label).split(" (")[0] + " by stage: quartiles, 5th and 95th centile")
    legend_below(ax, ncols=4, handles=handles)
    return ax


def _box(ax: Axes, x: np.ndarray, at: float, width: float, colour: str, *, hollow: bool) -> None:
    ax.boxplot(
        x, positions=[at], widths=width, whis=(5, 95), showfliers=False, manage_ticks=False, patch_artist=True,
        boxprops={"facecolor": "white" if hollow else colour, "edgecolor": colour, "linewidth": 1.3},
        medianprops={"color": colour if hollow else "white", "linewidth": 2},
        whiskerprops={"color": colour, "linewidth": 1.3}, capprops={"color": colour, "linewidth": 1.3},
    )  # fmt: skip


@styled
def frequency_bars(
    tables: Mapping[str, pd.DataFrame], *, title: str = "Proportion of people with extreme deviations (p < 0.05)",
    stages: bool = False, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Proportion of people with p < 0.05 in each region, a bar per table, with 95 % intervals and the test controls.

    A dark tick on each bar is the proportion of the test controls in the same region and model; the dashed line is the
    5 % expected by chance. Only the part of a bar beyond its tick is evidence of deviation.

    Args:
        tables: Name (a stage, or a model) -> rows of regions.csv of one group: `region`, `n`, `share_significant` with
            `_low` and `_high` (exact 95 % interval), `share_significant_controls`.
        title: Title of the figure.
        stages: Colours from light to dark, for names with an order.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: Without tables, or when one has no rows or lacks a column.

    Examples:
        >>> rows = pd.DataFrame({"region": ["left_CA1"], "n": [9], "share_significant": [0.4],
        ...     "share_significant_low": [0.2], "share_significant_high": [0.7], "share_significant_controls": [0.05]})
        >>> frequency_bars({"AD": rows}).get_xlabel()
        'people with p < 0.05 in this region (%)'
    """
    share = "share_significant"
    columns = ["region", "n", share, f"{share}_low", f"{share}_high", f"{share}_controls"]
    if not tables:
        raise InputError("tables", "no table", "one per stage or model", "pass at least one")
    for name, table in tables.items():
        needed(table, columns, name)
    regions = list(dict.fromkeys(region for table in tables.values() for region in table["region"]))
    ax = axes_of(ax, 7.6, 1.7 + len(regions) * (0.14 + 0.085 * len(tables)))
    step = WIDE / len(tables)
    colours = group_colours(list(tables)) if stages else dict(zip(tables, OKABE_ITO * 9, strict=False))
    for i, (name, table) in enumerate(tables.items()):
        rows = table.set_index("region").reindex(regions)
        y = np.arange(len(regions)) + (i - (len(tables) - 1) / 2) * step
        x, low, high, controls = (100 * rows[column].to_numpy(float) for column in columns[2:])
        ax.barh(y, x, 0.9 * step, color=colours[name], label=f"{short(name, 24)} (n {int(rows['n'].max()):,})")
        ax.hlines(y, low, high, color=GREY, linewidth=1.2)
        ax.vlines(controls, y - 0.5 * step, y + 0.5 * step, color=INK, linewidth=2)
    frequency_axis(ax, [short(region) for region in regions])
    handles = [
        *ax.get_legend_handles_labels()[0],
        Line2D([], [], color=INK, linewidth=2, label=f"{TEST_CONTROLS}, same region"),
    ]
    ax.set_title(title)
    legend_below(ax, ncols=3, handles=handles)
    return ax
