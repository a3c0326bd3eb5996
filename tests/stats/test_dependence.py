"""Residual correlations between modalities: the matrix by hand, its null, and the p-value of permutations."""

import numpy as np
import pytest

from pyro_mmnorm.stats.dependence import FEWEST_PAIRS, between_modalities

MODALITY = np.array(list("aab"))


def checks(z, modality=MODALITY, **options):
    return between_modalities(z, modality, rng=np.random.default_rng(1), permutations=19, repeats=40, **options)


def test_the_statistics_are_those_of_the_correlation_matrix():
    z = np.random.default_rng(0).normal(size=(200, 3)) + 0.8 * np.random.default_rng(2).normal(size=(200, 1))
    r = np.corrcoef(z.T)
    between = np.array([[0, 0, r[0, 2]], [0, 0, r[1, 2]], [r[0, 2], r[1, 2], 0]])
    found = checks(z, regions=np.array(["x", "y", "w"]))
    assert found["largest_r"]["value"] == pytest.approx(np.abs(between).max())
    assert found["share_above_0.1"]["value"] == pytest.approx((np.abs(r[:2, 2]) > 0.1).mean())
    assert found["first_eigenvalue"]["value"] == pytest.approx(np.linalg.eigvalsh(between)[-1])
    assert found["largest_r"]["pair"] == f"{'xy'[int(abs(r[1, 2]) > abs(r[0, 2]))]} and w"
    for one in found.values():
        assert one["n"] == 200
        assert 0 <= one["low"] <= one["value"] <= one["high"]
    assert found["first_eigenvalue"]["p"] == pytest.approx(1 / 20)  # larger than in all 19 permutations


def test_unobserved_cells_are_left_out_pairwise():
    z = np.random.default_rng(0).normal(size=(100, 3))
    z[:, 1] += 0.5 * z[:, 2]
    z[:30, 0], z[90:, 2] = np.nan, np.nan
    centred = z - np.nanmean(z, 0)
    r = []
    for j in (0, 1):
        both = np.isfinite(z[:, [j, 2]]).all(1)
        x, y = centred[both, j], centred[both, 2]
        r.append(abs(x @ y) / np.sqrt((x @ x) * (y @ y)))
    found = checks(z)
    assert found["largest_r"]["value"] == pytest.approx(max(r))
    assert found["share_above_0.1"]["value"] == np.mean(np.array(r) > 0.1) == 0.5


@pytest.mark.parametrize(("n", "known"), [(20, True), (19, False)])
def test_pairs_of_regions_need_twenty_people(n, known):
    assert FEWEST_PAIRS == 20
    found = checks(np.random.default_rng(0).normal(size=(n, 3)))
    assert bool(found) is known
    if known:
        assert found["largest_r"]["value"] > 0


def test_one_modality_has_nothing_to_compare():
    assert checks(np.random.default_rng(0).normal(size=(50, 3)), np.array(list("aaa"))) == {}


def test_independent_modalities_are_within_the_null_and_their_intervals_start_at_zero():
    """60 cohorts of 60 people: p <= .05 in 3 on average; more than 9 has a probability of 1 in 1,000."""
    p = [
        between_modalities(
            np.random.default_rng(seed).normal(size=(60, 3)), MODALITY, rng=np.random.default_rng(seed),
            permutations=19, repeats=2,
        )["first_eigenvalue"]["p"]
        for seed in range(60)
    ]  # fmt: skip
    assert sum(value <= 0.05 for value in p) <= 9
    assert min(p) >= 1 / 20
