"""A figure that the project promises: its name, its bounds and its value."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["PRINTED", "Ask", "Figure", "Found", "gathered"]

ERRORS = 3
"""Standard errors by which a figure may differ from its nominal value by chance."""


class Figure(NamedTuple):
    """One figure: name, bounds (None: printed only) and value."""

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
    """Bounds and their width: `slack` from `around`, or 3 standard errors where that is more.

    Args:
        low, high: Fixed bounds, or None.
        around: Nominal value; the bounds are at a distance of `slack` on both sides, or above it if `positive`.
        positive: Whether the figure cannot be below 0.
        chance: Whether 3 standard errors of the mean over seeds are added to `high`.
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
    """A figure of one seed, with its standard error; of several levels of one name the worst is reported."""

    name: str
    value: float
    ask: Ask = PRINTED
    error: float = 0.0
    level: str = ""


def gathered(found: Iterable[Found]) -> list[Figure]:
    """Means over seeds; for each name the level that is farthest from its bounds."""
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
    """Distance beyond the bounds, in units of their width where there are two."""
    _, low, high, value = figure
    if low is None or high is None:
        return (value - high) if high is not None else (low or 0.0) - value
    return abs(value - (low + high) / 2) / (high - low)
