"""Refinement: the exact mean-field posterior of a linear model, for any missing pattern."""

import itertools
import math

import numpy as np
import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.inference.initialisation import start_linear
from pyro_mmnorm.inference.refine import _curvature, _loss, _noise, refined


@pytest.fixture
def linear(cohort):
    """A linear model at its factor-analysis start, in float64, and held-out people with holes."""
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=())
    whole = model.preprocess(cohort.train)
    start_linear(model, whole, torch.arange(len(whole))[None])
    batch = model.preprocess(cohort.test).double()
    batch.observed["hippocampal"][::3] = False
    batch.observed["cortical"][1::3, :8] = False
    return model.double(), batch


def exact(model, batch, i):
    """Mean and mean-field variance of person i's Gaussian posterior."""
    precision, pull = np.eye(3), np.zeros(3)
    c = batch.covariates[i].numpy()
    for m, likelihood in model.likelihoods.items():
        w, b = likelihood.net.skip.weight.detach().numpy(), likelihood.net.skip.bias.detach().numpy()[0]
        seen, noise = batch.observed[m][i].numpy(), likelihood.log_scale.detach().exp().square().numpy()[0]
        residual = batch.values[m][i].numpy() - b - c @ w[3:]
        scaled = np.where(seen, w[:3] / noise, 0)
        precision, pull = precision + scaled @ w[:3].T, pull + scaled @ residual
    return np.linalg.solve(precision, pull), 1 / np.diag(precision)


def test_in_a_linear_model_a_few_steps_give_the_exact_mean_field_posterior(linear):
    model, batch = linear
    q = refined(model, batch, 4)
    want = [exact(model, batch, i) for i in range(len(batch))]
    np.testing.assert_allclose(q.mean, np.stack([mean for mean, _ in want]), atol=1e-6)
    np.testing.assert_allclose(q.variance, np.stack([v for _, v in want]), rtol=1e-6)
    away = np.abs(model.posterior(batch).mean.detach().numpy() - q.mean.numpy()).max(1)
    assert away[2::3].max() < 1e-3  # complete people: the product of experts is exact
    assert np.median(away[::3]) > 0.02  # without a modality it is not


def test_steps_end_when_no_person_has_anything_to_gain(linear, monkeypatch):
    model, batch = linear
    calls = []
    monkeypatch.setattr("pyro_mmnorm.inference.refine._loss", lambda *x: calls.append(1) or _loss(*x))
    settled = refined(model, batch, 20)
    assert len(calls) == 3  # the encoders' output, the Laplace scale, and the one step that a linear model needs
    monkeypatch.setattr("pyro_mmnorm.inference.refine.SETTLED", -1.0)
    further = refined(model, batch, 20)
    assert len(calls) == 3 + 21
    torch.testing.assert_close(settled.loc, further.loc, rtol=0, atol=1e-9)


def test_no_step_lowers_the_elbo_of_any_person(cohort):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), likelihood="normal", prior="mixture")
    mm.fit(model, cohort.train, mm.TrainConfig(epochs=3, start="random", learning_rate=0.05), progress=False)
    batch = model.preprocess(cohort.test)
    losses = []
    for steps in (0, 1, 3, 10):
        q = refined(model, batch, steps)
        losses.append(_loss(model, batch, torch.stack([q.loc, q.scale.log()]), _noise(q, 0))[0])
    assert all((later <= earlier + 1e-4).all() for earlier, later in itertools.pairwise(losses))
    assert losses[-1].mean() < losses[0].mean() - 0.1


def test_the_result_depends_neither_on_other_people_nor_on_hidden_cells(linear):
    model, batch = linear
    whole = refined(model, batch, 10)
    part = refined(model, batch[slice(3, 9)], 10)
    torch.testing.assert_close(part.mean, whole.mean[3:9], rtol=1e-9, atol=1e-9)
    hidden = batch.with_hidden({"cortical": torch.ones_like(batch.observed["cortical"])})
    torch.testing.assert_close(refined(model, hidden, 10).mean, refined(model, batch.without("cortical"), 10).mean)


