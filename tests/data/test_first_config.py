"""The first configuration: valid for common names, with notes on exclusions, and no guesses about healthy people."""

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
    """Typical tables: different id names, a tsv, FreeSurfer's first column, missing cells, an unknown id."""
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


def test_a_typical_study_needs_no_edit(study, tmp_path):
    text, summary = first_config(study, tmp_path / "my.yaml")
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
    assert summary[:2] == ["clinical.tsv: table of 80 people, ids in 'Subject ID'",
                        "aparc_thickness: 6 regions, 80 of 80 people"]  # fmt: skip
    assert "volumes: 2 regions, 79 of 80 people" in summary


@pytest.mark.parametrize("labels", [["1", "2"], ["0", "1"], ["patient", "other"], ["HCX", "AD"]])
def test_healthy_people_are_not_guessed(study, tmp_path, labels):
    people = pd.read_csv(study / "clinical.tsv", sep="\t").assign(**{"Dx Group": labels * 40})
    people.to_csv(study / "clinical.tsv", sep="\t", index=False)
    out = tmp_path / "my.yaml"
    result = CliRunner().invoke(app, ["init", str(study), "--out", str(out)])
    assert result.exit_code == 0
    assert "Define the healthy people" in result.stdout
    assert UNKNOWN in out.read_text()
    refused = CliRunner().invoke(app, ["inspect", str(out)])
    assert refused.exit_code == 2
    assert all(label in refused.stderr for label in labels)


def test_without_any_possible_diagnosis_all_people_are_the_reference(study, tmp_path):
    people = pd.read_csv(study / "clinical.tsv", sep="\t").drop(columns="Dx Group")
    people.to_csv(study / "clinical.tsv", sep="\t", index=False)
    assert parse_config(first_config(study, tmp_path / "my.yaml")[0]).data.reference == "everyone"


def test_a_diagnosis_with_an_unusual_name_is_reported(study, tmp_path):
    """Otherwise the norm would be trained on its patients."""
    people = pd.read_csv(study / "clinical.tsv", sep="\t").rename(columns={"Dx Group": "grp2"})
    people.to_csv(study / "clinical.tsv", sep="\t", index=False)
    text, summary = first_config(study, tmp_path / "my.yaml")
    assert UNKNOWN in text
    assert any("grp2" in sentence for sentence in summary)


def test_two_spellings_of_a_group_are_reported(study, tmp_path):
    people = pd.read_csv(study / "clinical.tsv", sep="\t")
    people.loc[people["Dx Group"].eq("AD").idxmax(), "Dx Group"] = "ad"
    people.to_csv(study / "clinical.tsv", sep="\t", index=False)
    assert any("'AD' and 'ad'" in sentence for sentence in first_config(study, tmp_path / "my.yaml")[1])


def test_excluded_tables_are_reported(study, tmp_path):
    (study / "other.csv").write_text("id,a,b\nx,1,2\n")
    (study / "one.csv").write_text("id,a\nP000,1\n")
    (study / "broken.csv").write_text("id,a\nP000\n")
    text, summary = first_config(study, tmp_path / "my.yaml")
    for name in ("other.csv", "one.csv", "broken.csv"):
        assert any(name in sentence for sentence in summary)
        assert f"# {name}" in text


def test_invalid_folders_are_refused(study, tmp_path):
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


def test_a_configuration_is_not_overwritten_by_default(study, tmp_path):
    out = tmp_path / "my.yaml"
    out.write_text("mine")
    assert CliRunner().invoke(app, ["init", str(study), "--out", str(out)]).exit_code == 2
    assert out.read_text() == "mine"
    assert CliRunner().invoke(app, ["init", str(study), "--out", str(out), "--overwrite"]).exit_code == 0
    assert out.read_text() != "mine"
