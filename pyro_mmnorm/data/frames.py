"""Cells of a table: text and numbers in one normal form; columns and ids by name."""

import re
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd

from pyro_mmnorm.core.errors import InputError, hint

__all__ = [
    "MISSING",
    "as_numbers",
    "as_text",
    "by_id",
    "column_of",
    "counted",
    "named",
    "numbers_or_none",
    "text_of",
]

MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null"})
"""Spellings of a cell that was not observed. Codes such as -9999 are numbers and are not interpreted."""


def text_of(value: object) -> str:
    """One cell as text in the normal form used to compare cells; '' if not observed.

    Text is stripped, whole numbers lose a trailing `.0`, and booleans become `true` and `false`.

    Examples:
        >>> [text_of(cell) for cell in (1.0, "2.0", " CN ", True, "False", "007", "n/a")]
        ['1', '2', 'CN', 'true', 'false', '007', '']
    """
    text = str(value).strip()
    if value is None or value is pd.NaT or text in MISSING:
        return ""
    if text.lower() in ("true", "false"):
        return text.lower()
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", text)


def as_text(column: pd.Series) -> pd.Series:
    """Every cell of a column by `text_of`, [n].

    Examples:
        >>> as_text(pd.Series([1.0, None], index=["sub-1", "sub-2"])).tolist()
        ['1', '']
    """
    return pd.Series([text_of(cell) for cell in column], index=column.index, name=column.name, dtype=str)


def as_numbers(column: pd.Series, where: str) -> pd.Series:
    """A column as float64, NaN where a cell is not observed (see `MISSING`), [n].

    Args:
        column: Numbers, or text of numbers, indexed by subject.
        where: Table or modality, for the error message.

    Raises:
        InputError: On text that is not a number, or an infinite number; it names the row and the column.

    Examples:
        >>> as_numbers(pd.Series(["1.5", "NA"], index=["sub-1", "sub-2"], name="age"), "participants").tolist()
        [1.5, nan]
    """
    readable = column.astype(str) if column.dtype.kind in "cmM" else column  # dates must not turn into nanoseconds
    numbers = pd.to_numeric(readable, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    text = as_text(column[~np.isfinite(numbers)])
    wrong = text[text != ""]
    if len(wrong):
        where = f"{where}, column {column.name!r}, row {wrong.index[0]!r}"
        expected = "a finite number, or an empty cell where nothing was observed"
        raise InputError(where, repr(wrong.iloc[0]), expected, "correct the cell, or exclude the column")
    return pd.Series(numbers, index=column.index, name=column.name)


def numbers_or_none(column: pd.Series) -> pd.Series | None:
    """A column by `as_numbers`; None where one of its cells is neither a number nor empty.

    Examples:
        >>> numbers_or_none(pd.Series(["1.5", "low"])) is None
        True
    """
    try:
        return as_numbers(column, "")
    except InputError:
        return None


def named(names: Iterable[object], most: int = 3) -> str:
    """The first few names, quoted, and how many more there are.

    Examples:
        >>> named(["a", "b", "c", "d"])
        "'a', 'b', 'c' and 1 more"
    """
    quoted = [repr(str(name)) for name in names]
    more = f" and {len(quoted) - most} more" if len(quoted) > most else ""
    return (", ".join(quoted[:most]) or "nothing") + more


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where needed.

    Examples:
        >>> counted(1, "subject"), counted(2, "subject")
        ('1 subject', '2 subjects')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def column_of(frame: pd.DataFrame, name: Hashable, where: str) -> pd.Series:
    """The only column of that name.

    Raises:
        InputError: When it is absent, or occurs more than once.

    Examples:
        >>> column_of(pd.DataFrame({"age": [70]}), "age", "participants").tolist()
        [70]
    """
    places = np.flatnonzero(frame.columns == name)
    if len(places) == 1:
        column: pd.Series = frame.iloc[:, places[0]]
        return column
    got = f"column {name!r} occurs {len(places)} times" if len(places) else f"column {name!r} is absent"
    todo = "rename or remove one" if len(places) else hint(name, frame.columns, "name a column of the table")
    raise InputError(where, got, f"one of the columns {named(frame.columns, 12)}", todo)


def by_id(frame: pd.DataFrame, key: str | None, where: str) -> pd.DataFrame:
    """The frame with its ids, as text, as index, and with stripped column names.

    The ids are the column `key`; else the index if it is named `key`, or holds text, or `key` is None.

    Raises:
        InputError: When the ids are absent, empty or duplicated.

    Examples:
        >>> by_id(pd.DataFrame({"id": [7, 8], "age": [70, 71]}), "id", "participants").index.tolist()
        ['7', '8']
    """
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis=1)
    if key in frame.columns:
        cells: Sequence[object] = column_of(frame, key, where).tolist()
        frame = frame.drop(columns=[key])
    elif _holds_ids(frame.index, key):
        cells = frame.index.tolist()
    else:
        got = "rows without ids" if key is None else f"id column {key!r} is absent"
        todo = hint(key, frame.columns, "name the id column")
        raise InputError(where, got, f"ids as a column or as the index; columns are {named(frame.columns, 12)}", todo)
    ids = pd.Index(
        [cell.strip() if isinstance(cell, str) else text_of(cell) for cell in cells], name=key or "id", dtype=str
    )
    if (ids == "").any():
        got = f"{counted(int((ids == '').sum()), 'row')} without an id"
        raise InputError(where, got, "an id in every row", "fill or remove them")
    twice = ids[ids.duplicated()].unique()
    if len(twice):
        todo = "keep one row of each, such as one visit"
        raise InputError(where, f"duplicated ids {named(twice)}", "one row per subject", todo)
    return frame.set_axis(ids, axis=0)


def _holds_ids(index: pd.Index, key: str | None) -> bool:
    if key is None:
        return not isinstance(index, pd.RangeIndex)
    return index.name == key or pd.api.types.is_string_dtype(index)
