"""Brain maps of the page: inline SVG whose regions tell their name and number."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.atlas import region_of
from pyro_mmnorm.plots.brain import MAPS, Kind, Painting, painted
from pyro_mmnorm.plots.panels import bare
from pyro_mmnorm.plots.schematics import Label
from pyro_mmnorm.plots.shapes import brain_svg_shapes, lies_over
from pyro_mmnorm.results.formatting import number

__all__ = ["BrainFigure", "Drawing", "Mark", "Scale", "blank_map", "colours", "group_maps", "layers", "path_id"]

STOPS = 33
FADING = "Fade regions with q \u2265 0.05"
BLANK, HATCHED = "#dcdcdc", "none"


class Mark(NamedTuple):
    """A region on a view: the id of its path, its colour, what is told of it, and its place in the table of z."""

    path: str
    fill: str
    told: str
    pale: bool = False
    row: int | None = None


class Drawing(NamedTuple):
    """A view of the brain, painted; in the coordinates of `box`."""

    name: str
    box: str
    ground: str
    marks: list[Mark]
    lines: str
    labels: Sequence[Label] = ()
    headings: Sequence[tuple[str, tuple[float, float]]] = ()


class Scale(NamedTuple):
    """A colour bar: what the numbers are, and both of its ends."""

    kind: Kind
    label: str
    low: str
    high: str


class BrainFigure(NamedTuple):
    """Maps on one scale, a row a group."""

    caption: str
    rows: list[tuple[str, list[Drawing]]]
    scale: Scale
    notes: list[str]
    fading: str = ""


@cache
def path_id(view: str, shape: str) -> str:
    """The id under which the page holds a shape of a view; `ground` and `lines` are shapes too.

    Examples:
        >>> path_id("left lateral", "ctx-lh-insula")
        'left-lateral.ctx-lh-insula'
    """
    return f"{view.replace(' ', '-')}.{shape}"


def colours(kind: Kind) -> list[str]:
    """The colours of a scale from its low to its high end."""
    scale = ScalarMappable(Normalize(0, STOPS - 1), MAPS[kind])
    return [to_hex(colour) for colour in scale.to_rgba(np.arange(STOPS))]


def layers(columns: Sequence[str]) -> dict[str, list[str]]:
    """Columns of z that fit on one brain: all of them, or those of each modality where two measure the same region.

    Examples:
        >>> layers(["a.lh_insula", "b.Left-Thalamus"])
        {'': ['a.lh_insula', 'b.Left-Thalamus']}
        >>> layers(["thickness.lh_insula", "volume.lh_insula"])
        {'thickness': ['thickness.lh_insula'], 'volume': ['volume.lh_insula']}
    """
    known = [region.id for name in columns if (region := region_of(name)) and region.system != "other"]
    if len(known) == len(set(known)):
        return {"": list(columns)} if known else {}
    modalities = dict.fromkeys(name.partition(".")[0] for name in columns)
    return {m: [name for name in columns if name.partition(".")[0] == m] for m in modalities}


def group_maps(
    frame: pd.DataFrame, *, key: str, label: str, kind: Kind, caption: str, faded: pd.DataFrame | None = None,
    fading: str = "", heads: Mapping[str, str] | None = None,
) -> tuple[list[BrainFigure], list[str]]:  # fmt: skip
    """Maps of a number per region and group, a figure a layer.

    Args:
        frame: Regions (`<modality>.<region>`) x groups.
        key: What the numbers are, as `number` knows it.
        label: The same on the colour bar, with the unit.
        kind: Of the scale.
        caption: Of every figure.
        faded: True where a region may be drawn pale; `fading` says when.
        heads: Group -> what stands above its row.

    Returns:
        The figures, and a sentence for each that cannot be drawn.
    """
    figures, left_out = [], []
    end = float(np.nanmax(np.abs(frame.to_numpy()), initial=0.0)) or 1.0
    limit = max(1.0, end) if kind == "diverging" else end
    for name, columns in layers(list(frame.index)).items():
        try:
            drawn = painted(frame.loc[columns], label=label, kind=kind, limit=limit)
        except InputError as error:
            left_out.append(f"Brain map not drawn{f' of {name}' if name else ''}: {error}")
            continue
        pale = set[tuple[str, str]]()
        if faded is not None:
            pale = {(row, str(group)) for group in frame for row in columns if faded.at[row, group]}

        def told(row: str, group: str, frame: pd.DataFrame = frame) -> str:
            return f"{_named(row)}: {number(key, frame.at[row, group])}"

        rows = [
            ((heads or {}).get(group, group), _drawings(drawn, group, told, pale, list(frame.index)))
            for group in drawn.paints
        ]
        low = number(key, -limit) if kind == "diverging" else number(key, 0.0)
        scale = Scale(kind, label, low, number(key, limit))
        figures.append(BrainFigure(f"{caption}{f': {name}' if name else ''}", rows, scale, drawn.notes, fading))
    return figures, left_out


def blank_map(columns: Sequence[str], limit: float) -> tuple[list[BrainFigure], list[str]]:
    """Maps that the page itself paints, for the z of one person; a figure a layer."""
    figures, left_out = [], []
    for name, part in layers(columns).items():
        try:
            drawn = painted(pd.DataFrame({"": 0.0}, index=part), limit=limit)
        except InputError as error:
            left_out.append(f"Brain map not drawn{f' of {name}' if name else ''}: {error}")
            continue
        rows = [("", _drawings(drawn, "", lambda row, _: _named(row), set(), list(columns), labelled=True))]
        scale = Scale("diverging", "z (SD)", number("z", -limit), number("z", limit))
        figures.append(BrainFigure(name or "z of every region", rows, scale, drawn.notes, FADING))
    return figures, left_out


def _named(row: str) -> str:
    modality, _, region = row.partition(".")
    return f"{region} ({modality})"


def _drawings(
    drawn: Painting, group: str, told: Callable[[str, str], str], pale: set[tuple[str, str]], order: list[str], *,
    labelled: bool = False,
) -> list[Drawing]:  # fmt: skip
    """Every view of a group."""
    row_of = {shape: row for row, shapes in drawn.shapes.items() for shape in shapes}
    place = {row: i for i, row in enumerate(order)}
    found, told_once = [], dict[str, str]()
    for name in drawn.views:
        view, marks = brain_svg_shapes()[name], []
        for shape in sorted(view.shapes, key=lies_over):
            row, paint = row_of.get(shape), drawn.paints[group].get(shape)
            if row is None or paint is None:
                fill = BLANK if paint is None else HATCHED
                words = "" if paint is None else f"{shape}: no value"
                marks.append(Mark(path_id(name, shape), fill, words))
                continue
            told_once.setdefault(row, told(row, group))
            fill = paint.face or HATCHED
            marks.append(Mark(path_id(name, shape), fill, told_once[row], (row, group) in pale, place[row]))
        shown = view if labelled else bare(view)
        box = " ".join(f"{x:g}" for x in shown.view_box)
        ground, lines = (path_id(name, part) if getattr(view, part) else "" for part in ("ground", "lines"))
        found.append(Drawing(name, box, ground, marks, lines, shown.labels, shown.headings))
    return found
