"""Configuration: read from strict YAML, written as the same YAML, with errors that say what to do."""

from pathlib import Path

import pytest
import yaml

import pyro_mmnorm.config
from pyro_mmnorm.config import Config, DeviationConfig, parse_config, read_config
from pyro_mmnorm.core.errors import InputError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
MINIMAL = """
data:
  participants: people.csv
  id: id
  modalities: {thickness: {tables: [thickness.csv]}}
  reference: {column: dx, values: [CN]}
"""


def changed(old, new):
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


def test_two_keys_decide_on_new_people():
    text = "data: {participants: p.csv, id: id, modalities: {t: {tables: [t.csv]}}, reference: everyone}"
    chosen = parse_config(text, overrides=["deviations.unseen_site=population", "deviations.outside_range=refuse"])
    assert (chosen.deviations.unseen_site, chosen.deviations.outside_range) == ("population", "refuse")
    plain = parse_config(text).deviations
    assert (plain.unseen_site, plain.outside_range) == ("refuse", "flag")
    with pytest.raises(InputError, match=r"deviations\.unseen_site: 'guess'"):
        parse_config(text, overrides=["deviations.unseen_site=guess"])


def test_four_keys_are_required():
    config = parse_config(MINIMAL)
    assert config.data.modalities["thickness"].zeros == "missing"
    assert config.data.split.calibrate == 0.2
    assert config.seed == 1


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_of_the_project_can_be_parsed(path):
    config = read_config(path)
    assert parse_config(config.to_yaml()) == config


@pytest.mark.parametrize("missing", ["participants", "id", "modalities", "reference"])
def test_a_missing_key_is_named(missing):
    tree = yaml.safe_load(MINIMAL)
    del tree["data"][missing]
    with pytest.raises(InputError, match=rf"here: data.{missing}: missing; .*this key is required. Add it"):
        parse_config(yaml.safe_dump(tree), where="here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "modle: {}", r"configuration: modle: unknown key; expected one of seed, .* Did you mean 'model'"),
        (MINIMAL + "colour: red", r"colour: unknown key; .* Remove it"),
        (changed("tables: [", "tabels: ["), r"data.modalities.thickness.tabels: unknown key; .* mean 'tables'"),
        (MINIMAL + "  covariates: {age: {column: a, knd: spline}}", r"data.covariates.age.knd: .* mean 'kind'"),
        (MINIMAL + "  covariates: {column: {column: a, knd: spline}}", r"data.covariates.column.knd: .* mean 'kind'"),
        (changed("column: dx", "colum: dx"), r"data.reference.colum: unknown key; expected one of column, values"),
        (MINIMAL + "  groups: {colunm: dx}", r"data.groups.colunm: unknown key; .* mean 'column'"),
        (MINIMAL + "  split: {callibrate: 0.2}", r"data.split.callibrate: unknown key; .* mean 'calibrate'"),
    ],
)
def test_an_unknown_key_is_an_error_with_a_hint(text, message):
    with pytest.raises(InputError, match=message):
        parse_config(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "seed: 1\nseed: 2", r"key 'seed' occurs twice .*line 8"),
        (changed("{tables: [thickness.csv]}", "{tables: [a.csv], 'tables': [b.csv]}"), r"key 'tables' occurs twice"),
        (MINIMAL + "1: 2", r"configuration: 1: 1; expected a string as key"),
        (MINIMAL + "model: 3", r"model: 3; expected a mapping"),
        (MINIMAL + "model: {latent_dim: many}", r"model.latent_dim: 'many'; expected an integer"),
        (MINIMAL + "model: {latent_dim: 0}", r"model: latent_dim 0 and private_dim 0; expected at least one latent"),
        (MINIMAL + "model: {hidden: [64, -2]}", r"model.hidden.1: -2; expected greater than 0"),
        (MINIMAL + "model: {likelihood: 3}", r"model.likelihood: 3; expected a string or a mapping"),
        (MINIMAL + "model: {beta: -1}", r"model.beta: -1; expected greater than 0 or a list"),
        (MINIMAL + "model: {beta: [1, x]}", r"model.beta.1: 'x'; expected a number"),
        (MINIMAL + "model: {modality_weights: {str: [-1]}}", r"model.modality_weights.str.0: -1; expected at least 0"),
        (MINIMAL + "model: {fusion: {1: 2}}", r"model.fusion.1: 1; expected a string\."),
        (MINIMAL + "train: {epochs: 1.5}", r"train.epochs: 1.5; expected an integer"),
        (MINIMAL + "train: {epochs: null}", r"train.epochs: None; expected an integer"),
        (MINIMAL + "train: {validation: 0.7}", r"train.validation: 0.7; expected less than 0.5"),
        (MINIMAL + "train: {weight_decay: []}", r"train.weight_decay: \[\]; expected a number"),
        (MINIMAL + "train: {early_stopping: maybe}", r"train.early_stopping: 'maybe'; expected true or false"),
        (MINIMAL + "train: {early_stopping: []}", r"train.early_stopping: \[\]; expected true or false"),
        (MINIMAL + "  covariates: {age: splin}", r"data.covariates.age: 'splin'; expected 'spline', 'linear'"),
        (MINIMAL + "  covariates: [age]", r"data.covariates: \['age'\]; expected a mapping"),
        (
            changed("{column: dx, values: [CN]}", "evryone"),
            r"data.reference: 'evryone'; expected a mapping or 'everyone'",
        ),
        (changed("[CN]", "CN"), r"data.reference.values: 'CN'; expected a list"),
        (changed("[CN]", "[]"), r"data.reference.values: \[\]; expected at least 1 item"),
        (
            changed("[CN]", "[2014-01-01]"),
            r"data.reference.values.0: .*; expected a string or an integer or",
        ),
        (changed("{thickness: {tables: [thickness.csv]}}", "{}"), r"data.modalities: \{\}; expected at least 1 item"),
        (
            MINIMAL + "  split: {calibrate: 0.6, test: 0.5}",
            r"data.split: .*leave no controls for training; expected a sum below 1",
        ),
    ],
)
def test_invalid_values_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_config(text)


