"""Panels: views of the brain arranged in lines, above one colour bar and the notes."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from pyro_mmnorm.plots.schematics import BrainView
from pyro_mmnorm.plots.shapes import lies_over, svg_path
from pyro_mmnorm.plots.style import INK, styled

__all__ = ["BLANK", "Paint", "Panel", "assembled", "bare", "flowed"]

EDGE, BLANK = "#8c8c8c", "#dcdcdc"


class Paint(NamedTuple):
    """How a shape is drawn: its colour ('': hatched), and whether it has a dark edge."""

    face: str
    strong: bool = False


class Panel(NamedTuple):
    """A view, `width` inches wide; shapes without paint are grey."""

    view: BrainView
    width: float
    paints: Mapping[str, Paint]
    title: str = ""

    @property
    def height(self) -> float:
        """Height in inches, including the title."""
        return self.width * self.view.view_box[3] / self.view.view_box[2] + 0.24 * bool(self.title)


def flowed(panels: Sequence[Panel], width: float = 8.7) -> list[list[Panel]]:
    """Panels in lines of at most `width` inches.

    Examples:
        >>> view = BrainView((0, 0, 2, 1), {})
        >>> [len(line) for line in flowed([Panel(view, 4.0, {})] * 3)]
        [2, 1]
    """
    lines: list[list[Panel]] = []
    for panel in panels:
        if lines and sum(p.width for p in lines[-1]) + panel.width <= width:
            lines[-1].append(panel)
        else:
            lines.append([panel])
    return lines


def bare(view: BrainView) -> BrainView:
    """A schematic without its labels, cropped to the shapes; other views are returned unchanged.

    Examples:
        >>> from pyro_mmnorm.plots.schematics import deep_view
        >>> bare(deep_view()).labels
        ()
    """
    if not view.labels:
        return view
    box = (-68.0, -12.0, 136.0, 168.0) if "Brain-Stem" in view.shapes else view.view_box
    return replace(view, view_box=box, labels=(), headings=())


@styled
def assembled(
    lines: Sequence[tuple[str, Sequence[Panel]]],
    title: str,
    scale: ScalarMappable,
    label: str,
    notes: Sequence[str],
    *,
    null: float | None = None,
) -> Figure:
    """Lines of panels, each under its heading, between a title and one colour bar with the notes below.

    The value `null`, expected in controls, is marked on the bar.

    Examples:
        >>> panel = Panel(BrainView((0, 0, 2, 1), {"a": "M0 0L2 0L2 1Z"}), 2.0, {"a": Paint("#ff0000")})
        >>> len(assembled([("", [panel])], "title", ScalarMappable(), "mean z", ["a note"]).axes)
        2
    """
    margin, gap = 0.12, 0.08  # positions are in inches from the top
    width = max(6.0, *(sum(panel.width for panel in panels) for _, panels in lines)) + 2 * margin
    text = [line for note in notes for line in textwrap.wrap(note, int(15.5 * (width - 2 * margin)))]
    heights = [max(panel.height for panel in panels) + gap + 0.24 * bool(head) for head, panels in lines]
    height = 0.42 + sum(heights) + 0.75 + 0.16 * len(text) + margin
    figure = Figure(figsize=(width, height))
    figure.text(margin / width, 1 - 0.12 / height, title, va="top", fontsize=12)
    top = 0.42
    for (head, panels), line in zip(lines, heights, strict=True):
        if head:
            figure.text(margin / width, 1 - top / height, head, va="top", fontsize=10)
        x = (width - sum(panel.width for panel in panels)) / 2
        for panel in panels:
            below = top + line - gap - (line - gap - 0.24 * bool(head) - panel.height) / 2
            space = 0.24 * bool(panel.title)
            box = (x / width, 1 - below / height, panel.width / width, (panel.height - space) / height)
            _draw(figure.add_axes(box), panel)
            x += panel.width
        top += line
    bar = figure.add_axes(((width - 3.4) / 2 / width, 1 - (top + 0.22) / height, 3.4 / width, 0.14 / height))
    figure.colorbar(scale, cax=bar, orientation="horizontal").set_label(label, fontsize=9)
    if null is not None:
        bar.axvline(null, color=INK, linewidth=2)
        bar.text(null, 1.25, f"expected: {null:g}", transform=bar.get_xaxis_transform(), ha="center", fontsize=8)
    for i, line_of_text in enumerate(text):
        y = 1 - (top + 0.75 + 0.16 * i) / height
        figure.text(margin / width, y, line_of_text, va="top", fontsize=8.5, color=INK)
    return figure


def _draw(ax: Axes, panel: Panel) -> None:
    """Draw a view: background, shapes (those with a dark edge last), outline, headings and labels, in this order."""
    view, (x, y, w, h) = panel.view, panel.view.view_box
    ax.set(xlim=(x, x + w), ylim=(y + h, y), aspect="equal")
    ax.set_axis_off()
    if panel.title:
        ax.set_title(panel.title, fontsize=9, loc="center", pad=3)
    if view.ground:
        ax.add_artist(PathPatch(svg_path(view.ground), facecolor=BLANK, edgecolor="none"))
    blank = Paint(BLANK)
    # add_artist instead of add_patch, which computes the extent of every curve (2 s per figure)
    for name in sorted(view.shapes, key=lambda name: (lies_over(name), panel.paints.get(name, blank).strong)):
        paint, path = panel.paints.get(name, blank), svg_path(view.shapes[name])
        edge = (INK, 2.2) if paint.strong else (EDGE, 0.9)
        ax.add_artist(PathPatch(path, facecolor="none", edgecolor=edge[0], linewidth=edge[1]))
        if paint.face:
            ax.add_artist(PathPatch(path, facecolor=paint.face, edgecolor=paint.face, linewidth=0.3, gid=name))
        else:
            style = {"facecolor": "white", "edgecolor": "#9a9a9a", "hatch": "//////"}
            ax.add_artist(PathPatch(path, linewidth=0, gid=name, **style))
    if view.lines:
        ax.add_artist(PathPatch(svg_path(view.lines), facecolor="none", edgecolor="#666666", linewidth=0.6))
    for text, (x_at, y_at) in view.headings:
        ax.text(x_at, y_at, text, ha="center", va="center", fontsize=9)
    _draw_labels(ax, panel)


def _draw_labels(ax: Axes, panel: Panel) -> None:
    """The labels: inside their shape, or outside it with a line to the shape."""
    for label in panel.view.labels:
        (x, y), (x_text, y_text) = label.at, label.text_at
        if label.at == label.text_at:
            face = panel.paints.get(label.shape, Paint(BLANK)).face
            box = None if face else {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            colour = "white" if face and _luminance(face) < 0.3 else INK
            ax.text(x, y, label.text, ha="center", va="center", fontsize=7.5, color=colour, bbox=box)
            continue
        across, down = np.sign(x_text - x), np.sign(y_text - y) * (x_text == x)
        ax.plot([x, x_text - 1.5 * across], [y, y_text - 4 * down], color=INK, linewidth=0.5)
        ax.plot(x, y, ".", color=INK, markersize=2.5)
        ax.text(x_text, y_text, label.text, ha="left" if across else "center", va="center", fontsize=8)


def _luminance(colour: str) -> float:
    """Relative luminance of sRGB, 0 to 1 (WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
