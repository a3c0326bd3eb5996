"""Held-out evidence against its exact value; information in the latents."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.inference.evidence import evidence, latent_table, log_evidence
from pyro_mmnorm.inference.initialisation import start_linear
from pyro_mmnorm.models.fusion import poe
from pyro_mmnorm.models.likelihoods import Gaussian
from pyro_mmnorm.models.priors import StandardNormal
from pyro_mmnorm.models.vae import MMVAE


def linear(cohort, **parts):
    model = mm.MMVAE.for_cohort(cohort, **{"latent_dim": 3, "hidden": (), **parts})
    batch = model.preprocess(cohort.train)
    start_linear(model, batch, torch.arange(len(batch)).expand(model.members, -1))
    return model


def exact_evidence(model, batch):
    """The observed cells of a linear Gaussian model are normal."""
    out = np.zeros(len(batch))
    c = batch.covariates.numpy()
    nets = [(m, p.net.skip.weight.detach().numpy(), p.net.skip.bias.detach().numpy(), p.log_scale) for m, p in
            model.likelihoods.items()]  # fmt: skip
    w = np.concatenate([weight[:3] for _, weight, _, _ in nets], 1)
    mean = np.concatenate([bias + c @ weight[3:] for _, weight, bias, _ in nets], 1)
    noise = np.concatenate([log.detach().exp().square().numpy()[0] for *_, log in nets])
    x = np.concatenate([batch.values[m].numpy() for m, *_ in nets], 1)
    seen = np.concatenate([batch.observed[m].numpy() for m, *_ in nets], 1)
    covariance = w.T @ w + np.diag(noise)
    for i, s in enumerate(seen):
        out[i] = stats.multivariate_normal(mean[i, s], covariance[np.ix_(s, s)]).logpdf(x[i, s])
    return out


def test_the_bound_reaches_the_exact_evidence_for_incomplete_people_too(cohort):
    values = {m: frame.copy() for m, frame in cohort.values.items()}
    values["hippocampal"].iloc[::3] = np.nan
    values["cortical"].iloc[1::3, :8] = np.nan
    holes = mm.Cohort(**{**vars(cohort), "values": values}).test
    model = linear(cohort)
    want = exact_evidence(model, model.preprocess(holes))
    loose, tight = (log_evidence(model, holes, draws=draws, refine=30).to_numpy() for draws in (4, 4096))
    assert np.abs(tight - want).max() < 0.05  # nats of about 20; the error of 4,096 draws
    assert (want - loose).mean() > (want - tight).mean()


def test_members_are_averaged_as_densities(cohort):
    crowd = linear(cohort, members=2)
    lone = log_evidence(linear(cohort), cohort.test, draws=64)
    np.testing.assert_allclose(log_evidence(crowd, cohort.test, draws=64), lone, atol=1e-3)  # two equal members


def test_a_model_without_preprocessing_has_no_cohort(cohort):
    model = linear(cohort)
    model.preprocess = None
    with pytest.raises(InputError, match="log_evidence: a model without preprocessing"):
        log_evidence(model, cohort.test)


def test_shares_of_precision_sum_to_one_and_planted_latents_are_active(cohort):
    model = linear(cohort, latent_dim=5)  # three factors were planted
    table = latent_table(model, model.preprocess(cohort.train))
    shares = table.filter(like="share_").sum(axis=1)
    np.testing.assert_allclose(shares, 1, atol=1e-5)
    assert table["active"].sum() >= 3
    assert (table["kl"] >= -1e-6).all()
    assert set(table["block"]) == {"shared"}


def test_private_latents_have_no_share_of_other_experts(cohort):
    model = linear(cohort, latent_dim=2, private_dim=1, members=2)
    table = latent_table(model, model.preprocess(cohort.train))
    assert len(table) == 8
    own = table[table["block"] == "cortical"]
    assert (own["share_hippocampal"] == 0).all()
    assert (own["share_cortical"] > 0).all()
    np.testing.assert_allclose(table.filter(like="share_").sum(axis=1), 1, atol=1e-5)


class Measured(nn.Module):
    """An expert of two latents: the first two regions, with a precision of 1e8 or of 3."""

    def __init__(self, precision):
        super().__init__()
        self.precision = precision

    def forward(self, x, c):
        return x[..., :2], torch.full_like(x[..., :2], self.precision**-0.5)


def measured(precision, sd):
    """A model whose posterior means are known, and two people times 500 with these SDs of the first two regions."""
    likelihood = Gaussian(nn.Linear(2, 3), 3)
    model = MMVAE({"a": Measured(precision)}, {"a": likelihood}, poe, StandardNormal(2), latent_dim=2)
    x = torch.tensor([-1.0, 1.0]).repeat(500)[:, None] * torch.tensor([*sd, 0.0])
    seen = {"a": torch.ones(1000, 3, dtype=torch.bool)}
    return model, Batch(values={"a": x}, observed=seen, covariates=torch.zeros(1000, 0), index=torch.arange(1000))


def test_a_latent_is_active_above_a_variance_of_a_hundredth():
    table = latent_table(*measured(1e8, (0.0095**0.5, 0.0105**0.5)))
    assert table["active"].tolist() == [False, True]
    np.testing.assert_allclose(table["variance"], [0.0095, 0.0105], rtol=2e-3)


def test_shares_of_precision_and_kl_are_those_written_by_hand():
    """Precision 3 of the expert and 1 of the prior; KL of N(3 x / 4, 1/4) to N(0, 1), by 64 draws of the prior."""
    table = latent_table(*measured(3.0, (1.0, 2.0)))
    np.testing.assert_allclose(table["share_prior"], 0.25, rtol=1e-6)
    np.testing.assert_allclose(table["share_a"], 0.75, rtol=1e-6)
    exact = 0.5 * (0.25 + (0.75 * np.array([1.0, 2.0])) ** 2 - 1 - np.log(0.25))
    np.testing.assert_allclose(table["kl"], exact, rtol=0.05)


def test_the_evidence_does_not_depend_on_the_weights_of_training(cohort):
    plain = linear(cohort)
    weighted = linear(cohort, beta=3.0, modality_weights={"hippocampal": 0.2})
    np.testing.assert_array_equal(
        log_evidence(weighted, cohort.test, draws=8), log_evidence(plain, cohort.test, draws=8)
    )


def test_the_evidence_does_not_depend_on_the_size_of_chunks(cohort, monkeypatch):
    model = linear(cohort, members=2)
    whole = log_evidence(model, cohort.test, draws=16)
    monkeypatch.setattr("pyro_mmnorm.inference.evidence.BUDGET_CELLS", 16 * 2 * 12 * 3)  # three people at a time
    np.testing.assert_allclose(log_evidence(model, cohort.test, draws=16), whole, rtol=1e-5)


def test_the_evidence_of_a_linear_model_is_exact(cohort):
    model = mm.LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=2)
    batch = model.preprocess(cohort.test)
    nats = evidence(model, batch, draws=1, refine=0, seed=0)
    np.testing.assert_array_equal(nats, model.log_evidence(batch).numpy())
    vae = linear(cohort)
    nats = evidence(vae, vae.preprocess(cohort.test), draws=8, refine=0, seed=3)
    np.testing.assert_array_equal(nats, log_evidence(vae, cohort.test, draws=8, seed=3))


def test_the_prior_share_of_a_private_latent_is_that_of_its_own_expert(cohort):
    model = linear(cohort, latent_dim=2, private_dim=1)
    batch = model.preprocess(cohort.train)
    table = latent_table(model, batch)
    with torch.no_grad():
        _, scale, _ = model.experts(batch)
    want = (1 / (1 + scale[..., 2].pow(-2))).mean(0)
    np.testing.assert_allclose(table["share_prior"][table["block"] != "shared"], want, rtol=1e-5)
