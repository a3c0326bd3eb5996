"""Numbers and names as text."""

import pandas as pd
import pytest

from pyro_mmnorm.results.formatting import interval, number, plain


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("p", 0.0009999, "<0.001"),
        ("p", 0.001, "0.001"),
        ("welch_q", 0.05, "0.050"),
        ("share_significant", 0.0512, "5.1\u00a0%"),
        ("coverage_95", 1.0, "100.0\u00a0%"),
        ("n", 1234, "1,234"),
        ("n_outliers", 2.5, "2.50"),
        ("mean_z", -1.0421, "−1.04"),
        ("mean_z", -0.001, "−0.001"),
        ("mean_z", -0.0001, "0.000"),
        ("mean_z", 0.0994, "0.099"),
        ("mean_z", 0.0995, "0.10"),
        ("rss", 999.9, "999.90"),
        ("rss", 1000.4, "1,000"),
        ("sd", 7, "7"),
        ("flag", True, "yes"),
        ("flag", False, "no"),
        ("mean_z", None, "–"),
        ("mean_z", float("nan"), "–"),
        ("mean_z", pd.NA, "–"),
        ("scores", [0.5, 2.0], "0.50, 2.00"),
    ],
)
def test_numbers_have_the_digits_of_their_kind(name, value, text):
    assert number(name, value) == text


def test_an_interval_has_the_decimals_of_its_largest_number():
    assert interval("mean_z", {"value": 0.05, "low": -0.02, "high": 0.12}) == "0.05 [−0.02, 0.12]"
    assert interval("share_x", {"value": 0.05, "low": 0.02, "high": 0.12}) == "5.0\u00a0% [2.0, 12.0]"
    assert interval("mace", {"value": 0.03, "null": 0.027}) == "0.030 (expected 0.027)"


def test_keys_are_written_as_words():
    assert [plain(name) for name in ("beyond_2.58", "coverage_50", "p_holm", "mean_sq_z", "n_outliers")] == [
        "|z| > 2.58",
        "coverage 50 %",
        "Holm p",
        "mean z²",
        "n outliers",
    ]
