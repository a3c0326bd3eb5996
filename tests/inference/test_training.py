"""fit(): learning, early stopping, restored weights, errors, and no global side effects."""

import dataclasses
import logging

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from scipy import stats

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.inference import training
from pyro_mmnorm.inference.elbo import elbo_terms
from pyro_mmnorm.inference.initialisation import start_linear


def small(cohort, **parts):
    return mm.MMVAE.for_cohort(cohort, **{"latent_dim": 3, "hidden": (8,), **parts})


def test_training_lowers_the_validation_loss_in_the_history(cohort):
    model = small(cohort)
    history = mm.fit(model, cohort.train, mm.TrainConfig(epochs=40, start="random", learning_rate=0.01), progress=False)
    assert history["validation_loss"].iloc[-5:].mean() < history["validation_loss"].iloc[0] - 1
    expected = {"epoch", "loss", "validation_loss", "kl", "active_units", "beta", "seconds"}
    assert expected | {"log_likelihood_cortical", "log_likelihood_hippocampal"} <= set(history)
    assert np.isfinite(history.drop(columns="start")).all().all()


def test_the_linear_start_begins_where_a_random_start_ends(cohort):
    losses = {}
    for start, epochs in (("linear", 1), ("random", 60)):
        config = mm.TrainConfig(epochs=epochs, start=start, learning_rate=1e-6 if start == "linear" else 0.005)
        history = mm.fit(small(cohort), cohort.train, config, progress=False)
        losses[start] = history["validation_loss"].min()
    assert losses["linear"] < losses["random"] + 0.3


def test_the_best_weights_are_restored(cohort):
    model = small(cohort)
    config = mm.TrainConfig(epochs=40, patience=5, learning_rate=0.1, start="random", warmup_epochs=0)
    history = mm.fit(model, cohort.train, config, progress=False)  # steps so large that it does not settle
    batch = model.preprocess(cohort.train)
    _, validation = training._split_rows(len(batch), 1, mm.TrainConfig(), 0)
    logs, kl = elbo_terms(model, batch[validation[0]], training.VALIDATION_DRAWS)
    assert (kl - sum(logs.values())).mean().item() == pytest.approx(history["validation_loss"].min(), rel=1e-5)
    assert history["validation_loss"].idxmin() < len(history) - 1


