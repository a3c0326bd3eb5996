"""The product of experts against its closed form and against numerical integration."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from pyro_mmnorm.fusion import poe

finite = st.floats(-5, 5)
positive = st.floats(0.1, 5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(finite, positive, st.booleans()), min_size=1, max_size=4))
def test_poe_is_the_normalised_product_of_the_present_experts_and_the_prior(experts):
    loc, scale, present = (torch.tensor(part) for part in zip(*experts, strict=True))
    got = poe(loc.double()[:, None], scale.double()[:, None], present)

    grid = np.linspace(-12, 12, 4001)
    log = stats.norm.logpdf(grid) + sum(stats.norm.logpdf(grid, m, s) for m, s, here in experts if here)
    density = np.exp(log - log.max())  # lifted, so that products of far experts do not underflow
    total = integrate.simpson(density, x=grid)
    mean = integrate.simpson(grid * density, x=grid) / total
    variance = integrate.simpson((grid - mean) ** 2 * density, x=grid) / total
    assert got.mean.item() == pytest.approx(mean, abs=1e-6)  # the grid's own error
    assert got.variance.item() == pytest.approx(variance, abs=1e-6)


def test_without_experts_the_prior_is_left():
    q = poe(torch.full((3, 2), 9.0), torch.full((3, 2), 0.1), torch.zeros(3, dtype=torch.bool))
    assert q.mean.tolist() == [0, 0]
    assert q.variance.tolist() == [1, 1]


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 0.0])
def test_an_absent_expert_drops_out_whatever_its_numbers_and_its_gradient_is_zero(junk):
    loc = torch.tensor([[1.0], [junk]], requires_grad=True)
    scale = torch.tensor([[0.5], [junk]], requires_grad=True)
    q = poe(loc, scale, torch.tensor([True, False]))
    alone = poe(loc[:1], scale[:1], torch.tensor([True]))
    assert torch.equal(q.mean, alone.mean)
    q.mean.sum().backward()
    assert torch.isfinite(loc.grad).all()
    assert loc.grad[1].item() == 0
