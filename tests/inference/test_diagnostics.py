"""Diagnostics of a fit: a collapsed posterior, and the epoch that was kept."""

import json

import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.inference.diagnostics import diagnostics
from pyro_mmnorm.inference.elbo import elbo_terms
from pyro_mmnorm.inference.evidence import latent_table


def fitted(cohort, *, members=1, **config):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), members=members)
    return model, mm.fit(model, cohort.train, mm.TrainConfig(**{"epochs": 2, **config}), progress=False)


def test_the_figures_are_those_of_the_latent_table_and_of_the_elbo(cohort):
    model, history = fitted(cohort, members=2)
    batch = model.preprocess(cohort.calibrate)
    figures = json.loads(json.dumps(diagnostics(model, history, batch)))
    table, (logs, kl) = latent_table(model, batch), elbo_terms(model, batch, 16)
    assert figures["active_units"] == table.groupby("member")["active"].sum().tolist()
    assert figures["kl"] == pytest.approx(float(kl.mean()))
    assert figures["log_likelihood"] == pytest.approx({m: float(x.mean()) for m, x in logs.items()})
    assert sum(figures["share_of_precision"].values()) == pytest.approx(1, abs=1e-6)
    assert set(figures["share_of_precision"]) == {"prior", "cortical", "hippocampal"}
    assert (figures["people"], figures["members"], figures["latents"]) == (len(batch), 2, 3)
    assert figures["warning"] is None


def test_a_posterior_that_is_equal_for_all_people_has_collapsed(cohort):
    model, history = fitted(cohort, members=2)
    batch = model.preprocess(cohort.calibrate)
    with torch.no_grad():
        for parameter in model.encoders.parameters():
            parameter[0] = 0.0  # of the first member: every expert is constant
    figures = diagnostics(model, history, batch)
    assert figures["active_units"][0] == 0 < figures["active_units"][1]
    assert "0 of 3 latents active in 1 of 2 members: the posterior has collapsed" in figures["warning"]


@pytest.mark.parametrize(
    ("config", "best"),
    [
        ({"learning_rate": 1.0}, 0),  # steps so large that no epoch beats the linear start
        ({"start": "random", "warmup_epochs": 0}, 2),  # every epoch beats the one before
        ({"early_stopping": False, "learning_rate": 1.0}, 2),  # no validation: the last weights are kept
    ],
)
def test_the_epoch_that_was_kept_is_reported(cohort, config, best):
    model, history = fitted(cohort, **config)
    figures = diagnostics(model, history, model.preprocess(cohort.calibrate))
    assert figures["best_epoch"] == [best]
    assert figures["stayed_at_start"] == [best == 0]
    assert figures["epochs"] == 2


def test_the_history_has_figures_of_each_member(cohort):
    model, history = fitted(cohort, members=3, start="random")
    losses = history.filter(regex=r"^validation_loss_member_\d$")
    assert losses.shape == (2, 3)
    assert history["validation_loss"].to_numpy() == pytest.approx(losses.mean(axis=1).to_numpy(), rel=1e-5)
    kept = diagnostics(model, history, model.preprocess(cohort.calibrate))["best_epoch"]
    assert kept == [int(x) for x in losses.to_numpy().argmin(0) + 1]
