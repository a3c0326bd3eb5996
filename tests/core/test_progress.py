"""Bars: shown on a terminal for long steps only, and removed afterwards."""

import io
import logging
import sys

import numpy as np

from pyro_mmnorm.core import progress
from pyro_mmnorm.core.progress import LogAboveBars, bar, during, silent, track
from pyro_mmnorm.stats.dependence import between_modalities


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch, delay=0):
    """Called in the test itself: pytest replaces stderr after the fixtures are set up."""
    there = Terminal()
    monkeypatch.setattr(sys, "stderr", there)
    monkeypatch.setattr(progress, "DELAY", delay)
    return there


def work():
    with during("deviations"):
        assert list(track(["ab", "c"], "cross_modal", 3)) == ["ab", "c"]
        assert sum(bar([1, 2], "bootstrap")) == 3


def test_bars_are_shown_and_removed_on_a_terminal(monkeypatch):
    stderr = terminal(monkeypatch)
    work()
    shown = stderr.getvalue()
    assert [word for word in ("deviations ...", "cross_modal", "bootstrap") if word not in shown] == [], repr(shown)
    assert shown.rstrip("\x1b[A").endswith("\r")


def test_nothing_is_shown_elsewhere_or_inside_silent(monkeypatch):
    stderr = terminal(monkeypatch)
    with silent():
        work()
    assert stderr.getvalue() == ""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    work()
    assert file.getvalue() == ""


def test_a_short_step_shows_no_bar(monkeypatch):
    stderr = terminal(monkeypatch, delay=60)
    assert sum(bar([1, 2], "bootstrap")) == 3
    assert "bootstrap" not in stderr.getvalue()


def test_a_log_line_has_a_line_of_its_own(monkeypatch):
    stderr = terminal(monkeypatch)
    handler = LogAboveBars()
    with during("deviations"):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "train: 1.0 s", None, None))
    assert "train: 1.0 s\n" in stderr.getvalue()


def test_permutations_show_progress(monkeypatch):
    """The longest part of the findings of a run."""
    stderr, rng = terminal(monkeypatch), np.random.default_rng(0)
    between_modalities(rng.normal(size=(40, 4)), np.array(list("aabb")), rng=rng, permutations=3, repeats=3)
    assert [word for word in ("permutations: ", "bootstrap: ") if word not in stderr.getvalue()] == []
