"""How far a long step has come: a bar on a terminal, silence elsewhere."""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

__all__ = ["LogAboveBars", "bar", "during", "silent", "track"]

DELAY = 1.0  # seconds before a bar appears: what is done by then needs none

_SILENT: ContextVar[bool] = ContextVar("silent", default=False)


@contextlib.contextmanager
def silent(yes: bool = True) -> Iterator[None]:
    """No bars inside the block.

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
    """A bar on stderr that moves as `parts` are gone through, or by `update`; it leaves nothing behind when closed.

    Args:
        parts: What is worked on; None: moved by hand.
        what: What is going on, in a word or three.
        total: Units in all; the number of parts when None, where it is known.
        unit: Of what.
        shown: None: only on a terminal, and not inside `silent`.
    """
    off = (True if _SILENT.get() else None) if shown is None else not shown
    return tqdm(
        parts, desc=what, total=total, unit=f" {unit}", disable=off, leave=False, delay=DELAY, dynamic_ncols=True
    )


def track[T: Sized](parts: Iterable[T], what: str, total: int, unit: str = "people") -> Iterator[T]:
    """Pieces of a whole one after the other, with a bar in units of the whole.

    Args:
        parts: What is worked on, such as chunks of people.
        what: What is going on, in a word or three.
        total: Sum of their lengths.
        unit: Of what.

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
    """A line on the terminal that says what is going on inside the block, above the bars of its parts.

    Examples:
        >>> with during("arithmetic"):
        ...     2 * 3
        6
    """
    off = True if _SILENT.get() else None
    with contextlib.closing(tqdm(total=0, desc=what, bar_format="{desc} ...", disable=off, leave=False)):
        yield


class LogAboveBars(logging.Handler):
    """Log lines on stderr, above a bar that is being drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        tqdm.write(self.format(record), file=sys.stderr)
