"""Progress bars on a terminal; nothing elsewhere."""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

__all__ = ["LogAboveBars", "bar", "during", "silent", "track"]

DELAY = 1.0  # seconds before a bar appears: shorter steps show none

_SILENT: ContextVar[bool] = ContextVar("silent", default=False)


@contextlib.contextmanager
def silent(yes: bool = True) -> Iterator[None]:
    """Show no bars inside the block.

    Examples:
        >>> with silent():
        ...     list(bar(range(3), "steps"))
        [0, 1, 2]
    """
    token = _SILENT.set(yes)
    try:
        yield
    finally:
        _SILENT.reset(token)


def bar(
    parts: Iterable[Any] | None,
    what: str,
    *,
    total: int | None = None,
    unit: str = "step",
    shown: bool | None = None,
) -> Any:
    """A progress bar on stderr over `parts`, or moved by `update`; it is removed when closed.

    Args:
        parts: Items to iterate over; None: the bar is moved by `update`.
        what: Short description of the step.
        total: Total number of units; None: the number of parts, if known.
        unit: Name of the unit.
        shown: Whether the bar is shown; None: only on a terminal, and not inside `silent`.
    """
    off = (True if _SILENT.get() else None) if shown is None else not shown
    return tqdm(
        parts, desc=what, total=total, unit=f" {unit}", disable=off, leave=False, delay=DELAY, dynamic_ncols=True
    )


def track[T: Sized](parts: Iterable[T], what: str, total: int, unit: str = "people") -> Iterator[T]:
    """Iterate over parts of different length, with a bar in units of their length.

    Args:
        parts: Items with a length, such as chunks of people.
        what: Short description of the step.
        total: Sum of their lengths.
        unit: Name of the unit.

    Examples:
        >>> list(track(["ab", "c"], "letters", 3))
        ['ab', 'c']
    """
    with contextlib.closing(bar(None, what, total=total, unit=unit)) as shown:
        for part in parts:
            yield part
            shown.update(len(part))


@contextlib.contextmanager
def during(what: str) -> Iterator[None]:
    """A line on the terminal that describes the step inside the block, above the bars of its parts.

    Examples:
        >>> with during("arithmetic"):
        ...     2 * 3
        6
    """
    off = True if _SILENT.get() else None
    with contextlib.closing(tqdm(total=0, desc=what, bar_format="{desc} ...", disable=off, leave=False)):
        yield


class LogAboveBars(logging.Handler):
    """Log lines on stderr, above a visible bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        tqdm.write(self.format(record), file=sys.stderr)
