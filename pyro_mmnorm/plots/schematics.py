"""Schematics: SVG paths of deep structures and hippocampal subfields, which lateral and medial views do not show.

They are drawn by hand and not to scale: the deep structures as seen from behind, the hippocampal subfields as rings
around the hilus. The left half mirrors the right half. The neighbours of each subfield follow Iglesias et al. (2015),
fig. 1, https://doi.org/10.1016/j.neuroimage.2015.04.042.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import cos, radians, sin

import numpy as np
from scipy.optimize import isotonic_regression

__all__ = ["BrainView", "Label", "deep_view", "hippocampus_view"]

Point = tuple[float, float]


@dataclass(frozen=True)
class Label:
    """A label of a view, in its units; where `text_at` differs from `at`, a line joins the text and the shape."""

    text: str
    at: Point
    text_at: Point
    shape: str = ""


@dataclass(frozen=True)
class BrainView:
    """One view of the brain as SVG paths in the coordinates of `view_box`, y downwards.

    Args:
        view_box: Left, top, width and height, as in the SVG attribute `viewBox`.
        shapes: Id of a region (see `pyro_mmnorm.data.atlas.Region.id`) -> path (attribute `d`), in drawing order.
        ground: Path of the background that belongs to no region.
        lines: Path of the outline and the sulci, stroked and not filled.
        labels: Labels of shapes, on schematics.
        headings: Names of parts of the view, and the position of their centre.
    """

    view_box: tuple[float, float, float, float]
    shapes: dict[str, str]
    ground: str = ""
    lines: str = ""
    labels: Sequence[Label] = ()
    headings: Sequence[tuple[str, Point]] = field(default=())


def _path(*parts: object) -> str:
    return " ".join(f"{part:.1f}" if isinstance(part, float) else str(part) for part in parts)


def _blob(points: Sequence[Point]) -> str:
    """A smooth closed curve through points (Catmull-Rom spline), as cubic Bézier curves."""
    n, parts = len(points), ["M", *map(float, points[0])]
    for i in range(n):
        before, start, end, after = (points[(i + k) % n] for k in (-1, 0, 1, 2))
        one = (start[0] + (end[0] - before[0]) / 6, start[1] + (end[1] - before[1]) / 6)
        two = (end[0] - (after[0] - start[0]) / 6, end[1] - (after[1] - start[1]) / 6)
        parts += ["C", *one, *two, *map(float, end)]
    return _path(*parts, "Z")


def _ellipse(x: float, y: float, rx: float, ry: float) -> str:
    return _blob([(x + rx * cos(radians(a)), y + ry * sin(radians(a))) for a in range(0, 360, 30)])


def _mirrored(points: Iterable[Point], side: int) -> list[Point]:
    return [(side * x, y) for x, y in points]


DEEP: dict[str, tuple[str, tuple[Point, ...]]] = {
    "Lateral-Ventricle": ("lateral ventricle", ((3, 36), (12, 33), (23, 35), (27, 42), (22, 45), (13, 43), (4, 48))),
    "Caudate": ("caudate", ((30, 36), (38, 40), (41, 48), (37, 56), (32, 51), (30, 44))),
    "Thalamus": ("thalamus", ((6, 54), (15, 48), (26, 52), (29, 60), (23, 67), (12, 69), (5, 63))),
    "Putamen": ("putamen", ((50, 44), (58, 50), (63, 60), (60, 71), (54, 74), (51, 64), (52, 54))),
    "Pallidum": ("pallidum", ((37, 60), (43, 54), (48, 58), (48, 67), (43, 72), (37, 68))),
    "Accumbens-area": ("accumbens", ((26, 76), (34, 72), (42, 77), (36, 82), (28, 82))),
    "VentralDC": ("ventral DC", ((5, 76), (13, 72), (22, 76), (18, 82), (8, 83))),
    "Amygdala": ("amygdala", ((46, 84), (56, 79), (64, 84), (61, 92), (50, 93))),
    "Hippocampus": ("hippocampus", ((27, 99), (34, 94), (45, 97), (55, 101), (53, 108), (42, 107), (31, 105))),
    "Inf-Lat-Vent": ("inferior lateral ventricle", ((58, 97), (63, 99), (64, 107), (58, 113), (51, 113), (58, 107))),
    "Cerebellum-Cortex": (
        "cerebellum, cortex",
        ((13, 128), (22, 119), (42, 118), (58, 125), (62, 137), (52, 149), (32, 153), (17, 146)),
    ),
    "Cerebellum-White-Matter": ("cerebellum, white matter", ((20, 132), (33, 127), (47, 131), (44, 139), (27, 140))),
}
"""Paired deep structure -> its label, and points on its outline on the right side."""

CENTRES = {"cerebellum, cortex": (53.0, 137.0), "inferior lateral ventricle": (61.0, 104.0)}
SIDES = (("Left", -1), ("Right", 1))
STEM = (
    (-5, 88), (5, 88), (8, 98), (12, 106), (10, 115), (6, 122), (4, 133), (-4, 133), (-6, 122), (-10, 115), (-12, 106),
    (-8, 98),
)  # fmt: skip
CALLOSUM = ("CC_Anterior", "CC_Mid_Anterior", "CC_Central", "CC_Mid_Posterior", "CC_Posterior")


def _sector(centre: Point, inner: float, outer: float, start: float, end: float, side: int = 1, flat: float = 1) -> str:
    """A piece of a ring between two angles in degrees, anticlockwise from lateral; `side` -1 is the mirror image."""
    steps = max(2, round(abs(end - start) / 6))
    angles = [radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    around = [(r, a) for r, turn in ((outer, angles), (inner, angles[::-1])) for a in turn]
    points = [(centre[0] + side * r * cos(a), centre[1] - flat * r * sin(a)) for r, a in around]
    return _path("M", *points[0], "L", *(value for point in points[1:] for value in map(float, point)), "Z")


def deep_view() -> BrainView:
    """The deep structures of both sides in one schematic: subcortex, ventricles, callosum, brain stem, cerebellum.

    Examples:
        >>> sorted(deep_view().shapes)[:2]
        ['3rd-Ventricle', '4th-Ventricle']
    """
    shapes = {
        f"{name}-{region}": _blob(_mirrored(points, side))
        for region, (_, points) in DEEP.items()
        for name, side in SIDES
    }
    for name, side in SIDES:  # the cerebellar cortex has a hole around the white matter
        hole = _mirrored(DEEP["Cerebellum-White-Matter"][1][::-1], side)
        shapes[f"{name}-Cerebellum-Cortex"] += " " + _blob(hole)
    shapes |= {
        "3rd-Ventricle": _blob([(0, 52), (2.6, 60), (2.2, 70), (0, 74), (-2.2, 70), (-2.6, 60)]),
        "4th-Ventricle": _blob([(0, 139), (6, 144), (0, 150), (-6, 144)]),
        "Brain-Stem": _blob(STEM),
    }
    for i, segment in enumerate(CALLOSUM):
        shapes[segment] = _sector((0, 16), 25, 35, 196 - 42.4 * i, 153.6 - 42.4 * i, flat=0.72)
    named = [(text, _middle(points)) for text, points in DEEP.values()]
    named += [("callosum, front to back", (29.0, 9.0)), ("brain stem", (6.0, 112.0))]
    named = sorted(((text, CENTRES.get(text, at)) for text, at in named), key=lambda label: label[1][1])
    heights = _spread([y for _, (_, y) in named], gap=9.5)
    labels = [Label(text, at, (72.0, y)) for (text, at), y in zip(named, heights, strict=True)]
    labels += [Label("3rd ventricle", (0.0, 58.0), (0.0, 25.0)), Label("4th ventricle", (0.0, 145.0), (0.0, 159.0))]
    headings = [("left", (-52.0, 22.0)), ("right", (52.0, 22.0))]
    return BrainView((-72, -14, 232, 180), shapes, labels=labels, headings=headings)


def _middle(points: Sequence[Point]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Increasing heights at least `gap` apart, closest to the given ones in least squares."""
    steps = gap * np.arange(len(heights))
    return (isotonic_regression(np.asarray(heights) - steps).x + steps).tolist()


