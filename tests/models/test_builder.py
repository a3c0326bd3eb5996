"""Parts of a model: by name, as classes and as callables; options that an editor completes; one source of defaults."""

import inspect
import itertools
import re
from typing import Unpack

import numpy as np
import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.config import DeviationConfig
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.inference.predictive import Predictive
from pyro_mmnorm.models.builder import ModelOptions, option_record, with_defaults
from pyro_mmnorm.models.fusion import FUSIONS, moe, poe
from pyro_mmnorm.models.likelihoods import LIKELIHOODS
from pyro_mmnorm.models.priors import PRIORS

EVERY = list(itertools.product(FUSIONS, LIKELIHOODS, PRIORS))
SOME = [combination for i, combination in enumerate(EVERY) if i % 17 == 0]


ENSEMBLES = [*((f, "normal", "normal") for f in FUSIONS), *(("poe", x, "normal") for x in LIKELIHOODS if x != "normal"),
             *(("poe", "normal", p) for p in PRIORS if p != "normal")]  # fmt: skip


CLASSES = [
    *(("fusion", part) for part in (*FUSIONS.values(), poe, moe) if isinstance(part, type) or part in (poe, moe)),
    *(("likelihood", part) for part in LIKELIHOODS.values()),
    *(("prior", part) for part in PRIORS.values()),
]


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


def test_a_record_rebuilds_the_model(cohort):
    parts = {"fusion": "gpoe", "likelihood": {"cortical": "laplace"}, "prior": {"name": "mixture", "components": 3}}
    model = mm.MMVAE.for_cohort(cohort, **parts, beta=[1.0, 2.0], members=2)
    again = mm.MMVAE.build(model.preprocess, **model.record)
    assert again.record == model.record
    assert {n: x.shape for n, x in again.state_dict().items()} == {n: x.shape for n, x in model.state_dict().items()}


@pytest.mark.parametrize(("role", "part"), CLASSES, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_a_built_in_class_is_a_part_and_equals_the_part_by_name(cohort, tmp_path, role, part):
    table = {"fusion": {"poe": poe, "moe": moe} | FUSIONS, "likelihood": LIKELIHOODS, "prior": PRIORS}[role]
    names = [name for name, known in table.items() if known is part]
    name = names[0] if names else part.__name__
    models = [mm.MMVAE.for_cohort(cohort, **{"latent_dim": 2, "hidden": (4,), role: p}) for p in (part, name)]
    batch = models[0].preprocess(cohort.test)
    by_class, by_name = (model.posterior(batch) for model in models)
    assert torch.equal(by_class.mean, by_name.mean)
    weights = [model.state_dict() for model in models]
    assert list(weights[0]) == list(weights[1])
    assert all(torch.equal(x, weights[1][key]) for key, x in weights[0].items())
    norm = mm.NormativeModel(models[0], draws=16, normative_draws=16, refine=0).calibrate(cohort.calibrate)
    norm.save(tmp_path / "model")
    given = {} if names else {role: part}  # a class with a name is saved by its name
    again = mm.load(tmp_path / "model", **given)
    assert again.deviations(cohort.target).identical(norm.deviations(cohort.target))


@pytest.mark.parametrize(
    "options",
    [
        {"experts": "modality"}, {"skip": "perhaps"}, {"activation": "gelu"}, {"members": 0}, {"hidden": 16},
        {"hidden": (0,)}, {"latent_dim": -1}, {"private_dim": -1}, {"latent_dim": "four"}, {"beta": -1.0},
        {"beta": "a"}, {"modality_weights": {"cortical": -1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_value_of_an_option_is_refused_as_in_a_configuration(cohort, options):
    with pytest.raises(InputError, match=rf"^MMVAE: {next(iter(options))}.*expected"):
        mm.MMVAE.for_cohort(cohort, **options)


def test_a_callable_is_recorded_by_its_name():
    record = option_record({"fusion": lambda *_: None, "prior": torch.nn.Identity(), "likelihood": torch.nn.Identity})
    assert record["fusion"]["custom"].endswith("<lambda>")
    assert record["prior"] == record["likelihood"] == {"custom": "Identity"}


@pytest.mark.parametrize("function", [mm.MMVAE.for_cohort, mm.MMVAE.build])
def test_every_option_is_typed_and_documented(function):
    names = list(ModelOptions.__annotations__)
    assert names == list(mm.ModelConfig.model_fields)
    assert function.__func__.__annotations__["options"] == Unpack[ModelOptions]  # what editors read
    listed = inspect.signature(function).parameters  # what notebooks and help() read
    assert {name: listed[name].default for name in names} == mm.ModelConfig().model_dump()
    assert all(re.search(rf"\b{name}\b", function.__doc__) for name in names)


def test_every_option_and_built_in_part_has_its_line_in_the_docstring():
    lines = dict(re.findall(r"\* (\w+): (.*?)\n\s*(?=\*|\n)", mm.MMVAE.for_cohort.__doc__, re.DOTALL))
    assert list(lines) == list(ModelOptions.__annotations__)
    for role, table in {"fusion": FUSIONS, "likelihood": LIKELIHOODS, "prior": PRIORS}.items():
        named = re.findall(r"`(\w+)`", lines[role])
        assert [name for name in dict.fromkeys(named) if name in table] == list(table), role


@pytest.mark.parametrize(
    ("option", "close"),
    [("latentdim", "latent_dim"), ("likelihoods", "likelihood"), ("sed", "seed"), ("scalin", "scaling")],
)
def test_an_unknown_option_is_refused_with_the_most_similar_one(cohort, option, close):
    with pytest.raises(InputError, match=rf"for_cohort: '{option}'; .* Did you mean '{close}'\?"):
        mm.MMVAE.for_cohort(cohort, **{option: 3})
    with pytest.raises(InputError, match=r"MMVAE.build: 'zzz'; expected one of seed, fusion, .*\. Write one of them\."):
        mm.MMVAE.build(None, zzz=1)


def test_defaults_have_one_source():
    assert with_defaults({}) == mm.ModelConfig().model_dump()
    sources = {**dict(mm.ModelConfig()), **dict(DeviationConfig())}
    shared = {"draws", "normative_draws", "latent_dim"}
    for function in (Predictive, mm.NormativeModel, mm.log_evidence, mm.LinearGaussian.for_cohort):
        own = {p.name: p.default for p in inspect.signature(function).parameters.values()}
        assert {name: own[name] for name in shared & set(own)} == {name: sources[name] for name in shared & set(own)}
        assert shared & set(own), function


def test_log_normal_volumes_need_positive_means(cohort):
    with pytest.raises(
        InputError, match=r"model\.likelihood\.cortical: 12 regions that are not centred at a positive mean"
    ):
        mm.MMVAE.for_cohort(cohort, likelihood="lognormal", scaling="mean")
