"""The verdict rests on one table of bounds, and so do the warnings on subgroups."""

import pytest

from pyro_mmnorm.evaluation.verdict import BANDS, BOUNDS, outside, verdict


def figure(value, half):
    return {"value": value, "low": value - half, "high": value + half}


@pytest.mark.parametrize(
    ("sd", "half", "tone", "words"),
    [
        (1.01, 0.02, "good", "well calibrated within tolerance"),
        (1.01, 0.08, "unclear", "an interval extends beyond it"),
        (0.951, 0.002, "unclear", "an interval extends beyond it"),
        (1.051, 0.002, "bad", "not calibrated"),
        (1.43, 0.05, "bad", "not calibrated"),
        (0.8, 0.1, "bad", "not calibrated"),
    ],
)
def test_the_verdict_follows_value_and_interval(sd, half, tone, words):
    found = verdict({"overall": {"n": 106, "sd": figure(sd, half)}})
    assert (found.tone, words in found.sentence) == (tone, True)
    assert found.sentence.startswith("Calibration check in 106 held-out controls: ")
    assert found.text.endswith(f"{found.evidence[0]}.")


@pytest.mark.parametrize(("name", "value"), [("mean", 0.051), ("sd", 0.949), ("beyond_1.96", 0.061)])
def test_each_bound_alone_decides(name, value):
    inside = {"mean": 0.0, "sd": 1.0, "beyond_1.96": 0.05}
    overall = {key: figure(x, 0.001) for key, x in inside.items()}
    assert verdict({"overall": {"n": 9, **overall}}).tone == "good"
    assert verdict({"overall": {"n": 9, **overall, name: figure(value, 0.0001)}}).tone == "bad"


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("mean", -0.05, 0.05), ("sd", 0.95, 1.05), ("beyond_1.96", 0.04, 0.06), ("beyond_2.58", None, 0.014),
        ("beyond_3.29", None, 0.002), ("coverage_50", 0.48, 0.52), ("coverage_95", 0.93, 0.97), ("skew", -0.5, 0.5),
        ("kurtosis", -1.0, 1.0), ("rms_mean", None, 0.15), ("rms_sd", None, 0.06), ("pit", None, 0.03),
    ],
)  # fmt: skip
def test_a_warning_is_given_just_outside_each_tolerance_and_not_just_inside(name, low, high):
    """An interval of no width, 0.0002 on either side of each end of the tolerance."""

    def warned(value):
        return bool(outside({"by": "overall", "level": "all", "n": 9, name: figure(value, 0)}))

    assert (warned(high - 2e-4), warned(high + 2e-4)) == (False, True)
    if low is not None:
        assert (warned(low - 2e-4), warned(low + 2e-4)) == (True, False)


def test_bounds_of_the_report_come_before_those_of_the_code():
    overall = {"n": 9, "sd": figure(1.2, 0.01)}
    assert verdict({"overall": overall, "bounds": {"sd": [0.5, 1.5]}}).tone == "good"
    assert verdict({"overall": overall}).tone == "bad"


def test_a_report_without_figures_has_no_verdict():
    assert verdict({}).tone == "unclear"
    assert verdict({"overall": {"n": 9, "sd": {"value": 1.0}}}).evidence == []


def test_a_subgroup_is_named_only_when_its_whole_interval_lies_outside():
    blocks = [
        {"by": "site", "level": level, "n": 24, "mean": figure(0, 0.1), "sd": figure(sd, 0.1)}
        for level, sd in (("A", 1.31), ("B", 1.1), ("C", 0.7))
    ]
    assert [outside(block) for block in blocks] == [
        "Site A (n = 24): SD of z: 1.31 [1.21, 1.41] (tolerance 0.95 to 1.05). Do not compare these z with others.",
        "",
        "Site C (n = 24): SD of z: 0.70 [0.60, 0.80] (tolerance 0.95 to 1.05). Do not compare these z with others.",
    ]


def test_the_verdict_and_the_warnings_share_one_table():
    assert BOUNDS.items() <= BANDS.items()
