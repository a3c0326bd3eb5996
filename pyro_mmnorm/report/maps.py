"""Brain maps of the page: inline SVG with the name and value of every region."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.atlas import region_of
from pyro_mmnorm.plots.brain import COLOUR_MAPS, Kind, Painting, painted
from pyro_mmnorm.plots.panels import BLANK, bare
from pyro_mmnorm.plots.schematics import Label
from pyro_mmnorm.plots.shapes import brain_svg_shapes, lies_over
from pyro_mmnorm.results.formatting import number

__all__ = ["BrainFigure", "Drawing", "Mark", "Scale", "blank_map", "colours", "group_maps", "layers", "path_id"]

STOPS = 33
FADING = "Fade regions with q \u2265 0.05"
HATCHED = "none"


class Mark(NamedTuple):
    """A region on a view: the id of its path, its colour, its description, and its column in the table of z."""

    path: str
    fill: str
    text: str
    pale: bool = False
    column: int | None = None


class Drawing(NamedTuple):
    """A view of the brain with its colours, in the coordinates of `box`."""

    name: str
    box: str
    ground: str
    marks: list[Mark]
    lines: str
    labels: Sequence[Label] = ()
    headings: Sequence[tuple[str, tuple[float, float]]] = ()


class Scale(NamedTuple):
    """A colour bar: kind, label, and both ends."""

    kind: Kind
    label: str
    low: str
    high: str


class BrainFigure(NamedTuple):
    """Maps on one scale, a row per group."""

    caption: str
    rows: list[tuple[str, list[Drawing]]]
    scale: Scale
    notes: list[str]
    fading: str = ""


@cache
def path_id(view: str, shape: str) -> str:
    """The id of a shape of a view in the page; `ground` and `lines` are shapes too.

    Examples:
        >>> path_id("left lateral", "ctx-lh-insula")
        'left-lateral.ctx-lh-insula'
    """
    return f"{view.replace(' ', '-')}.{shape}"


def colours(kind: Kind) -> list[str]:
    """The colours of a scale from its low to its high end.

    Examples:
        >>> colours("diverging")[0]
        '#053061'
    """
    scale = ScalarMappable(Normalize(0, STOPS - 1), COLOUR_MAPS[kind])
    return [to_hex(colour) for colour in scale.to_rgba(np.arange(STOPS))]


def layers(columns: Sequence[str]) -> dict[str, list[str]]:
    """Columns of z for each map: all columns in one, or a map per modality where two modalities measure one region.

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
    """Maps of a value per region and group, a figure per layer.

    Args:
        frame: Regions (`<modality>.<region>`) x groups.
        key: Name of the values, which sets their format in `number`.
        label: Label of the colour bar, with the unit.
        kind: Kind of the scale.
        caption: Caption of every figure.
        faded: True where a region may be drawn pale.
        fading: Label of the checkbox that fades these regions.
        heads: Group -> heading of its row.

    Returns:
        The figures, and a sentence for each that cannot be drawn.
    """
    figures, left_out = [], list[str]()
    end = float(np.nanmax(np.abs(frame.to_numpy()), initial=0.0)) or 1.0
    limit = max(1.0, end) if kind == "diverging" else end
    pale = set[tuple[str, str]]()
    if faded is not None:
        pale = {(row, str(group)) for group in frame for row in frame.index if faded.at[row, group]}

    def described(row: str, group: str) -> str:
        return f"{_named(row)}: {number(key, frame.at[row, group])}"

    for name, drawn in _painted_layers(frame, label, kind, limit, left_out):
        rows = [
            ((heads or {}).get(group, group), _drawings(drawn, group, described, pale, list(frame.index)))
            for group in drawn.paints
        ]
        low = number(key, -limit) if kind == "diverging" else number(key, 0.0)
        scale = Scale(kind, label, low, number(key, limit))
        figures.append(BrainFigure(f"{caption}{f': {name}' if name else ''}", rows, scale, drawn.notes, fading))
    return figures, left_out


def blank_map(columns: Sequence[str], limit: float) -> tuple[list[BrainFigure], list[str]]:
    """Maps whose colours the script of the page sets, for the z of one person; a figure per layer."""
    figures, left_out = [], list[str]()
    frame = pd.DataFrame({"": 0.0}, index=list(columns))
    for name, drawn in _painted_layers(frame, "z", "diverging", limit, left_out):
        rows = [("", _drawings(drawn, "", lambda row, _: _named(row), set(), list(columns), labelled=True))]
        scale = Scale("diverging", "z (SD)", number("z", -limit), number("z", limit))
        figures.append(BrainFigure(name or "z of every region", rows, scale, drawn.notes, FADING))
    return figures, left_out


def _painted_layers(
    frame: pd.DataFrame, label: str, kind: Kind, limit: float, left_out: list[str]
) -> Iterator[tuple[str, Painting]]:
    """Name and colours of every layer; a layer that cannot be drawn adds a sentence to `left_out`."""
    for name, columns in layers(list(frame.index)).items():
        try:
            yield name, painted(frame.loc[columns], label=label, kind=kind, limit=limit)
        except InputError as error:
            left_out.append(f"Brain map not drawn{f' of {name}' if name else ''}: {error}")


def _named(row: str) -> str:
    modality, _, region = row.partition(".")
    return f"{region} ({modality})"


def _drawings(
    drawn: Painting, group: str, described: Callable[[str, str], str], pale: set[tuple[str, str]], order: list[str], *,
    labelled: bool = False,
) -> list[Drawing]:  # fmt: skip
    """Every view of a group."""
    row_of = {shape: row for row, shapes in drawn.shapes.items() for shape in shapes}
    column_of = {row: i for i, row in enumerate(order)}
    texts = {row: described(row, group) for row in drawn.shapes}
    drawings = []
    for name in drawn.views:
        view, marks = brain_svg_shapes()[name], []
        for shape in sorted(view.shapes, key=lies_over):
            row, paint = row_of.get(shape), drawn.paints[group].get(shape)
            if row is None or paint is None:
                fill = BLANK if paint is None else HATCHED
                marks.append(Mark(path_id(name, shape), fill, "" if paint is None else f"{shape}: no value"))
                continue
            fill = paint.face or HATCHED
            marks.append(Mark(path_id(name, shape), fill, texts[row], (row, group) in pale, column_of[row]))
        shown = view if labelled else bare(view)
        box = " ".join(f"{x:g}" for x in shown.view_box)
        ground, lines = (path_id(name, part) if getattr(view, part) else "" for part in ("ground", "lines"))
        drawings.append(Drawing(name, box, ground, marks, lines, shown.labels, shown.headings))
    return drawings
