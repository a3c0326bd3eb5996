"""Reading of a run folder."""

import json

import pandas as pd
import pytest

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.results.run_results import RunResults


@pytest.fixture
def folder(tmp_path):
    """The three required files of a run."""
    (tmp_path / "config.yaml").write_text(
        "data: {groups: {order: [AD, MCI]}, covariates: {age: spline, sex: category}}"
    )
    pd.DataFrame({"id": ["02", "01"], "t1.a": [1.0, None], "t2.b": [2.0, 3.0]}).to_csv(tmp_path / "z.csv", index=False)
    people = {
        "id": ["01", "02"],
        "split": ["test", "target"],
        "group": ["CN", "NA"],
        "mean_abs_z": [1, 2],
        "age": [1, 2],
    }
    pd.DataFrame(people).to_csv(tmp_path / "subjects.csv", index=False)
    return tmp_path


def test_required_files_are_enough_and_the_order_is_that_of_subjects(folder):
    run = RunResults.read(folder)
    assert run.z.index.tolist() == ["01", "02"]  # text, not numbers
    assert run.subjects["group"].tolist() == ["CN", "NA"]  # a name, not a missing value
    assert run.test_z["t2.b"].tolist() == [3.0]
    assert (run.groups, run.primary, run.latent_dim) == (["NA"], "reconstruction", 16)
    assert run.modalities.to_dict() == {"t1": 1, "t2": 1}
    assert run.named("covariates") == ["age"]
    assert run.regions.empty
    assert run.calibration == run.reliability == run.counts == {}
    assert run.extrapolated.empty


def test_groups_are_in_the_order_of_the_regions_table(folder):
    people = pd.read_csv(folder / "subjects.csv", dtype=str, keep_default_na=False)
    more = pd.DataFrame({"id": ["03", "04"], "split": "target", "group": ["MCI", "AD"], "mean_abs_z": "1"})
    pd.concat([people, more]).to_csv(folder / "subjects.csv", index=False)
    z = pd.read_csv(folder / "z.csv", dtype=str)
    pd.concat([z, pd.DataFrame({"id": ["03", "04"]})]).to_csv(folder / "z.csv", index=False)
    assert RunResults.read(folder).groups == ["AD", "MCI", "NA"]
    pd.DataFrame({"group": ["test controls", "MCI", "all targets"]}).to_csv(folder / "regions.csv", index=False)
    assert RunResults.read(folder).groups == ["MCI", "AD", "NA"]


def test_incomplete_folders_are_refused(folder):
    (folder / "findings.json").write_text("[1]")
    with pytest.raises(InputError, match="list; expected a mapping"):
        RunResults.read(folder)
    (folder / "findings.json").write_text("{")
    with pytest.raises(InputError, match="expected JSON"):
        RunResults.read(folder)
    (folder / "findings.json").write_text(json.dumps({"notes": []}))
    assert RunResults.read(folder).findings == {"notes": []}
    pd.read_csv(folder / "z.csv", dtype=str).iloc[1:].to_csv(folder / "z.csv", index=False)
    with pytest.raises(InputError, match=r"other ids in z\.csv than in subjects\.csv"):
        RunResults.read(folder)
    (folder / "config.yaml").write_text("text")
    with pytest.raises(InputError, match="str; expected a mapping"):
        RunResults.read(folder)
    (folder / "z.csv").unlink()
    with pytest.raises(InputError, match=r"no z\.csv; expected a run folder"):
        RunResults.read(folder)
