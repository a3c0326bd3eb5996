"""Training objective: equality with Pyro's loss, free bits, views of modalities, one generator per member."""

import dataclasses

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from pyro.poutine.indep_messenger import IndepMessenger

import pyro_mmnorm as mm
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.distributions.latent import kl_per_latent
from pyro_mmnorm.inference.elbo import MeanFieldELBO, OwnNoise, elbo_terms, hide_cells, subsampled


def small(cohort, **parts):
    return mm.MMVAE.for_cohort(cohort, **{"latent_dim": 3, "hidden": (8,), **parts})


def generators(*seeds):
    return [torch.Generator().manual_seed(s) for s in seeds]


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("beta", [0.3, 1.0])
@pytest.mark.parametrize("parts", [{}, {"fusion": "mopoe"}, {"prior": "mixture"}, {"prior": "flow", "fusion": "gpoe"}])
def test_the_fast_elbo_and_its_gradients_equal_those_of_pyro(cohort, members, beta, parts):
    model = small(cohort, members=members, modality_weights={"cortical": 0.4}, **parts)
    batch = model.preprocess(cohort.train)
    batch.observed["cortical"][3, 1] = False
    results = []
    for elbo, plate in ((MeanFieldELBO(), IndepMessenger), (TraceMeanField_ELBO(), pyro.plate)):
        torch.manual_seed(0)
        model.zero_grad()
        loss = elbo.differentiable_loss(model.generate, model.infer, batch, beta=beta, plate=plate)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)  # float32 sums in another order


@pytest.mark.parametrize(
    "parts",
    [
        {"fusion": "gpoe", "prior": "mixture"},
        {"likelihood": "student_t", "private_dim": 1},
        {"likelihood": "mvn_lowrank", "prior": "flow"},
        {"likelihood": "normal_hetero", "prior": "conditional", "beta": 0.5},
    ],
    ids=str,
)
def test_gradients_of_the_elbo_are_finite_differences(cohort, parts):
    """In float64; gradients of mixture draws (moe, mopoe) are unbiased only, see test_latent.py."""
    model = small(cohort, hidden=(4,), **parts).double()
    batch = model.preprocess(cohort.train)[slice(0, 12)].double()
    elbo = MeanFieldELBO()

    def loss():
        with OwnNoise(generators(0)):
            return elbo.differentiable_loss(model.generate, model.infer, batch)

    loss().backward()
    for parameter in model.parameters():
        flat = parameter.data.view(-1)
        i, step = flat.numel() // 2, 1e-5
        values = []
        for sign in (1, -1):
            flat[i] += sign * step
            values.append(loss().item())
            flat[i] -= sign * step
        want = (values[0] - values[1]) / (2 * step)
        assert parameter.grad.view(-1)[i].item() == pytest.approx(want, rel=1e-5, abs=1e-5)


def test_below_the_free_bits_the_kl_of_a_latent_is_a_constant(cohort):
    model = small(cohort)
    batch = model.preprocess(cohort.train)
    q, p = model.posterior(batch), model.prior_of(batch)
    mean = kl_per_latent(q, p).mean(0)
    floor = mean.sort().values[:2].mean().item()  # between the least and the next
    losses = []
    for bits in (0.0, floor):
        torch.manual_seed(0)
        losses.append(MeanFieldELBO(bits).differentiable_loss(model.generate, model.infer, batch).item())
    want = len(batch) * torch.clamp(floor - mean, min=0).sum().item()
    assert losses[1] - losses[0] == pytest.approx(want, rel=1e-3)  # float32 sums of about 3,000


def test_views_are_all_modalities_each_alone_and_random_subsets(cohort):
    batch = small(cohort).preprocess(cohort.train)
    views = subsampled(batch, 2, generators(0))
    n = len(batch)
    assert len(views) == 5 * n
    seen = torch.stack([views.observed[m].any(-1) for m in batch.values], -1).reshape(5, n, 2)
    assert seen[:3].float().mean(1).tolist() == [[1, 1], [1, 0], [0, 1]]
    assert seen[3:].any(-1).all()
    torch.testing.assert_close(views.values["cortical"][n : 2 * n], batch.values["cortical"])


