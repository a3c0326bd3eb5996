"""Tables of the page: values with intervals, formatted as text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from pyro_mmnorm.plots.style import capitalised
from pyro_mmnorm.results.formatting import ESTIMATE, interval, number, plain
from pyro_mmnorm.results.schema import TEST_CONTROLS

__all__ = ["Cell", "Table", "calibration_tables", "columns_of", "finding_tables", "pairs"]

SUBGROUP_KEYS = ("by", "level", "n")
EXPECTED = {"mean": 0.0, "sd": 1.0, "beyond_1.96": 0.05, "beyond_2.58": 0.00988, "beyond_3.29": 0.001, "kurtosis": 0.0}
EXPECTED |= {"skew": 0.0} | {f"coverage_{level}": level / 100 for level in (50, 80, 90, 95, 99)}
RECORD_KEYS = {*ESTIMATE, "n", "p", "q", "statistic"}
CAPTIONS = {
    "primary": "Primary endpoint",
    "groups": "Means of the measures of a person, by group",
    "significance": "Proportions of extreme regions (p < 0.05) and of people with a significant omnibus test",
    "likelihood_ratio": "Likelihood ratio of a significant omnibus test, group against test controls",
    "auc": "AUC of each group against test controls",
    "trend": "Trend over stages",
    "pairs": "Differences between groups",
    "heterogeneity": "Heterogeneity within and between groups (Hamming distance of the flags q < 0.05)",
    "correlations": "Correlations with clinical scores",
    "modalities": "Results by modality",
    "independence": "Correlations of z between modalities in test controls",
    "between_modalities": "Correlations of z between modalities in test controls",
    "conformal": "Conformal p-values in test controls",
}
"""Top-level key of findings.json or calibration.json -> caption of its table."""


class Cell(NamedTuple):
    """One cell; `tone` colours it, `right` aligns numbers."""

    text: str
    right: bool = True
    tone: str = ""


class Table(NamedTuple):
    """A table with a caption; the first cell of each row is the heading of the row."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]


def pairs(caption: str, head: tuple[str, str], content: Mapping[Any, object]) -> Table:
    """A table of keys and values, with a row per inner key of nested mappings.

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
        frame: Values; the index gives the headings of the rows.
        columns: Heading -> columns of `frame`.
        caption: Caption of the table.
        title: Heading of the index.

    Examples:
        >>> frame = pd.DataFrame({"mean_z": [-1.0], "low": [-1.5], "high": [-0.5]}, ["AD"])
        >>> [cell.text for cell in columns_of(frame, {"mean z": ["mean_z", "low", "high"]}, "", "group").rows[0]]
        ['AD', '−1.00 [−1.50, −0.50]']
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
    """Calibration of z in the test controls, overall and by subgroup: moments and tails, coverage, other measures."""
    overall = {**reliability.get("overall", {}), "by": "all", "level": TEST_CONTROLS}
    lines = [line for line in (overall, *reliability.get("groups", [])) if set(line) - set(SUBGROUP_KEYS)]
    keys = [key for key in dict.fromkeys(key for line in lines for key in line) if key not in SUBGROUP_KEYS]
    spread = [key for key in keys if key in ("mean", "sd") or key.startswith("beyond_")]
    coverage = [key for key in keys if key.startswith("coverage_")]
    rest = [key for key in keys if key not in spread + coverage]
    blocks = {"Mean, SD and tails": spread, "Coverage of the central intervals": coverage, "Other measures": rest}
    return [
        Table(
            f"{what} of z in test controls; red: the 95 % interval excludes the expected value",
            ["subgroup", "n", *map(plain, columns)],
            [_calibration_row(line, columns) for line in lines],
        )
        for what, columns in blocks.items()
        if columns
    ]


def _calibration_row(line: Mapping[str, Any], keys: Sequence[str]) -> list[Cell]:
    cells = [Cell(f"{line.get('by', '')}: {line.get('level', '')}", right=False), Cell(number("n", line.get("n")))]
    for key in keys:
        figure = line.get(key)
        figure = figure if isinstance(figure, Mapping) else {"value": figure}
        low, high = (math.nan if figure.get(end) is None else figure[end] for end in ("low", "high"))
        excludes = low > EXPECTED.get(key, math.nan) or high < EXPECTED.get(key, math.nan)  # False if either is NaN
        cells.append(Cell(interval(key, figure), tone="bad" if excludes else ""))
    return cells


def finding_tables(findings: Mapping[str, Any]) -> list[Table]:
    """Tables of findings.json: one per top-level key, a row per record with a value, an interval, n or p."""
    alone = {key: value for key, value in findings.items() if not isinstance(value, (Mapping, list))}
    blocks = ({"summary": alone} if alone else {}) | {k: v for k, v in findings.items() if k not in alone}
    return [_finding_table(key, list(_records(block, ()))) for key, block in blocks.items() if block]


def _records(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Leaf records of nested mappings and lists, each with its path of keys."""
    if isinstance(node, Mapping):
        nested = {key: value for key, value in node.items() if _is_nested(value)}
        flat = {key: value for key, value in node.items() if key not in nested}
        if flat.keys() & RECORD_KEYS:
            yield path, flat
        else:
            yield from (((*path, key), {"value": value}) for key, value in flat.items())
        for key, value in nested.items():
            yield from _records(value, (*path, str(key)))
    elif isinstance(node, list):
        for i, item in enumerate(node, 1):
            named = isinstance(item, Mapping) and any(isinstance(value, str) for value in item.values())
            yield from _records(item, path if named else (*path, str(i)))
    else:
        yield path, {"value": node}


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(_is_nested, value)))


def _finding_table(name: str, records: list[tuple[tuple[str, ...], dict[str, Any]]]) -> Table:
    keys = dict.fromkeys(key for _, record in records for key in record)
    order = sorted(
        (key for key in keys if key not in ESTIMATE), key=lambda key: ("n", "p", "p_holm", "q", key).index(key)
    )
    head = ["value [95 % interval]" if "low" in keys else "value"] if "value" in keys else []
    rows = []
    for path, record in records:
        key = path[-1] if path else name
        cells = [Cell(" › ".join(map(plain, path)) or plain(name), right=False)]
        if head:
            cells.append(Cell(interval(key, record), right=not isinstance(record.get("value"), str)))
        cells += [Cell(number(key, record.get(key)), right=not isinstance(record.get(key), str)) for key in order]
        rows.append(cells)
    return Table(CAPTIONS.get(name, capitalised(plain(name))), ["measure", *head, *map(plain, order)], rows)
