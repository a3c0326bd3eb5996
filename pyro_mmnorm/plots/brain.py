"""Brain figures: a value per region on maps of the cortex, deep structures and hippocampal subfields."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.atlas import Region, region_of
from pyro_mmnorm.plots.panels import Paint, Panel, assembled, bare, flowed
from pyro_mmnorm.plots.shapes import brain_svg_shapes
from pyro_mmnorm.plots.style import capitalised

__all__ = ["Kind", "Painting", "brain_map", "brain_maps", "painted"]

Kind = Literal["diverging", "sequential"]
"""A colour scale symmetric about 0, or one that starts at 0."""

COLOUR_MAPS = {"diverging": "RdBu_r", "sequential": "YlGnBu"}
PALE = 0.62
"""Proportion of white in a pale colour."""
CORTEX = ("left lateral", "left medial", "right medial", "right lateral")
WIDTHS = {"cortex": 2.14, "deep": 4.4, "hippocampus": 4.1}
SMALL = {"cortex": 1.55, "deep": 1.2, "hippocampus": 1.6}
"""Width of a panel in inches: in a figure of one map, and in a figure of several."""
HEADS = {"deep": "deep structures"}
CODES = (
    "Sub subiculum, PrS presubiculum, PaS parasubiculum, DG dentate gyrus (GC-ML-DG), ML molecular layer, fi fimbria"
)


class _Names(NamedTuple):
    """Rows of a table: shapes of each row, regions without a shape, unknown names, systems of regions shown."""

    shapes: dict[str, tuple[str, ...]]
    shapeless: list[str]
    unknown: list[str]
    systems: set[str]


class Painting(NamedTuple):
    """How the regions of a table are drawn, in a figure or on a page.

    Args:
        shapes: Row of the table -> ids of its shapes.
        views: Names of the views that show the shapes, see `brain_svg_shapes`.
        scale: Number -> colour.
        paints: Group -> shape -> colour and edge.
        notes: Sentences for the reader: what is hatched, what could not be drawn.
    """

    shapes: dict[str, tuple[str, ...]]
    views: list[str]
    scale: ScalarMappable
    paints: dict[str, dict[str, Paint]]
    notes: list[str]


def brain_map(
    values: pd.Series, *, label: str = "mean z", kind: Kind = "diverging", limit: float | None = None,
    faded: Collection[str] | pd.Series | None = None, title: str | None = None, n: int | None = None,
) -> Figure:  # fmt: skip
    """A value per region as a map of the brain; only the parts with values are drawn.

    The cortex, and the subcortical regions visible in the medial views, are drawn in their shape; all deep structures
    and the hippocampal subfields are labelled schematics. The left hemisphere is on the left. Regions without a value
    are hatched. They and the regions without a shape are named below the figure.

    Args:
        values: Region, in any spelling known to `region_of` -> number; NaN: no value.
        label: Name of the values, with the unit.
        kind: `diverging`: blue below 0, red above, on a scale symmetric about 0; `sequential`: from 0 upwards.
        limit: End of the scale; if None, the largest absolute value, at least 1 for `diverging`.
        faded: Regions to draw pale, such as those that are not significant: their names, or a mask.
        title: Title; the label if None.
        n: Number of people, shown in the title.

    Raises:
        InputError: When nothing can be drawn, two rows name one region, or a value, limit or faded name is invalid.

    Examples:
        >>> figure = brain_map(pd.Series({"lh_insula_thickness": -0.6, "Right-Hippocampus": -1.4}), n=141)
        >>> figure.texts[0].get_text()
        'Mean z, n 141'
    """
    pale = None if faded is None else _is_faded(faded, values.index).to_frame("")
    drawn = painted(values.to_frame(""), label=label, kind=kind, limit=limit, faded=pale)
    panels = [
        Panel(brain_svg_shapes()[view], WIDTHS[_system(view)], drawn.paints[""], view if view in CORTEX else "")
        for view in drawn.views
    ]
    lines = [("", line) for line in flowed(panels)]
    return assembled(lines, _titled(title, label, n), drawn.scale, label, drawn.notes)


def brain_maps(
    frame: pd.DataFrame, *, label: str = "mean z", kind: Kind = "diverging", limit: float | None = None,
    faded: pd.DataFrame | None = None, title: str | None = None, n: Mapping[str, int] | None = None,
    null: float | None = None,
) -> Figure:  # fmt: skip
    """Small maps of the brain on one scale, a row per group, with a key to the schematics below.

    Args:
        frame: Regions x groups, numbers.
        label, kind, limit, title: As for `brain_map`.
        faded: Regions x groups, True where a region is drawn pale.
        n: Group -> number of people.
        null: Value expected in controls, marked on the colour bar.

    Raises:
        InputError: As for `brain_map`, and when `faded` has other rows or columns than `frame`.

    Examples:
        >>> frame = pd.DataFrame({"MCI": [-0.2, 0.1], "AD": [-0.9, 0.3]}, ["lh_insula", "rh_insula"])
        >>> [text.get_text() for text in brain_maps(frame, n={"MCI": 80, "AD": 40}).texts][1:3]
        ['MCI, n 80', 'AD, n 40']
    """
    drawn = painted(frame, label=label, kind=kind, limit=limit, faded=faded)
    views = {name: brain_svg_shapes()[name] for name in drawn.views}
    lines: list[tuple[str, list[Panel]]] = []
    for group, paint in drawn.paints.items():
        panels = [
            Panel(bare(view), SMALL[_system(name)], paint, "" if lines else HEADS.get(name, name))
            for name, view in views.items()
        ]
        lines.append((_titled(group, "", (n or {}).get(group)), panels))
    systems = dict.fromkeys(_system(name) for name in views if _system(name) != "cortex")
    key = [Panel(brain_svg_shapes()[system], WIDTHS[system], {}) for system in systems]
    lines += [("" if i else "Key to the schematics", line) for i, line in enumerate(flowed(key))]
    return assembled(lines, _titled(title, label), drawn.scale, label, drawn.notes, null=null)


def painted(
    frame: pd.DataFrame, *, label: str = "mean z", kind: Kind = "diverging", limit: float | None = None,
    faded: pd.DataFrame | None = None,
) -> Painting:  # fmt: skip
    """Shapes, colours and notes for the regions of a table, for a figure or a page.

    Args:
        frame, label, kind, limit, faded: As for `brain_maps`.

    Raises:
        InputError: As for `brain_maps`.

    Examples:
        >>> drawn = painted(pd.DataFrame({"AD": [-0.9, 0.0]}, ["lh_insula", "Left-Thalamus"]))
        >>> drawn.shapes["lh_insula"], drawn.paints["AD"]["ctx-lh-insula"].face
        (('ctx-lh-insula',), '#124984')
    """
    if not frame.columns.is_unique:
        raise InputError("frame", "two groups with one name", "a column per group", "rename one")
    if faded is not None and not (set(faded.index) == set(frame.index) and set(faded.columns) == set(frame.columns)):
        raise InputError("faded", "other regions or groups", "those of the values", "take both from one table")
    pale = None
    if faded is not None:
        pale = pd.DataFrame({group: _is_faded(faded[group], frame.index) for group in frame})
    frame = frame.set_axis(frame.columns.astype(str), axis=1)
    names = _named(frame.index.astype(str))
    table = _numbers(frame.loc[list(names.shapes)])
    scale = _scale(table.to_numpy(), kind, limit, label)
    rows = [row for row, shapes in names.shapes.items() for _ in shapes]
    table = table.loc[rows].set_axis([shape for shapes in names.shapes.values() for shape in shapes])
    fades = None if pale is None else pale.loc[rows].set_axis(table.index)
    table, paints = table.reindex(_expected(names)), {}
    for group in table:
        fade = dict[str, bool]() if fades is None else fades[group].to_dict()
        paints[str(group)] = {
            shape: Paint(_colour(scale, value, fade.get(shape, False)), not fade.get(shape, True))
            if np.isfinite(value)
            else Paint("")
            for shape, value in zip(table.index, table[group].to_numpy(float), strict=True)
        }
    return Painting(names.shapes, _views(names), scale, paints, _notes(names, table, pale is not None))


# ------------------------------------------------------------------------------------------------- regions to draw


def _named(rows: Iterable[str]) -> _Names:
    names, owner = _Names({}, [], [], set()), dict[str, str]()
    for row in rows:
        region = region_of(row)
        if region is None:
            names.unknown.append(row)
        elif region.system == "other":
            names.shapeless.append(row)
        else:
            shapes = _shapes_of(region)
            if twice := [owner[shape] for shape in shapes if shape in owner]:
                got = f"{twice[0]!r} and {row!r} both are {region.id}"
                raise InputError("values", got, "one number per region", "draw one measure or modality at a time")
            owner |= dict.fromkeys(shapes, row)
            names.shapes[row] = shapes
            names.systems.add(region.system)
    if not names.shapes:
        got = f"no region with a shape among {len(names.shapeless) + len(names.unknown)} names"
        raise InputError("values", got, "names such as lh_insula_volume or Left-Thalamus", "correct the names")
    return names


def _shapes_of(region: Region) -> tuple[str, ...]:
    """Ids of the shapes of a region: CA4 and dentate gyrus measured together have two."""
    both = ("CA4", "GC-ML-DG") if region.name.startswith("CA4-DG") else (region.name,)
    return tuple(replace(region, name=region.name.replace("CA4-DG", name)).id for name in both)


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    numbers = frame.apply(pd.to_numeric, errors="coerce").astype(float)
    bad = (numbers.isna() & frame.notna()) | np.isinf(numbers)
    if bad.to_numpy().any():
        got = f"{int(bad.to_numpy().sum())} values that are not finite, first at {bad.any(axis=1).idxmax()!r}"
        raise InputError("values", got, "numbers, or NaN for no value", "correct them")
    if numbers.isna().to_numpy().all():
        raise InputError("values", "no number", "at least one region with a value", "check the table")
    return numbers


def _is_faded(faded: Collection[str] | pd.Series, index: pd.Index) -> pd.Series:
    if isinstance(faded, pd.Series) and faded.dtype != bool:
        raise InputError("faded", f"a column of type {faded.dtype}", "True or False", "apply a threshold first")
    pale = faded.index[faded] if isinstance(faded, pd.Series) else pd.Index(list(faded))
    if len(absent := pale.difference(index)):
        raise InputError("faded", f"{absent[0]!r} is not a row of the values", "names of rows", "use the same spelling")
    return pd.Series(index.isin(pale), index)


def _scale(values: np.ndarray, kind: Kind, limit: float | None, label: str) -> ScalarMappable:
    """Number -> colour; symmetric about 0 if diverging."""
    if kind not in COLOUR_MAPS:
        raise InputError("kind", repr(kind), "diverging or sequential", "choose one")
    if limit is not None and not 0 < limit < np.inf:
        raise InputError("limit", repr(limit), "a number above 0", "leave it out for the largest value")
    low, largest = float(np.nanmin(values)), float(np.nanmax(np.abs(values)))
    if kind == "sequential":
        if low < 0:
            raise InputError("values", f"{label} down to {low:.3g}", "nothing below 0", "use kind diverging")
        return ScalarMappable(Normalize(0.0, limit or largest or 1.0), COLOUR_MAPS[kind])
    end = limit or max(1.0, largest)
    return ScalarMappable(Normalize(-end, end), COLOUR_MAPS[kind])


def _colour(scale: ScalarMappable, value: float, pale: bool) -> str:
    red, green, blue, _ = scale.to_rgba(np.array([value]))[0]
    white = PALE if pale else 0.0
    return to_hex((red + white * (1 - red), green + white * (1 - green), blue + white * (1 - blue)))


def _system(view: str) -> str:
    """The part of the brain that a view shows: cortex, deep or hippocampus."""
    return view.split(" ")[0] if view not in CORTEX else "cortex"


def _views(names: _Names) -> list[str]:
    """The views that show the regions; the medial views also show the subcortex."""
    views, shown = brain_svg_shapes(), {shape for shapes in names.shapes.values() for shape in shapes}
    cortex, deep = "cortex" in names.systems, "subcortex" in names.systems
    halves = [f"hippocampus {part}" for part in ("head", "body") if any(shape.endswith(f"-{part}") for shape in shown)]
    fields, split = shown & set(views["hippocampus"].shapes), {s for name in halves for s in views[name].shapes}
    chosen = [name for name in CORTEX if cortex or (deep and name.endswith("medial"))]
    return chosen + ["deep"] * deep + ["hippocampus"] * bool(fields - split) + halves


def _expected(names: _Names) -> list[str]:
    """All shapes of the parts shown: the whole cortex if any region of it has a value, and so on."""
    shapes = dict.fromkeys(shape for name in _views(names) for shape in brain_svg_shapes()[name].shapes)
    return [shape for shape in shapes if (region := region_of(shape)) and region.system in names.systems]


# ------------------------------------------------------------------------------------------------ titles and notes


def _titled(title: str | None, label: str, n: int | None = None) -> str:
    return (title or capitalised(label)) + (f", n {n:,}" if n is not None else "")


def _listed(regions: Iterable[Region]) -> str:
    sides: dict[str, list[str]] = {}
    for region in regions:
        sides.setdefault(region.name, []).append(region.side[:1].upper())
    return ", ".join(f"{name} ({', '.join(s)})" if any(s) else name for name, s in sides.items())


def _notes(names: _Names, table: pd.DataFrame, faded: bool) -> list[str]:
    """The sentences below the figure."""
    notes, absent = [], table.isna()
    for groups, rows in absent.groupby(list(absent.columns), sort=False):
        without = [str(group) for group, missing in zip(absent.columns, groups, strict=True) if bool(missing)]
        if without:
            some = f" in {', '.join(without)}" if len(without) < len(absent.columns) else ""
            regions = [region for shape in rows.index if (region := region_of(shape))]
            notes.append(f"Hatched (no value{some}): {_listed(regions)}.")
    if names.shapeless:
        notes.append(f"Not drawn (no shape or no side): {', '.join(names.shapeless)}.")
    if names.unknown:
        notes.append(f"Not drawn (unknown name): {', '.join(names.unknown)}.")
    if faded:
        notes.append("Pale, without a dark edge: not significant.")
    drawn = _views(names)
    if any(_system(name) != "cortex" for name in drawn):
        codes = f" {CODES}." if any(_system(name) == "hippocampus" for name in drawn) else ""
        notes.append(f"Labelled drawings are schematic and not to scale.{codes}")
    return notes
