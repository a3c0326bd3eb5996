"""Every combination of named parts is a configuration that trains, scores, saves and loads."""

import itertools

import numpy as np
import pytest

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.models.builder import ModelParts
from pyro_mmnorm.models.fusion import FUSIONS
from pyro_mmnorm.models.likelihoods import LIKELIHOODS
from pyro_mmnorm.models.priors import PRIORS

EVERY = list(itertools.product(FUSIONS, LIKELIHOODS, PRIORS))
SOME = [combination for i, combination in enumerate(EVERY) if i % 17 == 0]


ENSEMBLES = [*((f, "normal", "normal") for f in FUSIONS), *(("poe", x, "normal") for x in LIKELIHOODS if x != "normal"),
             *(("poe", "normal", p) for p in PRIORS if p != "normal")]  # fmt: skip


def check(cohort, tmp_path, fusion, likelihood, prior, members=1):
    named = {"fusion": fusion, "likelihood": likelihood, "prior": prior, "members": members}
    model = mm.MMVAE.for_cohort(cohort, **mm.ModelConfig(**named, latent_dim=2, hidden=[4]).model_dump())
    mm.fit(model, cohort.train, mm.TrainConfig(epochs=1), progress=False)
    refine = 1 if fusion in ("poe", "gpoe") else 0
    norm = mm.NormativeModel(model, draws=16, normative_draws=32, refine=refine)
    norm.calibrate(cohort.calibrate, ("reconstruction", "cross_modal", "normative", "local", "latent"))
    norm.save(tmp_path / "model")
    again = mm.load(tmp_path / "model")
    for kind in norm.kinds:
        dev = norm.deviations(cohort.target, kind)
        assert np.isfinite(dev["latent_distance" if kind == "latent" else "z"]).all()
        assert again.deviations(cohort.target, kind).identical(dev)
        assert ("z_member_sd" in dev) == (members > 1 and kind != "latent")


@pytest.mark.parametrize("combination", SOME, ids="-".join)
def test_named_parts_work_together(cohort, tmp_path, combination):
    check(cohort, tmp_path, *combination)


@pytest.mark.slow
@pytest.mark.parametrize("combination", [c for c in EVERY if c not in SOME], ids="-".join)
def test_all_named_parts_work_together(cohort, tmp_path, combination):
    check(cohort, tmp_path, *combination)


@pytest.mark.slow
@pytest.mark.parametrize("combination", ENSEMBLES, ids="-".join)
def test_every_part_works_in_an_ensemble(cohort, tmp_path, combination):
    check(cohort, tmp_path, *combination, members=2)


def test_a_record_is_the_arguments_again(cohort):
    parts = {"fusion": "gpoe", "likelihood": {"cortical": "laplace"}, "prior": {"name": "mixture", "components": 3}}
    model = mm.MMVAE.for_cohort(cohort, **parts, beta=[1.0, 2.0], members=2)
    again = mm.MMVAE.build(model.preprocess, **model.record)
    assert again.record == model.record
    assert {n: x.shape for n, x in again.state_dict().items()} == {n: x.shape for n, x in model.state_dict().items()}


def test_a_callable_is_told_by_its_name():
    assert ModelParts(fusion=lambda *_: None).record()["fusion"]["custom"].endswith("<lambda>")


def test_log_normal_volumes_need_positive_means(cohort):
    with pytest.raises(
        InputError, match=r"model\.likelihood\.cortical: 12 regions that are not centred at a positive mean"
    ):
        mm.MMVAE.for_cohort(cohort, likelihood="lognormal", scaling="mean")
