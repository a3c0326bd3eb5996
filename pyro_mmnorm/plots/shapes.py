"""Shapes: the regions of the brain as SVG paths, for figures and for pages.

The cortex and fourteen subcortical regions are the drawing of Scholtens, de Lange and van den Heuvel (2021), Simple
Brain Plot, https://doi.org/10.5281/zenodo.5346593, kept in `cortex.svg` under the MIT licence (`cortex.LICENSE`).
"""

import re
from functools import cache
from importlib.resources import files
from xml.etree import ElementTree as ET

import numpy as np
from matplotlib.path import Path

from pyro_mmnorm.plots.schematics import BrainView, deep_view, hippocampus_view

__all__ = ["brain_svg_shapes", "lies_over", "svg_path"]

VIEW_BOXES = {
    "left lateral": (180, 2570, 2130, 1450),
    "left medial": (2595, 2570, 2130, 1450),
    "right medial": (2595, 870, 2130, 1450),
    "right lateral": (180, 870, 2130, 1450),
}
"""View -> its box in the drawing of the cortex: left, top, width and height."""
PATH_CODES = {"M": Path.MOVETO, "L": Path.LINETO, "C": Path.CURVE4, "Z": Path.CLOSEPOLY}
"""SVG command in absolute coordinates -> path code of matplotlib."""


@cache
def brain_svg_shapes() -> dict[str, BrainView]:
    """Every view of the brain as SVG paths with its view box; read once.

    Returns:
        `left lateral`, `left medial`, `right medial`, `right lateral` (cortex; the medial views show seven
        subcortical regions too), `deep` (subcortex, ventricles, cerebellum) and `hippocampus`, `hippocampus head`,
        `hippocampus body` (subfields). The last four are schematics. The returned value is shared: do not change it.

    Examples:
        >>> views = brain_svg_shapes()
        >>> "ctx-lh-insula" in views["left lateral"].shapes, views["deep"].view_box[2:]
        (True, (232, 180))
    """
    svg = ET.fromstring(files("pyro_mmnorm.plots").joinpath("cortex.svg").read_bytes())  # noqa: S314  (our own file)
    cortex = {}
    for group, (view, box) in zip(svg, VIEW_BOXES.items(), strict=True):
        shapes = {path.attrib["class"]: path.attrib["d"] for path in group}
        ground, lines = (shapes.pop(name, "") for name in ("ground", "lines"))
        cortex[view] = BrainView(box, shapes, ground, lines)
    hippocampi = {f"hippocampus {part}".strip(): hippocampus_view(part) for part in ("", "head", "body")}
    return cortex | {"deep": deep_view()} | hippocampi


def lies_over(name: str) -> bool:
    """Whether a shape is drawn over its neighbours and therefore last, as the insula is.

    Examples:
        >>> lies_over("ctx-lh-insula"), lies_over("ctx-lh-cuneus")
        (True, False)
    """
    return name.endswith("insula")


@cache
def svg_path(d: str) -> Path:
    """An SVG path of the commands M, L, C and Z as a path of matplotlib, in the same coordinates.

    Examples:
        >>> svg_path("M0 0L2 0L2 1Z").vertices.max(axis=0).tolist()
        [2.0, 1.0]
    """
    points: list[list[float]] = []
    codes: list[int] = []
    for command, numbers in re.findall(r"([MLCZ])([^MLCZ]*)", d):
        # Z has no coordinates: matplotlib ignores the vertex of CLOSEPOLY
        new = np.array(re.findall(r"-?[\d.]+", numbers) or points[-1], float).reshape(-1, 2).tolist()
        points += new
        codes += [int(PATH_CODES[command])] * len(new)
    return Path(points, codes, readonly=True)
