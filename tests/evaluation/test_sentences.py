"""Sentences of the calibration report: a warning where dependence exceeds chance, and the limit of conformal p."""

import pytest

from pyro_mmnorm.evaluation.sentences import about_p, dependence


def between(p=0.01, share=0.05, null=0.02):
    return {
        "first_eigenvalue": {"value": 3.0, "null": 2.0, "p": p},
        "largest_r": {"value": 0.41, "null": 0.22, "pair": "a.x and b.y"},
        "share_above_0.1": {"value": share, "null": null},
    }


def test_dependence_is_reported_with_its_pair_and_what_chance_gives():
    (sentence,) = dependence(between())
    assert "|r| up to 0.41 (expected by chance 0.22, a.x and b.y)" in sentence
    assert "above 0.1 in 5.0 % of pairs (expected by chance 2.0 %)" in sentence


@pytest.mark.parametrize(
    ("p", "share", "warned"),
    [(0.01, 0.05, True), (0.011, 0.05, False), (0.01, 0.0305, True), (0.01, 0.0295, False)],
)
def test_dependence_is_reported_from_p_of_one_percent_and_one_percent_more_pairs_than_by_chance(p, share, warned):
    assert bool(dependence(between(p, share))) == warned


def test_one_modality_has_no_dependence():
    assert dependence({}) == []


def test_the_number_of_controls_for_a_significant_conformal_p_is_stated():
    """1 / (n + 1) <= 0.05 / regions needs n >= 20 regions - 1."""
    assert about_p(50, 1 / 51, 10).endswith("at least 199 calibration controls are needed.")
    assert "With 50 calibration controls it is at least 0.0196." in about_p(50, 1 / 51, 10)
