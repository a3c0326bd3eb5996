"""Style: colours, fonts, new Axes and labels shared by all figures."""

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
    "capitalised",
    "group_colours",
    "label_both_sides",
    "legend_below",
    "short",
    "styled",
]

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY, INK = "#767676", "#222222"
OKABE_ITO = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, INK)
"""Colours that can be distinguished with any colour vision (Okabe & Ito 2008, https://jfly.uni-koeln.de/color/)."""

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
    "text.parse_math": False,  # "$" in the name of a region is no formula
}
"""Settings in force while a figure is drawn; the settings of the caller do not change."""

styled = rc_context(STYLE)
"""Decorator of a function that draws a figure in this style."""


def axes_of(ax: Axes | None, width: float, height: float) -> Axes:
    """`ax` itself, or the Axes of a new figure of `width` x `height` inches, independent of pyplot.

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
    """Place the legend below the label of the x axis, outside the data.

    Examples:
        >>> ax = axes_of(None, 4.0, 3.0)
        >>> _ = ax.plot([1, 2], label="a")
        >>> legend_below(ax, ncols=2)
    """
    below = offset_copy(ax.transAxes, ax.get_figure(root=True), y=-38, units="points")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, ncols=ncols, **options)


def label_both_sides(ax: Axes, above: str, below: str) -> None:
    """Write the meaning of values above and below 0 in the upper and lower left corners.

    Examples:
        >>> ax = axes_of(None, 4.0, 3.0)
        >>> label_both_sides(ax, "too high", "too low")
        >>> [text.get_text() for text in ax.texts]
        ['above 0: too high', 'below 0: too low']
    """
    ax.text(0.02, 0.98, f"above 0: {above}", transform=ax.transAxes, va="top", color=GREY, fontsize=9)
    ax.text(0.02, 0.02, f"below 0: {below}", transform=ax.transAxes, color=GREY, fontsize=9)


def capitalised(text: str) -> str:
    """A text with a capital first letter; the other letters do not change.

    Examples:
        >>> capitalised("mean |z| over regions")
        'Mean |z| over regions'
    """
    return text[:1].upper() + text[1:]


def short(name: object, most: int = 44) -> str:
    """A name of at most `most` characters: the middle of a longer one is replaced by an ellipsis.

    Examples:
        >>> short("Volume of presubiculum-body (left hemisphere)", 20)
        'Volume of…emisphere)'
    """
    text, half = str(name), most // 2
    return text if len(text) <= most else f"{text[: half - 1]}…{text[-half:]}"