def test_an_error_that_is_not_in_the_table_keeps_the_words_of_pydantic(monkeypatch):
    monkeypatch.delitem(pyro_mmnorm.config._EXPECTED, "int_parsing")
    with pytest.raises(InputError, match=r"model.latent_dim: 'many'; expected Input should be a valid integer"):
        parse_config(MINIMAL + "model: {latent_dim: many}")


def test_overrides_are_applied_on_top():
    overrides = ["model.latent_dim=8", "data.covariates.age=spline", "data.split={calibrate: 0.3}", "seed=7"]
    config = parse_config(MINIMAL + "seed: 2", overrides=overrides)
    assert (config.seed, config.model.latent_dim, config.data.split.calibrate) == (7, 8, 0.3)
    assert config.data.covariates["age"].kind == "spline"


def test_a_misspelt_override_is_an_unknown_key():
    with pytest.raises(InputError, match=r"model.laten_dim: unknown key; .* Did you mean 'latent_dim'"):
        parse_config(MINIMAL, overrides=["model.laten_dim=3"])


def test_the_environment_and_overrides_reach_the_configuration(monkeypatch):
    monkeypatch.setenv("MMNORM_TEST_ROOT", "/data")
    config = parse_config(MINIMAL, overrides=["data.root=${MMNORM_TEST_ROOT:-x}/tables"])
    assert config.data.root == "/data/tables"


def test_yaml_restores_the_configuration():
    text = MINIMAL + (
        "  covariates: {age: spline, site: {column: SITE_ID, kind: category}}\n"
        "  groups: {column: dx, order: [1, '1', 2.5, true, 'NO']}\n"
        "  exclude_subjects: {flag: [true, 'x: y']}\n"
        "train: {learning_rate: 1e-5}\n"
        "out: 'runs/Zürich #1'\n"
    )
    config = parse_config(text)
    again = parse_config(config.to_yaml())
    assert again == config
    assert again.to_yaml() == config.to_yaml()
    assert again.data.groups.order == [1, "1", 2.5, True, "NO"]
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_the_root_is_relative_to_the_file_or_else_to_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "here").mkdir()
    path = tmp_path / "configs" / "run.yaml"
    path.write_text(MINIMAL + "  root: tables\n")
    monkeypatch.chdir(tmp_path / "here")
    assert read_config(path).data.root == str(tmp_path / "configs" / "tables")  # in neither: beside the file
    (tmp_path / "here" / "tables").mkdir()
    assert read_config(path).data.root == str(tmp_path / "here" / "tables")
    (tmp_path / "configs" / "tables").mkdir()
    assert read_config(path).data.root == str(tmp_path / "configs" / "tables")
    path.write_text(MINIMAL + f"  root: {tmp_path}\n")
    assert read_config(str(path)).data.root == str(tmp_path)
    assert read_config(path, overrides=["data.root=../here"]).data.root == str(tmp_path / "here")


def test_invalid_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"run.yaml: no such file; expected a YAML configuration"):
        read_config(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_bytes(MINIMAL.encode() + b"out: \xe4\n")
    with pytest.raises(InputError, match=r"run.yaml: no UTF-8"):
        read_config(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text(MINIMAL + "modle: 1")
    with pytest.raises(InputError, match=r"run.yaml: modle: unknown key"):
        read_config(tmp_path / "run.yaml")


def test_a_primary_kind_outside_the_kinds_is_refused():
    unchecked = DeviationConfig.model_construct(kinds=["reconstruction"], primary="normative")
    with pytest.raises(ValueError, match=r"primary 'normative' is not among kinds; one of \['reconstruction'\]"):
        unchecked._primary_is_a_kind()


@pytest.mark.parametrize(("words", "epochs"), [("", (0, 20)), ("train: {warmup_epochs: 4}", (4, 4))])
def test_a_linear_start_needs_no_warm_up(words, epochs):
    train = parse_config(MINIMAL + words).train
    assert (train.warmup("linear"), train.warmup("random")) == epochs
