"""Tables of the page: numbers as a reader wants them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from pyro_mmnorm.results.formatting import ESTIMATE, interval, number, plain
from pyro_mmnorm.results.schema import TEST_CONTROLS

__all__ = ["Cell", "Table", "calibration_tables", "columns_of", "finding_tables", "pairs"]

WHO = ("by", "level", "n")
TARGETS = {"mean": 0.0, "sd": 1.0, "beyond_1.96": 0.05, "beyond_2.58": 0.00988, "beyond_3.29": 0.001, "kurtosis": 0.0}
TARGETS |= {"skew": 0.0} | {f"coverage_{level}": level / 100 for level in (50, 80, 90, 95, 99)}
RECORD = {*ESTIMATE, "n", "p", "q", "statistic"}


class Cell(NamedTuple):
    """One cell; `tone` colours it, `right` aligns numbers."""

    text: str
    right: bool = True
    tone: str = ""


class Table(NamedTuple):
    """A table with a caption; the first cell of every row is its heading."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]


def pairs(caption: str, head: tuple[str, str], content: Mapping[Any, object]) -> Table:
    """A table of keys and values; nested mappings give a row per inner key.

    Examples:
        >>> [[cell.text for cell in row] for row in pairs("", ("split", "n"), {"test": {"CN": 40}}).rows]
        [['test, CN', '40']]
    """
    flat = list(_flat(content))
    right = all(isinstance(value, (int, float)) for _, value in flat)
    rows = [[Cell(key, right=False), Cell(number("", value), right=right)] for key, value in flat]
    return Table(caption, list(head), rows)


def _flat(content: Mapping[Any, object]) -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}, {inner}", item) for inner, item in _flat(value))
        else:
            yield str(key), value


def columns_of(frame: pd.DataFrame, columns: Mapping[str, Sequence[str]], caption: str, title: str) -> Table:
    """A table of those `columns` (heading -> value column, or value, low and high) that `frame` has.

    Args:
        frame: A row per line; its index is the row heading.
        columns: What to show.
        caption: Of the table.
        title: Heading of the index.
    """
    shown = {head: names for head, names in columns.items() if names[0] in frame.columns}
    rows = []
    for key, row in zip(frame.index, frame.to_dict("records"), strict=True):
        cells = [
            interval(names[0], dict(zip(ESTIMATE, (row.get(name) for name in names), strict=False)))
            for names in shown.values()
        ]
        text = [isinstance(row[names[0]], str) for names in shown.values()]
        rows.append([Cell(str(key), right=False), *(Cell(c, right=not t) for c, t in zip(cells, text, strict=True))])
    return Table(caption, [title, *shown], rows)


def calibration_tables(reliability: Mapping[str, Any]) -> list[Table]:
    """Every figure of the test controls, overall and by group: spread and tails, coverage, the rest."""
    overall = {**reliability.get("overall", {}), "by": "all", "level": TEST_CONTROLS}
    lines = [line for line in (overall, *reliability.get("groups", [])) if set(line) - set(WHO)]
    found = [key for key in dict.fromkeys(key for line in lines for key in line) if key not in WHO]
    spread = [key for key in found if key in ("mean", "sd") or key.startswith("beyond_")]
    coverage = [key for key in found if key.startswith("coverage_")]
    rest = [key for key in found if key not in spread + coverage]
    blocks = {"Mean, SD and tails": spread, "Coverage of the central intervals": coverage, "Further figures": rest}
    return [
        Table(
            f"{what} of z in test controls; red: the 95 % interval misses",
            ["who", "n", *map(plain, keys)],
            [_calibration_row(line, keys) for line in lines],
        )
        for what, keys in blocks.items()
        if keys
    ]


def _calibration_row(line: Mapping[str, Any], keys: Sequence[str]) -> list[Cell]:
    cells = [Cell(f"{line.get('by', '')}: {line.get('level', '')}", right=False), Cell(number("n", line.get("n")))]
    for key in keys:
        figure = line.get(key)
        figure = figure if isinstance(figure, Mapping) else {"value": figure}
        low, high = (math.nan if figure.get(end) is None else figure[end] for end in ("low", "high"))
        missed = low > TARGETS.get(key, math.nan) or high < TARGETS.get(key, math.nan)  # False where nothing is known
        cells.append(Cell(interval(key, figure), tone="bad" if missed else ""))
    return cells


def finding_tables(findings: Mapping[str, Any]) -> list[Table]:
    """findings.json as tables: one per top-level key, a row per record with a value, an interval, n or p."""
    alone = {key: value for key, value in findings.items() if not isinstance(value, (Mapping, list))}
    blocks = ({"summary": alone} if alone else {}) | {k: v for k, v in findings.items() if k not in alone}
    return [_finding_table(key, list(_records(block, ()))) for key, block in blocks.items() if block]


def _records(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Leaf records of nested mappings and lists, each with the keys that lead to it."""
    if isinstance(node, Mapping):
        nested = {key: value for key, value in node.items() if _is_nested(value)}
        flat = {key: value for key, value in node.items() if key not in nested}
        if flat.keys() & RECORD:
            yield path, flat
        else:
            yield from (((*path, key), {"value": value}) for key, value in flat.items())
        for key, value in nested.items():
            yield from _records(value, (*path, str(key)))
    elif isinstance(node, list):
        for i, item in enumerate(node, 1):
            told = isinstance(item, Mapping) and any(isinstance(value, str) for value in item.values())
            yield from _records(item, path if told else (*path, str(i)))
    else:
        yield path, {"value": node}


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(_is_nested, value)))


def _finding_table(name: str, records: list[tuple[tuple[str, ...], dict[str, Any]]]) -> Table:
    found = dict.fromkeys(key for _, record in records for key in record)
    order = sorted(
        (key for key in found if key not in ESTIMATE), key=lambda key: ("n", "p", "p_holm", "q", key).index(key)
    )
    head = ["value [95 % interval]" if "low" in found else "value"] if "value" in found else []
    rows = []
    for path, record in records:
        key = path[-1] if path else name
        cells = [Cell(" › ".join(map(plain, path)) or plain(name), right=False)]
        if head:
            cells.append(Cell(interval(key, record), right=not isinstance(record.get("value"), str)))
        cells += [Cell(number(key, record.get(key)), right=not isinstance(record.get(key), str)) for key in order]
        rows.append(cells)
    caption = plain(name)
    return Table(caption[:1].upper() + caption[1:], ["measure", *head, *map(plain, order)], rows)
