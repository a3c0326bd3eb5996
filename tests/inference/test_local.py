"""The rounds of kind `local`: which cells are flagged in each round, on hand-made scores and on models of known z."""

import numpy as np
import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.inference.exact import Exact
from pyro_mmnorm.inference.local import local_rounds
from pyro_mmnorm.inference.predictive import Predictive


def rounds(z_of, seen):
    """Results of `local_rounds`, and the flags (as lists of cells) at which each person was scored in each round."""
    calls = []

    def score(rows, flagged):
        calls.append({int(i): f.nonzero().ravel().tolist() for i, f in zip(rows, flagged, strict=True)})
        z = torch.stack(
            [torch.as_tensor(z_of(int(i), f), dtype=torch.float64) for i, f in zip(rows, flagged, strict=True)]
        )
        return z, torch.zeros_like(z), torch.ones_like(z)

    found, flagged = local_rounds(score, seen)
    return found, flagged, calls


def with_values(d, **cells):
    z = np.full(d, 0.5)
    for name, value in cells.items():
        z[int(name[1:])] = value
    return z


def test_the_three_worst_of_a_hundred_regions_are_flagged_per_round_if_beyond_2_8():
    z = with_values(100, c5=10, c6=-9, c7=8, c8=-7, c9=6, c10=2.85, c11=2.75)
    found, flagged, calls = rounds(lambda *_: z, torch.ones(1, 100, dtype=torch.bool))
    assert calls == [{0: []}, {0: [5, 6, 7]}, {0: [5, 6, 7, 8, 9, 10]}]
    assert flagged.nonzero()[:, 1].tolist() == [5, 6, 7, 8, 9, 10]
    assert np.array_equal(found.flagged, flagged)
    assert np.array_equal(found.z[0], z)


@pytest.mark.parametrize(("regions", "most"), [(33, 1), (34, 2), (66, 2), (67, 3), (5, 1)])
def test_the_number_flagged_per_round_is_three_per_cent_rounded_up(regions, most):
    z = np.linspace(3, 4, regions)
    *_, calls = rounds(lambda *_: z, torch.ones(1, regions, dtype=torch.bool))
    assert len(calls[1][0]) == most


def test_a_flagged_cell_is_admitted_again_below_2_and_not_above():
    def z(_, flagged):
        return with_values(100, c1=5, c2=-5) if not flagged.any() else with_values(100, c1=1.95, c2=-2.05)

    _, flagged, calls = rounds(z, torch.ones(1, 100, dtype=torch.bool))
    assert calls == [{0: []}, {0: [1, 2]}, {0: [2]}]
    assert flagged.nonzero()[:, 1].tolist() == [2]


def test_there_are_eight_rounds_after_the_first_and_only_for_people_whose_flags_change():
    def z(person, flagged):
        if person == 1:
            return with_values(100)
        return with_values(100, c1=0.5 if flagged[1] else 5)  # flagged and admitted again without end

    found, flagged, calls = rounds(z, torch.ones(3, 100, dtype=torch.bool))
    assert len(calls) == 9
    assert [sorted(call) for call in calls] == [[0, 1, 2]] + [[0, 2]] * 8
    assert calls[-1] == {0: [], 2: []}  # the flags of the results
    assert not found.flagged.any()
    assert flagged.nonzero().tolist() == [[0, 1], [2, 1]]  # those after the last round


@pytest.mark.parametrize("regions", [9, 10])
def test_at_most_half_of_the_regions_are_flagged(regions):
    _, flagged, _ = rounds(
        lambda *_: np.full(regions, 5.0) + np.arange(regions), torch.ones(1, regions, dtype=torch.bool)
    )
    assert int(flagged.sum()) == regions // 2


def test_an_unobserved_cell_is_never_flagged():
    seen = torch.ones(1, 100, dtype=torch.bool)
    seen[0, 5] = False
    _, flagged, calls = rounds(lambda *_: with_values(100, c5=np.nan, c6=4), seen)
    assert flagged.nonzero()[:, 1].tolist() == [6]
    assert len(calls) == 2


PLANTED = {0: 9.0, 1: -8.0, 2: 7.0, 3: 2.85, 4: -2.75}


def planted(model, batch, expected, sd):
    """People whose exact z are those of PLANTED, and 0.3 in all other regions."""
    z = torch.full_like(expected, 0.3)
    for j, value in PLANTED.items():
        z[:, j] = value
    sizes = [x.shape[-1] for x in batch.values.values()]
    values = dict(zip(batch.values, (expected + z * sd).split(sizes, -1), strict=True))
    return batch.replace_unchecked(values={m: x.to(batch.covariates) for m, x in values.items()}), z


def test_the_linear_baseline_flags_the_cells_beyond_2_8_one_per_round(cohort, monkeypatch):
    """Regression: regions are independent, so z does not depend on the flags; 17 regions: one per round."""
    model = mm.LinearGaussian.for_cohort(cohort, "regression")
    batch = model.preprocess(cohort.test)
    people, z = planted(model, batch, model.expected(batch), model.noise.sqrt())
    given, flagged = model.given, []
    monkeypatch.setattr(model, "given", lambda r, visible: flagged.append((~visible).sum(1)) or given(r, visible))
    found = Exact(model=model)(people, "local")
    assert np.array_equal(found.flagged.nonzero()[1].reshape(len(batch), -1), np.tile([0, 1, 2, 3], (len(batch), 1)))
    assert [set(n.tolist()) for n in flagged] == [{0}, {1}, {2}, {3}, {4}]
    np.testing.assert_allclose(found.z, z, atol=1e-5)  # values in float32


@pytest.mark.parametrize("spread", [None, 2.0])
def test_the_vae_flags_the_cells_beyond_2_8_in_units_of_their_spread(cohort, spread):
    """Decoders that ignore the latents: z is known, and is divided by the spread as long as a cell is not flagged."""
    model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=())
    with torch.no_grad():
        for likelihood in model.likelihoods.values():
            likelihood.net.skip.weight[:2] = 0
    batch = model.preprocess(cohort.test)
    none = torch.zeros(len(batch), 2)
    normals = [model.likelihood(m, none, batch) for m in model.likelihoods]
    expected, sd = (torch.cat([getattr(x, name).detach().double() for x in normals], -1) for name in ("loc", "scale"))
    people, z = planted(model, batch, expected, sd)
    wide = None if spread is None else np.full(17, spread)
    found = Predictive(model=model, draws=4, spread=wide)(people, "local")
    cells = [0, 1, 2, 3] if spread is None else [0, 1, 2]
    assert np.array_equal(found.flagged.nonzero()[1].reshape(len(batch), -1), np.tile(cells, (len(batch), 1)))
    want = np.where(found.flagged, z, z / (spread or 1.0))
    np.testing.assert_allclose(found.z, want, atol=1e-4)
