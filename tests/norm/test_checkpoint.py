"""Model folders: complete or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.norm import checkpoint


@pytest.fixture
def folder(tmp_path):
    checkpoint.write(tmp_path / "m", {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"a": 1})
    return tmp_path / "m"


def test_what_was_written_is_read(folder):
    arrays, record = checkpoint.read(folder)
    assert arrays["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert record["a"] == 1


@pytest.mark.parametrize("name", ["arrays.safetensors", "model.json", "sha256.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        checkpoint.read(folder)


@pytest.mark.parametrize("name", ["arrays.safetensors", "model.json"])
def test_an_altered_file_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(InputError, match=f"{name}: altered since it was saved"):
        checkpoint.read(folder)


def test_checksums_that_cannot_be_read_and_foreign_formats_are_refused(folder):
    (folder / "sha256.json").write_text("{")
    with pytest.raises(InputError, match="a file that cannot be read"):
        checkpoint.read(folder)
    checkpoint.write(folder, {"w": np.zeros(1)}, {"format": 99})
    with pytest.raises(InputError, match="format 99; expected format 1"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros((2, 3), np.float64), "torch.float64"),
        (np.zeros((3, 2), np.float32), r"shape \(3, 2\)"),
        (np.full((2, 3), np.nan, np.float32), "not finite"),
    ],
)
def test_weights_of_another_shape_dtype_or_no_number_are_refused(x, match):
    with pytest.raises(InputError, match=match):
        checkpoint.tensors({"model.w": x}, "model.", {"w": torch.zeros(2, 3)})


def test_weights_of_other_names_are_refused():
    with pytest.raises(InputError, match="1 names differ, such as 'v'"):
        checkpoint.tensors(
            {"model.w": np.zeros(1, np.float32), "model.v": np.zeros(1)}, "model.", {"w": torch.zeros(1)}
        )


# Norms saved by version 0.1, and its z of twelve simulated patients; some come from a site that was adapted to

SAVED_BY_0_1 = Path(__file__).parent / "norm_0_1"


@pytest.mark.parametrize("name", ["mmvae", "factor_analysis"])
def test_a_norm_of_version_0_1_loads_and_gives_the_same_z(name):
    """The z that 0.1 wrote with 17 digits; 1e-9 leaves room for sums in another order."""
    values = {m: pd.read_csv(SAVED_BY_0_1 / f"{m}.csv", index_col=0) for m in ("cortical", "hippocampal")}
    people = pd.read_csv(SAVED_BY_0_1 / "participants.csv", index_col=0)
    kinds = {"age": "spline", "sex": "category", "site": "category"}
    cohort = mm.Cohort.from_frames(values, people, covariates=kinds, everyone="target")
    norm = mm.load(SAVED_BY_0_1 / name)
    wanted = pd.read_csv(SAVED_BY_0_1 / f"{name}_z.csv", index_col=0)
    found = [z_of(norm, cohort, kind) for kind in norm.kinds]
    pd.testing.assert_frame_equal(pd.concat(found, axis=1).rename_axis("id"), wanted, rtol=0, atol=1e-9)


def test_saving_a_norm_of_0_1_again_changes_nothing(tmp_path):
    """Conformal groups were code points in an array; now they are text in the record."""
    before = mm.load(SAVED_BY_0_1 / "mmvae")
    before.save(tmp_path / "again")
    after = mm.load(tmp_path / "again")
    for site in ("", "site-3"):
        np.testing.assert_array_equal(before.at_site(site).groups, after.at_site(site).groups)
    assert not any("conformal.groups" in name for name in checkpoint.read(tmp_path / "again")[0])


def z_of(norm, cohort, kind):
    z = norm.deviations(cohort, kind)["latent_z" if kind == "latent" else "z"].to_pandas()
    return z.set_axis([f"{kind}.{name}" for name in z], axis=1)
