"""The error that bad input raises, and checks that raise it."""

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InputError", "check_known", "hint", "needed"]


class InputError(ValueError):
    """Invalid input, reported in four parts: where, what was found, what was expected, what to do.

    A ``ValueError``, so that callers can catch it without this package; the command line exits with code 2.

    Args:
        where: File, configuration key, argument or modality with the error.
        got: What was found there.
        expected: What is valid.
        todo: How the user can correct it.

    Examples:
        >>> print(InputError("data.id", "column 'sub' is absent", "a column of the table", "set data.id"))
        data.id: column 'sub' is absent; expected a column of the table. Set data.id.
    """

    def __init__(self, where: str, got: str, expected: str, todo: str) -> None:
        self.where, self.got, self.expected, self.todo = where, got, expected, todo
        end = "?" if todo.startswith("did you mean") else "."
        super().__init__(f"{where}: {got}; expected {expected}. {todo[:1].upper()}{todo[1:]}{end}")


def hint(name: object, known: Iterable[object], otherwise: str) -> str:
    """A suggestion of the most similar known name; `otherwise` if none is similar.

    Examples:
        >>> hint("agee", ["age", "sex"], "name a column")
        "did you mean 'age'"
    """
    spellings = {str(one).lower(): str(one) for one in known}
    close = difflib.get_close_matches(str(name).lower(), spellings, n=1)
    return f"did you mean {spellings[close[0]]!r}" if close else otherwise


def check_known(where: str, value: object, known: Sequence[object]) -> None:
    """Refuse a value that is not among the known ones.

    Raises:
        InputError: With the known values, and the most similar.

    Examples:
        >>> check_known("kind", "spline", ("spline", "linear"))
    """
    if value not in known:
        todo = hint(value, known, "write one of them")
        raise InputError(where, repr(value), f"one of {', '.join(map(str, known))}", todo)


def needed(frame: "pd.DataFrame", columns: Sequence[str], where: str) -> None:
    """Check that a table has rows and the needed columns.

    Raises:
        InputError: When `frame` has no rows or lacks one of `columns`.
    """
    if missing := [column for column in columns if column not in frame.columns]:
        raise InputError(where, f"no column {', '.join(missing)}", f"columns {', '.join(columns)}", "add them")
    if frame.empty:
        raise InputError(where, "no rows", "at least one row", "pass a table with rows")
