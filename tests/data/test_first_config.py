"""The first configuration: right where names are usual, silent nowhere, and never a guess about who is healthy."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pyro_mmnorm.app.cli import app
from pyro_mmnorm.config import parse_config, read_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.first_config import UNKNOWN, first_config
from pyro_mmnorm.data.tables import read_cohort


@pytest.fixture
def study(tmp_path):
    """Tables as they come: other names in each, a tsv, FreeSurfer's corner, missing cells, an id that nobody has."""
    rng, n = np.random.default_rng(0), 80
    ids = [f"P{i:03d}" for i in range(n)]
    people = pd.DataFrame(
        {
            "Subject ID": ids,
            "Age_at_scan": rng.uniform(50, 90, n).round(1),
            "Gender": rng.choice(["f", "m"], n),
            "Dx Group": ["Healthy Control"] * 60 + ["MCI"] * 10 + ["AD"] * 9 + [""],
            "MMSE": [29] * n,
        }
    )
    people.loc[3, "Age_at_scan"] = np.nan
    root = tmp_path / "study"
    (root / "fs").mkdir(parents=True)
    people.to_csv(root / "clinical.tsv", sep="\t", index=False)
    for side in ("lh", "rh"):
        table = pd.DataFrame(rng.normal(2.5, 0.1, (n, 3)), columns=[f"{side}_{r}_thickness" for r in "abc"])
        table.iloc[5, 1] = np.nan
        table.insert(0, f"{side}.aparc.thickness", ids)
        table.to_csv(root / "fs" / f"{side}.aparc_table_thickness.tsv", sep="\t", index=False)
    volumes = pd.DataFrame(rng.normal(3000, 100, (n, 2)), columns=["Left-Hippocampus", "Right-Hippocampus"])
    volumes.insert(0, "PTID", [*ids[:-1], "P999"])
    volumes.insert(1, "comment", "fine")
    volumes.to_csv(root / "volumes.csv", index=False)
    (root / "effect.csv").write_text("PTID,a,b\nP000,1,2\n")
    return root


def test_a_usual_study_needs_no_hand(study, tmp_path):
    text, told = first_config(study, tmp_path / "my.yaml")
    (tmp_path / "my.yaml").write_text(text)
    config = read_config(tmp_path / "my.yaml")
    assert config.data.participants == "clinical.tsv"
    assert {m: len(part.tables) for m, part in config.data.modalities.items()} == {"aparc_thickness": 2, "volumes": 1}
    assert config.data.modalities["volumes"].id == "PTID"
    assert {name: c.kind for name, c in config.data.covariates.items()} == {"age": "spline", "sex": "category"}
    assert config.data.groups.order == ["Healthy Control", "MCI", "AD"]
    assert config.data.scores == {"MMSE": "higher_is_better"}
    cohort = read_cohort(config)
    assert cohort.groups == ("Healthy Control", "MCI", "AD")
    assert len(cohort) == 78  # one has no age, one no diagnosis
    assert list(cohort.values["volumes"]) == ["Left-Hippocampus", "Right-Hippocampus"]
    assert told[:2] == ["clinical.tsv: table of 80 people, ids in 'Subject ID'",
                        "aparc_thickness: 6 regions, 80 of 80 people"]  # fmt: skip
    assert "volumes: 2 regions, 79 of 80 people" in told


@pytest.mark.parametrize("labels", [["1", "2"], ["0", "1"], ["patient", "other"], ["HCX", "AD"]])
def test_who_is_healthy_is_not_guessed(study, tmp_path, labels):
    people = pd.read_csv(study / "clinical.tsv", sep="\t").assign(**{"Dx Group": labels * 40})
    people.to_csv(study / "clinical.tsv", sep="\t", index=False)
    out = tmp_path / "my.yaml"
    told = CliRunner().invoke(app, ["init", str(study), "--out", str(out)])
    assert told.exit_code == 0
    assert "who is healthy" in told.stdout
    assert UNKNOWN in out.read_text()
    refused = CliRunner().invoke(app, ["inspect", str(out)])
    assert refused.exit_code == 2
    assert all(label in refused.stderr for label in labels)


def test_without_any_column_that_could_tell_everybody_is_the_reference(study, tmp_path):
    people = pd.read_csv(study / "clinical.tsv", sep="\t").drop(columns="Dx Group")
    people.to_csv(study / "clinical.tsv", sep="\t", index=False)
    assert parse_config(first_config(study, tmp_path / "my.yaml")[0]).data.reference == "everyone"


def test_a_diagnosis_under_an_odd_name_is_not_passed_over(study, tmp_path):
    """Else its patients would train the norm."""
    people = pd.read_csv(study / "clinical.tsv", sep="\t").rename(columns={"Dx Group": "grp2"})
    people.to_csv(study / "clinical.tsv", sep="\t", index=False)
    text, told = first_config(study, tmp_path / "my.yaml")
    assert UNKNOWN in text
    assert any("grp2" in sentence for sentence in told)


def test_two_spellings_of_a_group_are_told(study, tmp_path):
    people = pd.read_csv(study / "clinical.tsv", sep="\t")
    people.loc[people["Dx Group"].eq("AD").idxmax(), "Dx Group"] = "ad"
    people.to_csv(study / "clinical.tsv", sep="\t", index=False)
    assert any("'AD' and 'ad'" in sentence for sentence in first_config(study, tmp_path / "my.yaml")[1])


def test_what_is_left_out_is_told(study, tmp_path):
    (study / "other.csv").write_text("id,a,b\nx,1,2\n")
    (study / "one.csv").write_text("id,a\nP000,1\n")
    (study / "broken.csv").write_text("id,a\nP000\n")
    text, told = first_config(study, tmp_path / "my.yaml")
    for name in ("other.csv", "one.csv", "broken.csv"):
        assert any(name in sentence for sentence in told)
        assert f"# {name}" in text


def test_what_cannot_be_used_is_refused(study, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        first_config(tmp_path / "none", "my.yaml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="0 tables"):
        first_config(tmp_path / "empty", "my.yaml")
    with pytest.raises(InputError, match="no table with age, sex or diagnosis"):
        first_config(study / "fs", "my.yaml")
    alone = tmp_path / "alone"
    alone.mkdir()
    (study / "clinical.tsv").rename(alone / "clinical.tsv")
    with pytest.raises(InputError, match="no table with regions of the people"):
        first_config(alone, "my.yaml")
    stats = tmp_path / "freesurfer" / "bert" / "stats"
    stats.mkdir(parents=True)
    (stats / "aseg.stats").write_text("")
    with pytest.raises(InputError, match="asegstats2table"):
        first_config(tmp_path / "freesurfer", "my.yaml")


def test_a_configuration_is_not_overwritten_unasked(study, tmp_path):
    out = tmp_path / "my.yaml"
    out.write_text("mine")
    assert CliRunner().invoke(app, ["init", str(study), "--out", str(out)]).exit_code == 2
    assert out.read_text() == "mine"
    assert CliRunner().invoke(app, ["init", str(study), "--out", str(out), "--overwrite"]).exit_code == 0
    assert out.read_text() != "mine"
