"""Shapes: the regions of the brain as SVG paths, for figures and for pages.

The cortex and fourteen subcortical regions are the drawing of Scholtens, de Lange and van den Heuvel (2021), Simple
Brain Plot, https://doi.org/10.5281/zenodo.5346593, read from the installed package pySimpleBrainPlot (MIT licence by
its metadata), which is not imported.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from typing import Any
from xml.etree import ElementTree as ET

from matplotlib.path import Path

from pyro_mmnorm.plots.schematics import BrainView, deep_view, hippocampus_view

__all__ = ["brain_svg_shapes", "lies_over", "svg_path"]

TEMPLATE = "pySimpleBrainPlot/atlases/aparc_aseg_template.svg"
VIEWS = {
    "left lateral": (180, 2570, 2130, 1450),
    "left medial": (2595, 2570, 2130, 1450),
    "right medial": (2595, 870, 2130, 1450),
    "right lateral": (180, 870, 2130, 1450),
}
"""View -> its box in the template."""


@cache
def brain_svg_shapes() -> dict[str, BrainView]:
    """Every view of the brain as SVG paths with its view box; read once, in about 0.3 s.

    Returns:
        `left lateral`, `left medial`, `right medial`, `right lateral` (cortex; the medial views hold seven
        subcortical regions too), `deep` (subcortex, ventricles, cerebellum) and `hippocampus`, `hippocampus head`,
        `hippocampus body` (subfields). The last four are schematics. Do not change what is returned.

    Examples:
        >>> views = brain_svg_shapes()
        >>> "ctx-lh-insula" in views["left lateral"].shapes, views["deep"].view_box[2:]
        (True, (232, 180))
    """
    shapes: dict[str, dict[str, list[str]]] = {view: {} for view in VIEWS}
    ground: dict[str, list[str]] = {view: [] for view in VIEWS}
    lines: dict[str, list[str]] = {view: [] for view in VIEWS}
    template = ET.parse(str(distribution("pysimplebrainplot").locate_file(TEMPLATE)))  # noqa: S314  (an installed file)
    for name, fill, d in _drawn(template.getroot()):
        if (view := _view_of(d)) is None:
            continue
        if region := re.fullmatch(r"(ctx-[lr]h-[a-z]+|(?:Left|Right)-[A-Za-z-]+)_\w+", name):
            shapes[view].setdefault(region[1].removesuffix("-Proper"), []).append(d)
        else:
            (lines if fill == "none" else ground)[view].append(d)
    cortex = {
        view: BrainView(
            box,
            {name: " ".join(shapes[view][name]) for name in sorted(shapes[view], key=lies_over)},
            " ".join(ground[view]),
            " ".join(lines[view]),
        )
        for view, box in VIEWS.items()
    }
    hippocampi = {f"hippocampus {part}".strip(): hippocampus_view(part) for part in ("", "head", "body")}
    return cortex | {"deep": deep_view()} | hippocampi


def lies_over(name: str) -> bool:
    """Whether a shape is drawn upon its neighbours, as the insula is: it comes last.

    Examples:
        >>> lies_over("ctx-lh-insula"), lies_over("ctx-lh-cuneus")
        (True, False)
    """
    return name.endswith("insula")


def _view_of(d: str) -> str | None:
    """The view in which a path starts."""
    x, y = map(float, re.findall(r"-?[\d.]+", d)[:2])
    inside = (view for view, (left, top, w, h) in VIEWS.items() if 0 <= x - left <= w and 0 <= y - top <= h)
    return next(inside, None)


def _drawn(node: ET.Element, shift: tuple[float, float] = (0, 0)) -> Iterator[tuple[str, str, str]]:
    """Id, fill and path of everything that the template shows, moved to the coordinates of the whole."""
    from fontTools.pens.svgPathPen import SVGPathPen
    from fontTools.pens.transformPen import TransformPen
    from fontTools.svgLib.path import parse_path

    if node.get("display") == "none":
        return
    if moved := re.fullmatch(r"translate\(([-\d.]+)[ ,]+([-\d.]+)\)", node.get("transform", "")):
        shift = (shift[0] + float(moved[1]), shift[1] + float(moved[2]))
    if d := node.get("d"):
        pen = SVGPathPen(None, ntos=lambda value: f"{value:.0f}")
        parse_path(d, TransformPen(pen, (1, 0, 0, 1, *shift)))
        if text := pen.getCommands():
            yield node.get("id", ""), node.get("fill", ""), text
    for child in node:
        yield from _drawn(child, shift)


@cache
def svg_path(d: str) -> Path:
    """An SVG path as a path of matplotlib, in the same coordinates.

    Examples:
        >>> svg_path("M0 0L2 0L2 1Z").vertices.max(axis=0).tolist()
        [2.0, 1.0]
    """
    from fontTools.pens.recordingPen import RecordingPen
    from fontTools.svgLib.path import parse_path

    pen, points, codes = RecordingPen(), [], []
    parse_path(d, pen)
    kinds: dict[str, Any] = {
        "moveTo": Path.MOVETO,
        "lineTo": Path.LINETO,
        "curveTo": Path.CURVE4,
        "qCurveTo": Path.CURVE3,
    }
    for kind, where in pen.value:
        if kind in kinds:
            points += where
            codes += [kinds[kind]] * len(where)
        elif kind == "closePath":
            points.append(points[-1])
            codes.append(Path.CLOSEPOLY)
    return Path(points, codes, readonly=True)