def test_the_loss_of_views_is_the_mean_of_elbos_of_each(cohort):
    model = small(cohort).double()
    batch = model.preprocess(cohort.train)[slice(0, 9)].double()
    posterior = model.posterior(batch)

    def kl_and_expected(view):
        """KL minus log-likelihood at the posterior mean, without noise."""
        q = model.posterior(view)
        logs = sum(
            x.log_prob(values).sum()
            for x, values in (model.observed_likelihood(m, q.mean, view) for m in model.likelihoods)
        )
        return torch.distributions.kl_divergence(q, model.prior_of(view).expand(q.batch_shape)).sum() - logs

    single = [batch.without(*(set(batch.values) - {m})) for m in batch.values]
    want = sum(kl_and_expected(view) for view in [batch, *single]) / 3
    got = kl_and_expected(subsampled(batch, 0, generators(0))) / 3
    torch.testing.assert_close(got, want)
    assert posterior.batch_shape == (9,)


def test_hidden_cells_are_masked_from_the_encoders_but_scored(cohort):
    model = small(cohort)
    batch = model.preprocess(cohort.train)
    hidden = hide_cells(batch, 0.3, generators(0))
    share = torch.cat([~hidden.visible(m) for m in batch.values], -1).double().mean()
    assert share == pytest.approx(0.3, abs=0.03)  # 2,200 cells: 3 standard errors
    assert torch.equal(hidden.observed["cortical"], batch.observed["cortical"])
    wild = {m: torch.where(hidden.visible(m), x, 1e30) for m, x in batch.values.items()}
    torch.testing.assert_close(
        model.posterior(dataclasses.replace(hidden, values=wild)).mean, model.posterior(hidden).mean, rtol=0, atol=0
    )


def test_members_draw_the_values_of_single_models(cohort):
    crowd, alone = small(cohort, members=2, seed=4), small(cohort, seed=5)
    batch = crowd.preprocess(cohort.train)
    with pyro.poutine.trace() as together, OwnNoise(generators(1, 2)):
        crowd.infer(batch)
    with pyro.poutine.trace() as lone, OwnNoise(generators(2)):
        alone.infer(batch)
    torch.testing.assert_close(together.trace.nodes["z"]["value"][1], lone.trace.nodes["z"]["value"])


def test_a_user_defined_posterior_is_sampled_by_pyro(cohort):
    def fuse(loc, scale, present):
        return dist.MultivariateNormal(loc.mean(-2), torch.eye(loc.shape[-1]))

    model = small(cohort, fusion=fuse)
    batch = model.preprocess(cohort.train)
    with OwnNoise(generators(0)):
        assert torch.isfinite(MeanFieldELBO().differentiable_loss(model.generate, model.infer, batch))
    logs, kl = elbo_terms(model, batch, 3)
    assert set(logs) == {"cortical", "hippocampal"}
    assert kl.shape == (len(batch),)


def test_a_random_subset_has_each_modality_with_probability_one_half_and_at_least_one():
    """P(present) = 1/2 + P(all three keys above 1/2) / 3 = 13/24; 9,000 draws: 4 standard errors are 0.021."""
    values = {m: torch.ones(1, 1) for m in "abc"}
    batch = Batch.from_arrays(
        {m: x.numpy() for m, x in values.items()}, {m: x.bool().numpy() for m, x in values.items()}, np.zeros((1, 0))
    )
    views = subsampled(batch, 3000, generators(0))
    seen = torch.cat([views.observed[m] for m in "abc"], -1)
    assert seen[:4].tolist() == [[True] * 3, [True, False, False], [False, True, False], [False, False, True]]
    assert seen[4:].any(-1).all()
    assert seen[4:].double().mean() == pytest.approx(13 / 24, abs=0.021)


def test_elbo_terms_are_means_over_draws(cohort):
    """A posterior of SD 0 in effect: every draw gives the log-likelihood at the mean, and the KL is analytic."""
    model = small(cohort)
    batch = model.preprocess(cohort.train)
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder.net.skip.bias[:, 3:] = -6.0  # log SD
    logs, kl = elbo_terms(model, batch, 5)
    q = model.posterior(batch)
    torch.testing.assert_close(kl, kl_per_latent(q, model.prior_of(batch)).sum(-1))
    for m, log in logs.items():
        x, values = model.observed_likelihood(m, q.mean, batch)
        torch.testing.assert_close(log, x.log_prob(values), rtol=0.01, atol=0.05)