def test_warm_up_raises_beta_linearly_from_above_zero():
    assert [training.rising(epoch, 4) for epoch in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert training.rising(0, 0) == 1.0


def test_no_validation_without_early_stopping(cohort):
    history = mm.fit(small(cohort), cohort.train, mm.TrainConfig(epochs=2, early_stopping=False), progress=False)
    assert "validation_loss" not in history
    assert len(history) == 2


def test_folds_leave_each_person_out_of_exactly_one_member():
    rows, validation = training._split_rows(103, 5, mm.TrainConfig(resample="folds"), 0)
    assert rows.shape[0] == validation.shape[0] == 5
    for own, held in zip(rows, validation, strict=True):
        assert not set(own.tolist()) & set(held.tolist())
    assert len(set(validation.flatten().tolist())) == validation.numel()


def test_bootstrap_members_have_different_samples():
    rows, validation = training._split_rows(100, 3, mm.TrainConfig(resample="bootstrap"), 0)
    assert len({tuple(r.tolist()) for r in rows}) == 3
    for own, held in zip(rows, validation, strict=True):
        assert not set(own.tolist()) & set(held.tolist())


def test_members_train_in_parallel(cohort):
    model = small(cohort, members=3)
    config = mm.TrainConfig(epochs=3, resample="folds")
    history = mm.fit(model, cohort.train, config, progress=False)
    assert np.isfinite(history.drop(columns="start")).all().all()
    assert model.posterior(model.preprocess(cohort.test)).batch_shape == (3, len(cohort.test))


@pytest.mark.parametrize(
    ("start", "parts"),
    [
        ("random", {}),
        ("linear", {}),
        pytest.param("random", {"fusion": "gpoe", "prior": "mixture"}, marks=pytest.mark.slow),
        pytest.param("random", {"fusion": "mopoe", "prior": "vamp", "likelihood": "student_t"}, marks=pytest.mark.slow),
        pytest.param("random", {"prior": "flow", "likelihood": "mvn_lowrank"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_members_trained_together_equal_single_models_after_a_hundred_steps(cohort, start, parts):
    """Initialisation, rows, hidden cells and noise have one generator per member: equal to 1e-5 after 100 steps."""
    config = mm.TrainConfig(
        epochs=13, batch_size=32, start=start, hide_cells=0.1, objective="subsampled", resample="bootstrap"
    )
    crowd = small(cohort, members=3, seed=7, **parts)
    history = mm.fit(crowd, cohort.train, config, seed=2, progress=False)
    assert len(history) == 13  # of 8 steps each
    for e in range(3):
        alone = small(cohort, seed=7 + e, **parts)
        mm.fit(alone, cohort.train, config, seed=2 + e, progress=False)
        for name, x in alone.state_dict().items():
            torch.testing.assert_close(crowd.state_dict()[name][e].reshape(x.shape), x, rtol=1e-5, atol=1e-5)


def test_each_member_may_have_its_own_beta_and_lambda(cohort):
    """Three members with different weights equal three single models with these weights."""
    betas, lambdas = [0.5, 1.0, 4.0], [0.0, 1.0, 2.0]
    config = mm.TrainConfig(epochs=3, start="random")
    crowd = small(cohort, members=3, beta=betas, modality_weights={"hippocampal": lambdas})
    mm.fit(crowd, cohort.train, config, progress=False)
    for e, (beta, weight) in enumerate(zip(betas, lambdas, strict=True)):
        alone = small(cohort, seed=e, beta=beta, modality_weights={"hippocampal": weight})
        mm.fit(alone, cohort.train, config, seed=e, progress=False)
        for name, x in alone.state_dict().items():
            torch.testing.assert_close(crowd.state_dict()[name][e], x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "parts",
    [
        {"fusion": "gpoe"},
        {"fusion": "moe"},
        {"fusion": "mopoe"},
        {"prior": "mixture"},
        {"prior": "vamp"},
        {"prior": "flow"},
        {"prior": "conditional"},
        {"prior": "vamp", "fusion": "mopoe", "members": 2},
        {"experts": "joint"},
        {"latent_dim": 2, "private_dim": 1},
        {"latent_dim": 0, "private_dim": 3},
        {"latent_dim": 2, "private_dim": 1, "fusion": "mopoe", "prior": {"name": "mixture", "components": 4}},
    ],
    ids=str,
)
def test_every_part_learns(cohort, parts):
    model = small(cohort, **parts)
    config = mm.TrainConfig(epochs=12, start="random", learning_rate=0.01, warmup_epochs=0)
    history = mm.fit(model, cohort.train, config, progress=False)
    assert history["validation_loss"].iloc[-3:].mean() < history["validation_loss"].iloc[0] - 1
    assert np.isfinite(history.drop(columns="start")).all().all()
    linear = mm.fit(small(cohort, **parts), cohort.train, mm.TrainConfig(epochs=1), progress=False)
    assert linear["validation_loss"].iloc[0] < history["validation_loss"].iloc[0]


def test_the_message_about_a_loss_that_is_not_finite_names_the_site(cohort):
    model = small(cohort)

    class Broken(torch.nn.Module):
        def forward(self, z, c):
            return pyro.distributions.Normal(z.new_full((*z.shape[:-1], 5), torch.nan), 1.0, validate_args=False)

    model.likelihoods["hippocampal"] = Broken()
    config = mm.TrainConfig(epochs=1, start="random", early_stopping=False)
    with pyro.validation_enabled(False), pytest.raises(FloatingPointError, match="epoch 1: site 'x_hippocampal'"):
        mm.fit(model, cohort.train, config, progress=False)


def test_fitting_changes_no_global_state(cohort):
    torch.manual_seed(11)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    settings = pyro.settings.get()
    mm.fit(small(cohort), cohort.train, mm.TrainConfig(epochs=1), progress=False)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    assert pyro.settings.get() == settings
    assert not list(pyro.get_param_store())


def test_a_model_it_cannot_train_is_refused(cohort):
    model = small(cohort)
    with pytest.raises(InputError, match="folds with 1 member"):
        mm.fit(model, cohort.train, mm.TrainConfig(resample="folds"), progress=False)
    model.encoders["cortical"].net.skip = None
    with pytest.raises(InputError, match="linear for networks without a skip path"):
        mm.fit(model, cohort.train, mm.TrainConfig(start="linear"), progress=False)
    model.preprocess = None
    with pytest.raises(InputError, match="a model without preprocessing"):
        mm.fit(model, cohort.train, progress=False)


def test_devices_are_chosen_by_name(monkeypatch):
    assert training.device_of("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training.device_of("auto").type == "cpu"
    with pytest.raises(InputError, match="device: 'cuda'; expected a machine with a CUDA device"):
        training.device_of("cuda")
    with pytest.raises(InputError, match="device: 'tpu'"):
        training.device_of("tpu")


def test_a_cohort_with_missing_cells_trains(cohort):
    values = {m: frame.copy() for m, frame in cohort.values.items()}
    values["cortical"].iloc[::3, 2] = np.nan
    values["hippocampal"].iloc[::4] = np.nan
    holed = dataclasses.replace(cohort, values=values)
    history = mm.fit(small(holed), holed.train, mm.TrainConfig(epochs=2), progress=False)
    assert np.isfinite(history.drop(columns="start")).all().all()


def test_it_is_quiet_when_not_on_a_terminal(cohort, capfd, caplog):
    with caplog.at_level(logging.INFO):
        mm.fit(small(cohort), cohort.train, mm.TrainConfig(epochs=1))
    assert capfd.readouterr().err == ""


def test_if_no_epoch_improves_on_it_the_linear_start_is_computed_from_all_people(cohort):
    config = mm.TrainConfig(
        epochs=6, patience=2, learning_rate=0.5
    )  # steps so large that no epoch improves on the linear start
    model = small(cohort)
    mm.fit(model, cohort.train, config, progress=False)
    want, whole = small(cohort), model.preprocess(cohort.train)
    start_linear(want, whole, torch.randperm(len(whole))[None])
    for m, likelihood in want.likelihoods.items():
        torch.testing.assert_close(model.likelihoods[m].log_scale, likelihood.log_scale)


@pytest.fixture(scope="module")
def nonlinear():
    """Regions that are nonlinear in one latent: training improves on factor analysis."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(700, 1))
    x = np.tanh(3 * z @ rng.normal(size=(1, 8)) + rng.normal(size=8)) @ rng.normal(size=(8, 12))
    table = pd.DataFrame(x + 0.2 * rng.normal(size=x.shape), [f"s{i:03d}" for i in range(700)])
    table.columns = [f"r{j:02d}" for j in range(12)]
    people = pd.DataFrame({"diagnosis": "CN", "split": ["train"] * 600 + ["calibrate"] * 100}, index=table.index)
    return mm.Cohort.from_frames(
        {"a": table.iloc[:, :6], "b": table.iloc[:, 6:]}, people, reference=("diagnosis", ["CN"]), split="split"
    )


def test_the_better_start_is_kept(nonlinear):
    """On nonlinear data both starts are tried, and the model that is kept equals that of the better start alone."""
    alone = {}
    for start in ("linear", "nonlinear"):
        model = small(nonlinear)
        history = mm.fit(model, nonlinear.train, mm.TrainConfig(start=start, epochs=60), progress=False)
        alone[start] = (history["validation_loss"].min(), model.state_dict())
    model = small(nonlinear)
    history = mm.fit(model, nonlinear.train, mm.TrainConfig(epochs=60), progress=False)
    better = min(alone, key=lambda start: alone[start][0])
    assert set(history["start"]) == {better}
    assert history["validation_loss"].min() == alone[better][0]
    for name, x in model.state_dict().items():
        assert torch.equal(x, alone[better][1][name]), name


def test_a_nonlinear_start_freezes_the_linear_path_and_then_unfreezes_it(nonlinear):
    model = small(nonlinear)
    mm.fit(model, nonlinear.train, mm.TrainConfig(start="nonlinear", epochs=3), progress=False)
    nets = [*(encoder.net for encoder in model.encoders.values()), *(x.net for x in model.likelihoods.values())]
    assert all((net.skip.weight == 0).all() and net.last.weight.any() for net in nets)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_linear_data_are_trained_from_the_linear_start_alone(cohort, monkeypatch):
    """If no epoch improves on it, a second start is not tried."""
    tried, loop = [], training.Loop.run
    monkeypatch.setattr(training.Loop, "run", lambda self, *given: tried.append(self.warmup) or loop(self, *given))
    mm.fit(small(cohort), cohort.train, mm.TrainConfig(epochs=4, patience=2, learning_rate=0.5), progress=False)
    assert tried == [0]


@pytest.mark.slow
def test_in_the_conjugate_case_training_ends_at_the_closed_form():
    """x = z w + noise, one latent: trained from random weights, the posterior is the exact one and the bound is tight.

    Closed form: precision 1 + sum w^2 / psi and mean sum(w x / psi) / precision, both of the truth (2,000 people leave
    an error of about 0.03 in it) and of the learned decoder, which the encoder must match more closely.
    """
    rng = np.random.default_rng(0)
    w, sd = rng.uniform(0.4, 1.2, 7) * rng.choice([-1, 1], 7), rng.uniform(0.5, 1.0, 7)
    x = rng.normal(size=(2600, 1)) * w + rng.normal(size=(2600, 7)) * sd
    ids = [f"s{i:04d}" for i in range(len(x))]
    table = pd.DataFrame(x, ids, [f"r{j}" for j in range(7)])
    people = pd.DataFrame({"diagnosis": "CN", "split": ["train"] * 2000 + ["calibrate"] * 10 + ["test"] * 590}, ids)
    cohort = mm.Cohort.from_frames(
        {"a": table.iloc[:, :4], "b": table.iloc[:, 4:]}, people, reference=("diagnosis", ["CN"]), split="split"
    )
    model = mm.MMVAE.for_cohort(cohort, latent_dim=1, hidden=(), seed=1)
    config = mm.TrainConfig(start="random", epochs=60, learning_rate=0.01, warmup_epochs=5, weight_decay=0, patience=60)
    mm.fit(model, cohort.train, config, progress=False)
    batch = model.preprocess(cohort.test)
    units = np.concatenate([model.preprocess.scale[m] for m in ("a", "b")])
    seen = torch.cat([batch.values["a"], batch.values["b"]], -1).double().numpy()
    learned = [model.likelihoods[m] for m in ("a", "b")]
    loadings = np.concatenate([p.net.skip.weight.detach().numpy()[0] for p in learned])
    bias = np.concatenate([p.net.skip.bias.detach().numpy()[0] for p in learned])
    noise = np.concatenate([p.log_scale.detach().exp().square().numpy()[0] for p in learned])
    with torch.no_grad():
        q = model.posterior(batch)
    sign = np.sign(loadings @ w)
    for (load, var, centre), atol in (
        ((loadings, noise, bias), 0.05),
        ((sign * w / units, (sd / units) ** 2, bias), 0.1),
    ):
        precision = 1 + (load**2 / var).sum()
        mean = (seen - centre) @ (load / var) / precision
        np.testing.assert_allclose(q.scale.square().numpy(), 1 / precision, rtol=2 * atol)
        assert np.abs(q.loc.numpy()[:, 0] - mean).mean() < atol
    normal = stats.multivariate_normal(bias, np.outer(loadings, loadings) + np.diag(noise))
    bound = mm.log_evidence(model, cohort.test, draws=512)
    np.testing.assert_allclose(bound, normal.logpdf(seen), atol=0.02)  # nats of about 8


def loop_of(model, batch, validation=None, **config):
    return training.Loop(model, batch, mm.TrainConfig(**config), validation, seed=0)


@pytest.mark.parametrize(
    ("people", "sizes"),
    [(100, [32] * 3), (112, [32] * 3), (113, [32] * 3 + [17]), (1000, [125] * 8), (4000, [256] * 15 + [160])],
)
def test_an_epoch_has_eight_steps_of_32_to_256_people_and_drops_at_most_half_a_batch(
    cohort, monkeypatch, people, sizes
):
    model = small(cohort)
    batch = model.preprocess(cohort.train)[torch.arange(people) % len(cohort.train)]
    seen = []
    monkeypatch.setattr(training.Loop, "step", lambda self, part, *_: seen.append(len(part)) or 0.0)
    loop_of(model, batch)._epoch(torch.arange(people)[None], 0)
    assert seen == sizes


@pytest.mark.parametrize(
    ("best", "warmup", "epochs", "last"),
    [(4, 0, 300, 7), (-1, 0, 300, 3), (2, 10, 300, 13), (2, 10, 5, 8), (12, 10, 300, 15)],
)
def test_training_stops_after_patience_epochs_since_the_best_one_or_the_warm_up(cohort, best, warmup, epochs, last):
    model = small(cohort)
    batch = model.preprocess(cohort.train)
    loop = loop_of(model, batch, torch.arange(20)[None], patience=3, epochs=epochs)
    loop.warmup, loop.best_epoch[:] = warmup, best
    assert not loop._stops(last - 1)
    assert loop._stops(last)
    assert not loop_of(model, batch, None, patience=1)._stops(50)
    assert not loop_of(model, batch, torch.arange(20)[None], patience=1, early_stopping=False)._stops(50)


def test_training_stops_when_every_member_has_stopped(cohort):
    model = small(cohort, members=2)
    loop = loop_of(model, model.preprocess(cohort.train), torch.arange(20).expand(2, -1), patience=3)
    loop.best_epoch[:] = torch.tensor([0, 2])
    assert [loop._stops(epoch) for epoch in (2, 3, 4, 5)] == [False, False, False, True]


def test_the_validation_loss_has_the_weights_of_the_model_and_a_stopped_member_keeps_its_best(cohort):
    model = small(cohort, members=2, beta=[0.5, 2.0], modality_weights={"hippocampal": 0.3})
    batch, rows = model.preprocess(cohort.train), torch.arange(30).expand(2, -1)
    loop = loop_of(model, batch, rows)
    loop._validate(loop.validation, 0)
    logs, kl = elbo_terms(model, batch[rows], 4)
    loss = torch.tensor([[0.5], [2.0]]) * kl - logs["cortical"] - 0.3 * logs["hippocampal"]
    torch.testing.assert_close(loop.best_loss, loss.mean(-1))
    first = {name: x.clone() for name, x in loop.best.items()}
    loop.stopped[0] = True
    with torch.no_grad():
        for likelihood in model.likelihoods.values():
            likelihood.log_scale.sub_(0.1)  # better: the untrained model predicts little, so only slightly
    loop.best_loss += 100
    loop._validate(loop.validation, 3)
    assert loop.best_epoch.tolist() == [0, 3]
    name = "likelihoods.cortical.log_scale"
    torch.testing.assert_close(loop.best[name][0], first[name][0], rtol=0, atol=0)
    torch.testing.assert_close(loop.best[name][1], first[name][1] - 0.1)
    loop._validate(loop.validation, 4)  # an equal loss is not better
    assert loop.best_epoch.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("n", "resample", "shape"),
    [
        (103, "none", ((2, 93), (2, 10))),
        (103, "bootstrap", ((2, 93), (2, 10))),
        (103, "folds", ((2, 51), (2, 51))),
        (100, "folds", ((2, 50), (2, 50))),
    ],
)
def test_the_sizes_of_training_and_validation_parts(n, resample, shape):
    rows, validation = training._split_rows(n, 2, mm.TrainConfig(resample=resample), 0)
    assert (rows.shape, validation.shape) == shape
    repeated = [len(set(r.tolist())) < len(r) for r in rows]
    assert repeated == [resample == "bootstrap"] * 2


def test_a_member_of_an_ensemble_trains_like_a_single_model(cohort):
    """A copy of one member has its weights, its seed and its number of members."""
    crowd = small(cohort, members=3, seed=7, prior="flow", likelihood="student_t")
    config = mm.TrainConfig(epochs=2, start="nonlinear")
    histories = [
        mm.fit(model, cohort.train, config, progress=False)
        for model in (crowd.member(1), small(cohort, seed=8, prior="flow", likelihood="student_t"))
    ]
    assert histories[0]["loss"].tolist() == pytest.approx(histories[1]["loss"].tolist(), rel=1e-5)
