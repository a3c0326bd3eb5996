"""The list of mutants is valid; a seeded sample of them is killed, and a change without effect is not."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.mutants import ASKED, MUTANTS, ROOT, Mutant, document, is_killed, mutated

FAST = [mutant for mutant in MUTANTS if mutant.file.startswith("stats/")]
"""Their tests load no torch."""
SAMPLE = np.random.default_rng(20231).choice(len(FAST), 3, replace=False)


def source(mutant):
    return (ROOT / "pyro_mmnorm" / mutant.file).read_text(encoding="utf-8")


def test_there_are_enough_mutants_and_none_twice():
    assert len({mutant[:3] for mutant in MUTANTS}) == len(MUTANTS) >= 34


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{Path(mutant.file).stem}: {mutant.mutated}")
def test_every_mutant_changes_one_place_and_its_tests_exist(mutant):
    assert mutated(source(mutant), mutant) != source(mutant)
    assert all((ROOT / "tests" / path).is_file() for path in mutant.tests.split())


@pytest.mark.parametrize(("text", "count"), [("a = 2", 0), ("a = 1\na = 1", 2)])
def test_a_text_that_does_not_stand_exactly_once_is_an_error(text, count):
    with pytest.raises(ValueError, match=f"'a = 1' stands {count} times; expected once"):
        mutated(text, Mutant("x.py", "a = 1", "a = 2", "", ""))


def test_the_page_counts_the_killed():
    page = document([(MUTANTS[0], True), (MUTANTS[1], False), (MUTANTS[2], True)])
    assert "**2 of 3 mutants killed**" in page
    assert page.count("**survived**") == 1
    assert pytest.approx(0.93, abs=0.005) == ASKED


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [FAST[i] for i in SAMPLE], ids=lambda mutant: mutant.mutated)
def test_a_seeded_sample_is_killed(mutant):
    """The sample is fixed, so that it fails only when these tests no longer notice these changes."""
    assert is_killed(mutant)


@pytest.mark.slow
def test_a_change_without_effect_survives():
    one = MUTANTS[[mutant.file for mutant in MUTANTS].index("stats/rates.py")]
    assert not is_killed(one._replace(mutated=f"({one.original})"))
