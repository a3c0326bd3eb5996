"""The error that bad input raises, and checks that raise it."""

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InputError", "check_known", "hint", "needed"]


class InputError(ValueError):
    """Input that cannot be used, told in four parts: where, what was got, what was expected, what to do.

    A ``ValueError``, so that callers who know nothing of this package can still catch it; the command line
    turns it into exit code 2.

    Args:
        where: File, configuration key, argument or modality that holds the fault.
        got: What was found there.
        expected: What would have been right.
        todo: What the user can do about it.

    Examples:
        >>> print(InputError("data.id", "column 'sub' is absent", "a column of the table", "set data.id"))
        data.id: column 'sub' is absent; expected a column of the table. Set data.id.
    """

    def __init__(self, where: str, got: str, expected: str, todo: str) -> None:
        self.where, self.got, self.expected, self.todo = where, got, expected, todo
        end = "?" if todo.startswith("did you mean") else "."
        super().__init__(f"{where}: {got}; expected {expected}. {todo[:1].upper()}{todo[1:]}{end}")


def hint(name: object, known: Iterable[object], otherwise: str) -> str:
    """A did-you-mean when a known name comes close, else `otherwise`.

    Examples:
        >>> hint("agee", ["age", "sex"], "name a column")
        "did you mean 'age'"
    """
    by_small = {str(one).lower(): str(one) for one in known}
    close: list[str] = difflib.get_close_matches(str(name).lower(), by_small, n=1)
    return f"did you mean {by_small[close[0]]!r}" if close else otherwise


def check_known(where: str, value: object, known: Sequence[object]) -> None:
    """Refuse a word that is not among the known ones.

    Raises:
        InputError: With the known words, and the closest.

    Examples:
        >>> check_known("kind", "spline", ("spline", "linear"))
    """
    if value not in known:
        todo = hint(value, known, "write one of them")
        raise InputError(where, repr(value), f"one of {', '.join(map(str, known))}", todo)


def needed(frame: "pd.DataFrame", columns: Sequence[str], where: str) -> None:
    """Check that a table can be drawn.

    Raises:
        InputError: When `frame` has no rows or lacks one of `columns`.
    """
    if missing := [column for column in columns if column not in frame.columns]:
        raise InputError(where, f"no column {', '.join(missing)}", f"columns {', '.join(columns)}", "add them")
    if frame.empty:
        raise InputError(where, "no rows", "at least one row", "pass a table with rows")
