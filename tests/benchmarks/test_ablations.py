"""The benchmark of ablations: rows that are kept are not measured again, and one command writes the whole document."""

import numpy as np
import pytest

from benchmarks import ablations
from benchmarks.ablated import CEILING, DEFAULT, LINEAR, Row, document

SIZES = {"healthy": 300, "controls": 120, "patients": 90}
QUICK = [
    ablations.Ablation(name=DEFAULT, baseline="factor_analysis"),
    ablations.Ablation(name="regression", baseline="regression"),
    ablations.Ablation(name=CEILING),
]
HOME = ablations.Ablation(name="home", baseline="factor_analysis", changed=ablations.calibrated_on_training_study)


def test_a_stopped_table_goes_on_and_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "REPEATS", 20)
    found = list(ablations.rows((1, 2), QUICK, [HOME], SIZES, tmp_path))
    assert [(row.seed, row.name) for row in found] == [
        *((seed, one.name) for seed in (1, 2) for one in QUICK),
        (1, "home"),
    ]
    text = document(found, SIZES, 20, 1)
    assert "| 1 | regression | – |" in text
    assert "regression (2)" in text
    assert "home (1)" in text
    # nothing is measured that lies there, and only what does not
    (tmp_path / "2-regression.json").unlink()
    asked = []
    monkeypatch.setattr(
        ablations, "judged", lambda one, _, judged=ablations.judged: asked.append(one) or judged(one, _)
    )
    again = list(ablations.rows((1, 2), QUICK, [HOME], SIZES, tmp_path))
    assert [one.name for one in asked] == ["regression"]
    assert [row.cells() for row in again] == [row.cells() for row in found]
    # a model less itself is nothing, in figures and in words
    same = [row for row in found if row.name == DEFAULT]
    twin = [Row(**{**vars(row), "name": "twin"}) for row in same]
    assert "* **twin**. No difference shown: 8 of 8 figures." in document([*same, *twin], SIZES, 20, 1)


def row(name, healthy=0.05, active=16.0, shift=0.0):
    """Of figures that are known to a hundredth."""
    noise = np.random.default_rng(0).normal(0, 0.01, 200)
    figures = {f"{c} {f}": [0.4 + shift, *(0.4 + shift + noise)] for c in ("local", "along") for f in ("slope", "SMC")}
    figures |= {f"{c} {f}": [0.4, *(0.4 + noise)] for c in ("local", "along") for f in ("ADAS13", "place")}
    figures |= {"healthy": [healthy, *(healthy + noise / 10)], "local AD": [0.1, *(0.1 + noise)]}
    people = dict.fromkeys(("tested", "scored", "smc", "placed_local", "placed_along"), 9)
    return Row(seed=1, name=name, active=active, seconds=1, people=people, figures=figures, places={})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"shift": 0.2}, "The default loses: slope, local -0.20 [-0.20, -0.20]; slope, along"),
        ({"shift": -0.2}, "The default gains: slope, local 0.20 [0.20, 0.20]; slope, along"),
        ({"active": 0.0}, "The posterior has collapsed (0 latents active)"),
        ({"healthy": 0.01}, "Too few: p < .05 in 1.0 [0.8, 1.2] % of the regions of healthy people"),
        ({"healthy": 0.12}, "Too many: p < .05 in 12.0 "),
    ],
)
def test_words_say_what_the_numbers_say(changed, words):
    text = document([row(DEFAULT), row("other", **changed)], SIZES, 200, 1)
    assert "figures of ADAS13 and place" not in text
    line = text.splitlines()[-1]
    assert line.startswith("* **other**.")
    assert words in line
    assert ("Inflated" in line, "Flattened" in line, "collapsed" in line) == tuple(
        word in words for word in ("Inflated", "Flattened", "collapsed")
    )


@pytest.mark.parametrize(("better", "held"), [(0.0, 4), (0.03, 0)])
def test_depth_is_held_against_factor_analysis_with_a_margin(better, held):
    other = row(LINEAR)
    figures = {name: [x + better for x in column] for name, column in other.figures.items()}
    text = document([row(DEFAULT), Row(**{**vars(other), "figures": figures})], SIZES, 200, 1)
    assert f"Not inferior by more than 0.02, the margin for depth, in {held} of the 4 figures" in text
