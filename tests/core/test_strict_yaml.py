"""Strict YAML: invalid text, overrides and environment variables."""

import pytest

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.strict_yaml import load_tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nout: x\nseed: 2", r"here: key 'seed' occurs twice .*line 3"),
        ("a: {b: {tables: [a.csv], 'tables': [b.csv]}}", r"here: key 'tables' occurs twice"),
        ("data: [", r"expected YAML. Correct that line"),
        ("? [a]\n: 2", r"unhashable key"),
        ("a: !!python/name:os.system", r"could not determine a constructor"),
        ("3", r"here: int at the top; expected a mapping with the key data"),
        ("", r"here: NoneType at the top"),
    ],
)
def test_text_that_is_not_a_mapping_with_unique_keys_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        load_tree(text, where="here")


def test_only_true_and_false_are_booleans():
    """YAML 1.1 would read the country code NO as false."""
    tree = load_tree("a: [NO, on, yes, n, true, False, TRUE]")
    assert tree["a"] == ["NO", "on", "yes", "n", True, False, True]


def test_merge_keys_may_be_overridden():
    tree = load_tree("a: &a {tables: [a.csv], zeros: keep}\nb: {<<: *a, tables: [b.csv]}")
    assert tree["b"] == {"tables": ["b.csv"], "zeros": "keep"}


def test_overrides_are_yaml_and_create_parents():
    overrides = ["a.b=[1, x]", "c=2", "d.e.f={g: NO}", "h="]
    assert load_tree("a: {b: 0, k: 1}", overrides=overrides) == {
        "a": {"b": [1, "x"], "k": 1},
        "c": 2,
        "d": {"e": {"f": {"g": "NO"}}},
        "h": None,
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", r"--set seed: no key=value; expected key.path=value"),
        ("=3", r"--set =3: no key=value"),
        ("seed.x=3", r"--set seed.x=3: 'seed' is a value; expected a mapping"),
        ("model.hidden=[8", r"expected YAML"),
    ],
)
def test_invalid_overrides_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        load_tree("seed: 1", overrides=[override])


def test_environment_variables_are_replaced(monkeypatch):
    text = "root: ['${MMNORM_TEST_ROOT:-default/folder}/tables', 3]"
    monkeypatch.delenv("MMNORM_TEST_ROOT", raising=False)
    assert load_tree(text)["root"] == ["default/folder/tables", 3]
    monkeypatch.setenv("MMNORM_TEST_ROOT", "/data")
    assert load_tree(text)["root"] == ["/data/tables", 3]
    monkeypatch.setenv("MMNORM_TEST_ROOT", "")
    assert load_tree(text)["root"] == ["default/folder/tables", 3]
    assert load_tree("root: a", overrides=["root=${MMNORM_TEST_ROOT:-b}"])["root"] == "b"


def test_an_unset_variable_without_a_default_is_refused(monkeypatch):
    monkeypatch.delenv("MMNORM_TEST_ROOT", raising=False)
    with pytest.raises(
        InputError, match=r"\$\{MMNORM_TEST_ROOT\}: not set; .*or write \$\{MMNORM_TEST_ROOT:-default\}"
    ):
        load_tree("root: ${MMNORM_TEST_ROOT}")
