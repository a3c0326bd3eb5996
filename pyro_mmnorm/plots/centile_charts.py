"""Centile charts: centile curves of a region over a covariate, with people as points."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.transforms import offset_copy

from pyro_mmnorm.core.errors import InputError, needed
from pyro_mmnorm.plots.style import BLUE, GREY, INK, axes_of, group_colours, legend_below, short, styled

__all__ = ["centiles"]

CONTROLS = "controls"


@styled
def centiles(
    curves: xr.DataArray,
    controls: pd.DataFrame | None = None,
    patients: pd.DataFrame | None = None,
    *,
    unit: str = "",
    by_unit: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Centile curves of a region, with people as points: the median bold, each curve labelled at its right end.

    Args:
        curves: Result of `pyro_mmnorm.centiles`: dims (centile, covariate).
        controls, patients: Tables with the covariate, `value` and, for patients, `group`.
        unit: Unit of the region, such as `mm³`; omitted when empty.
        by_unit: Unit of the covariate; years by default for `age`.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the curves are of another shape, or a table has no rows or lacks a column.

    Examples:
        >>> values = [[1.0, 0.9], [2.0, 1.8], [3.0, 2.7]]
        >>> coords = {"centile": [5, 50, 95], "age": [50, 80]}
        >>> curves = xr.DataArray(values, coords, ("centile", "age"), "thickness.insula")
        >>> centiles(curves, unit="mm").get_ylabel()
        'insula [mm]'
    """
    if curves.ndim != 2 or curves.dims[0] != "centile":
        raise InputError("curves", f"dims {curves.dims}", "(centile, covariate)", "pass what `centiles` returned")
    by = str(curves.dims[1])
    people = {CONTROLS: controls} if controls is not None else {}
    if patients is not None:
        needed(patients, [by, "value", "group"], "patients")
        people |= {str(group): part for group, part in patients.groupby("group", sort=False)}
    colours = {CONTROLS: GREY} | group_colours([group for group in people if group != CONTROLS])
    ax = axes_of(ax, 6.4, 4.6)
    for group, table in people.items():
        needed(table, [by, "value"], group)
        ax.plot(table[by], table["value"], "o", color=colours[group], markersize=3.2, alpha=0.55, markeredgewidth=0,
                label=f"{short(group, 24)}, n {len(table):,}", zorder=1)  # fmt: skip
    _draw_curves(ax, curves, curves[by].to_numpy())
    fixed = [f"{name} {curves.coords[name].item()}" for name in curves.coords if name not in curves.dims]
    region = short(str(curves.name).partition(".")[2] or curves.name)
    by_unit = by_unit or ("years" if by == "age" else "")
    ax.set(xlabel=f"{by} [{by_unit}]" if by_unit else by, ylabel=f"{region} [{unit}]" if unit else region)
    ax.set_title("Centiles" + (f": {', '.join(fixed)}" if fixed else ""))
    if people:
        legend_below(ax, ncols=min(4, len(people)))
    return ax


def _draw_curves(ax: Axes, curves: xr.DataArray, x: np.ndarray) -> None:
    """Draw the curves, each with its centile at the right end."""
    beside = offset_copy(ax.transData, ax.get_figure(root=True), x=4, units="points")
    for q, y in zip(curves["centile"].to_numpy(), curves.to_numpy(), strict=True):
        middle = q == 50
        ax.plot(x, y, color=INK if middle else BLUE, linewidth=2 if middle else 1.1, zorder=2)
        ax.text(x[-1], y[-1], f"{q:g} %", transform=beside, va="center", fontsize=8, color=INK, clip_on=False)
