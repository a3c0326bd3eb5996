"""Style: colours, lettering and fresh Axes that all figures share."""

from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "OKABE_ITO",
    "STYLE",
    "VERMILLION",
    "axes_of",
    "group_colours",
    "legend_below",
    "short",
    "styled",
]

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY, INK = "#767676", "#222222"
OKABE_ITO = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, INK)
"""Colours that people with any colour vision tell apart (Okabe & Ito 2008, https://jfly.uni-koeln.de/color/)."""

STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.axisbelow": True,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.edgecolor": "none",
    "text.parse_math": False,  # a "$" in the name of a region is a "$"
}
"""Settings that hold while a figure is drawn; the caller's own settings are left as they were."""

styled = rc_context(STYLE)
"""Decorator of a function that draws."""


def axes_of(ax: Axes | None, width: float, height: float) -> Axes:
    """`ax` itself, or the Axes of a fresh figure of `width` x `height` inches that no global state knows.

    Examples:
        >>> axes_of(None, 4.0, 3.0).figure.get_size_inches().tolist()
        [4.0, 3.0]
    """
    return ax if ax is not None else Figure(figsize=(width, height), layout="constrained").subplots()


def group_colours(groups: Sequence[str]) -> dict[str, str]:
    """A colour per group, from light to dark in the order of the groups (viridis).

    Examples:
        >>> list(group_colours(["MCI", "AD"]))
        ['MCI', 'AD']
    """
    shade, last = colormaps["viridis"], max(len(groups) - 1, 1)
    return {group: to_hex(shade(0.78 - 0.68 * i / last)) for i, group in enumerate(groups)}


def legend_below(ax: Axes, *, ncols: int, **options: Any) -> None:
    """A legend under the label of the x axis, where it covers nothing.

    Examples:
        >>> ax = axes_of(None, 4.0, 3.0)
        >>> _ = ax.plot([1, 2], label="a")
        >>> legend_below(ax, ncols=2)
    """
    below = offset_copy(ax.transAxes, ax.get_figure(root=True), y=-38, units="points")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, ncols=ncols, **options)


def short(name: object, most: int = 44) -> str:
    """A name that leaves room for the picture: the middle of a long one is left out.

    Examples:
        >>> short("Volume of presubiculum-body (left hemisphere)", 20)
        'Volume of…emisphere)'
    """
    text, half = str(name), most // 2
    return text if len(text) <= most else f"{text[: half - 1]}…{text[-half:]}"