def test_members_are_refined_in_parallel(cohort):
    crowd = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), members=2, seed=3)
    alone = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), seed=4)
    batch = crowd.preprocess(cohort.test)
    torch.testing.assert_close(
        refined(crowd, batch, 5).mean[1], refined(alone, batch, 5).mean, rtol=1e-4, atol=1e-4
    )  # float32, sums in another order


def test_a_mixture_cannot_be_refined(cohort):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, fusion="moe")
    with pytest.raises(TypeError, match="a posterior of type DiagonalMixture; expected DiagonalNormal"):
        refined(model, model.preprocess(cohort.test), 5)


def test_a_step_is_shortened_after_a_failure_and_doubled_up_to_one_after_a_success(cohort, monkeypatch):
    """Losses by script; the gradient is 1 everywhere and H = 4 I, so a whole step is 1/4 in the mean, 1/2 in log SD."""
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=())
    batch = model.preprocess(cohort.test)
    losses, places = iter([10.0, 11, 12, 13, 9, 8, 7, 6, 5, 4]), []

    def loss(_model, _batch, at, _noise):
        places.append(at)
        return torch.full(at.shape[1:-1], next(losses)), torch.ones_like(at)

    n, k = len(batch), 3
    monkeypatch.setattr(
        "pyro_mmnorm.inference.refine._curvature", lambda *_: (torch.eye(k).expand(n, k, k), torch.full((n, k), 4.0))
    )
    monkeypatch.setattr("pyro_mmnorm.inference.refine._loss", loss)
    refined(model, batch, 9)
    start, first, *rest = places
    torch.testing.assert_close(first[0], start[0])
    torch.testing.assert_close(first[1], torch.full((n, k), -math.log(2)))  # SD of the Laplace approximation, 4^-1/2
    at = start
    for place, length, accepted in zip(
        rest, (1, 0.3, 0.09, 0.18, 0.36, 0.72, 1, 1), (0, 0, 1, 1, 1, 1, 1, 1), strict=True
    ):
        torch.testing.assert_close(at[0] - place[0], torch.full((n, k), length / 4))
        torch.testing.assert_close(at[1] - place[1], torch.full((n, k), length / 2))
        at = place if accepted else at


def test_settled_posteriors_are_accurate_to_1e_7_sds(cohort, monkeypatch):
    """Student's t regions: not quadratic, so that each step only reduces the error."""
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(), likelihood="student_t")
    whole = model.preprocess(cohort.train)
    start_linear(model, whole, torch.arange(len(whole))[None])
    model, batch = model.double(), model.preprocess(cohort.test).double()
    settled = refined(model, batch, 400)
    monkeypatch.setattr("pyro_mmnorm.inference.refine.SETTLED", 0.0)
    exact = refined(model, batch, 400)
    assert ((settled.loc - exact.loc).abs() / exact.scale).max() < 2e-7
    assert (model.posterior(batch).mean - exact.loc).abs().max() > 1e-3


def test_the_curvature_is_at_least_that_of_the_prior(cohort):
    """Student's t is concave near its mode and convex in its tails, where the curvature of the misfit is negative."""
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(), likelihood="student_t")
    whole = model.preprocess(cohort.train)
    start_linear(model, whole, torch.arange(len(whole))[None])
    batch = whole[slice(0, 4)]
    far = batch.replace_unchecked(values={m: torch.full_like(x, 1e3) for m, x in batch.values.items()})
    values = [_curvature(model, people, torch.zeros(4, 3))[1] for people in (batch, far)]
    assert (values[0] > 1.5).any()
    torch.testing.assert_close(values[1], torch.ones(4, 3), atol=1e-3, rtol=0)
    assert (values[1] >= 1).all()