RINGS: dict[str, tuple[str, float, float, float, float]] = {
    "CA1": ("CA1", 27, 41, 52, -72),
    "subiculum": ("Sub", 27, 41, -72, -112),
    "presubiculum": ("PrS", 27, 41, -112, -146),
    "parasubiculum": ("PaS", 27, 41, -146, -174),
    "CA3": ("CA3", 27, 41, 122, 52),
    "fimbria": ("fi", 27, 41, 150, 122),
    "HATA": ("HATA", 27, 45, 178, 150),
    "molecular_layer_HP": ("ML", 18.5, 27, 52, -112),
    "GC-ML-DG": ("DG", 9, 17, 52, -232),
    "CA4": ("CA4", 0, 9, 180, -180),
}
"""Subfield -> code, inner and outer radius, first and last angle of its ring sector on the right side."""

WHERE = {"": set(RINGS), "head": set(RINGS) - {"fimbria"}, "body": set(RINGS) - {"HATA", "parasubiculum"}}
WHOLE = ("parasubiculum", "HATA", "fimbria")


def hippocampus_view(part: str = "") -> BrainView:
    """The hippocampal subfields of both sides as rings around the hilus, labelled with codes.

    Args:
        part: `head` or `body` for the subfields of that part (FreeSurfer 7), '' for undivided subfields.

    Examples:
        >>> "left_CA1-head" in hippocampus_view("head").shapes, "right_CA1" in hippocampus_view().shapes
        (True, True)
    """
    shapes, labels = {}, []
    for name, side in (("left", -1), ("right", 1)):
        centre = (side * 50.0, 0.0)
        for region in (region for region in RINGS if region in WHERE[part]):
            code, inner, outer, start, end = RINGS[region]
            split = f"{region}-{part}" if part and region not in WHOLE else region
            shapes[f"{name}_{split}"] = _sector(centre, inner, outer, start, end, side)
            r, a = (inner + outer) / 2 * (inner > 0), radians((start + end) / 2)
            at = (centre[0] + side * r * cos(a), -r * sin(a))
            labels.append(Label(code, at, at, f"{name}_{split}"))
        if part != "head":
            shapes[f"{name}_Hippocampal_tail"] = _ellipse(centre[0], 52, 26, 7.5)
            labels.append(Label("tail", (centre[0], 52.0), (centre[0], 52.0), f"{name}_Hippocampal_tail"))
    headings = [(f"{name} {part}".strip(), (side * 50.0, -49.0)) for name, side in (("left", -1), ("right", 1))]
    return BrainView((-96, -56, 192, 118), shapes, labels=labels, headings=headings)
