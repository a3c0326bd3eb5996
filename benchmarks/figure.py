"""A figure that the project promises: what, what is asked, what was reached."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["PRINTED", "Ask", "Figure", "Found", "gathered"]

ERRORS = 3
"""Standard errors that a figure may be off by chance."""


class Figure(NamedTuple):
    """One promise: what, the bounds asked for (None: printed only), and what was reached."""

    name: str
    low: float | None
    high: float | None
    reached: float

    @property
    def asked(self) -> str:
        if self.low is None and self.high is None:
            return "printed"
        if self.low is None:
            return f"<= {self.high:.4g}"
        return f">= {self.low:.4g}" if self.high is None else f"{self.low:.4g} to {self.high:.4g}"

    @property
    def met(self) -> str:
        if self.asked == "printed":
            return ""
        inside = (self.low is None or self.reached >= self.low) and (self.high is None or self.reached <= self.high)
        return "yes" if inside else "NO"


class Ask(NamedTuple):
    """Bounds, and by how much they widen: to `slack` from `around`, or to 3 standard errors where that is more.

    Args:
        low, high: Fixed bounds; None: none.
        around: The nominal value that `slack` counts from, on both sides; on one where it is 0 and cannot be below.
        positive: Whether the figure cannot be below 0.
        chance: Whether 3 standard errors of the mean over what was found are added to `high`.
    """

    low: float | None = None
    high: float | None = None
    around: float | None = None
    slack: float = 0.0
    positive: bool = False
    chance: bool = False

    def bounds(self, values: list[float], errors: list[float]) -> tuple[float | None, float | None]:
        """Low and high for the mean of these values with these standard errors."""
        if self.around is not None:
            wide = max(self.slack, ERRORS * float(np.linalg.norm(errors)) / len(errors))
            return None if self.positive else self.around - wide, self.around + wide
        if self.chance and self.high is not None:
            return self.low, self.high + ERRORS * float(np.std(values)) / len(values) ** 0.5
        return self.low, self.high


PRINTED = Ask()


class Found(NamedTuple):
    """A figure of one seed, with its standard error; of several with one name and another `level` the worst is told."""

    name: str
    value: float
    ask: Ask = PRINTED
    error: float = 0.0
    level: str = ""


def gathered(found: Iterable[Found]) -> list[Figure]:
    """Means over seeds; of each name the level that is farthest off for what is asked of it."""
    same: dict[str, dict[str, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        same[one.name][one.level].append(one)
    return [
        max((_mean(name, level, many) for level, many in levels.items()), key=_off) for name, levels in same.items()
    ]


def _mean(name: str, level: str, many: list[Found]) -> Figure:
    values = [one.value for one in many]
    low, high = many[0].ask.bounds(values, [one.error for one in many])
    return Figure(f"{name}; worst: {level}" if level else name, low, high, float(np.mean(values)))


def _off(figure: Figure) -> float:
    """How far beyond its bounds: in units of their distance where there are two."""
    _, low, high, value = figure
    if low is None or high is None:
        return (value - high) if high is not None else (low or 0.0) - value
    return abs(value - (low + high) / 2) / (high - low)
