"""The one error that bad input raises."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InputError", "needed"]


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


def needed(frame: "pd.DataFrame", columns: Sequence[str], where: str) -> None:
    """Check that a table can be drawn.

    Raises:
        InputError: When `frame` has no rows or lacks one of `columns`.
    """
    if missing := [column for column in columns if column not in frame.columns]:
        raise InputError(where, f"no column {', '.join(missing)}", f"columns {', '.join(columns)}", "add them")
    if frame.empty:
        raise InputError(where, "no rows", "at least one row", "pass a table with rows")
