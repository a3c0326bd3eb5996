"""The page: complete, self-contained, safe to open, and in agreement with the files of the run folder."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.report.html_tables import calibration_tables, finding_tables
from pyro_mmnorm.report.page import build_report
from pyro_mmnorm.report.pictures import _calibration
from pyro_mmnorm.results.formatting import interval, number
from pyro_mmnorm.results.run_results import RunResults

CONFIG = """seed: 1
out: runs/example
data:
  participants: people.csv
  id: participant_id
  modalities: {thickness: {tables: [thickness.csv]}, volume: {tables: [volume.csv]}}
  covariates: {age: spline, site: category}
  reference: {column: diagnosis, values: [CN]}
  groups: {column: diagnosis, order: [CN, MCI, AD]}
  scores: {ADAS13: higher_is_worse}
model: {fusion: poe, likelihood: normal, prior: normal, latent_dim: 16, hidden: [64, 32], modality_weights: {}}
deviations: {kinds: [reconstruction], primary: reconstruction, draws: 256, calibrator: gaussian}
"""


def figure(value, half=0.05):
    return {"value": value, "low": value - half, "high": value + half}


def block(n, mean=0.01, sd=1.01):
    shares = {f"beyond_{cut}": figure(2 * stats.norm.sf(cut), 0.004) for cut in (1.96, 2.58, 3.29)}
    coverage = {f"coverage_{level}": figure(level / 100 - 0.004, 0.01) for level in (50, 80, 90, 95, 99)}
    rest = {name: figure(0.02) for name in ("skew", "kurtosis", "mace")}
    return {"n": n, "mean": figure(mean), "sd": figure(sd), **shares, **coverage, **rest}


def region_rows(z, subjects, labels):
    controls = z[labels == "test controls"]
    for group in labels.unique():
        mine = z[labels == group]
        for name in z.columns:
            modality, region = name.split(".", 1)
            x, y, n = mine[name].dropna(), controls[name].dropna(), int(mine[name].count())
            test, share = stats.ttest_ind(x, y, equal_var=False), (x.abs() > 1.96).mean()
            half = 1.96 * np.sqrt(share * (1 - share) / n)
            yield {
                "modality": modality, "region": region, "group": group, "n": n, "mean_z": x.mean(), "sd_z": x.std(),
                "welch_p": test.pvalue, "welch_q": min(1, test.pvalue * 4), "count_significant": round(share * n),
                "share_significant": share, "share_significant_low": max(0, share - half),
                "share_significant_high": share + half, "share_significant_controls": (y.abs() > 1.96).mean(),
                "share_poster_rule": share / 2,
            }  # fmt: skip


def write_run(folder, groups=("MCI", "AD"), people=40, regions=6, modalities=("thickness", "volume"), sd=1.01):
    """A run folder of simulated z-scores; the later a group, the larger its deviations."""
    rng = np.random.default_rng(7)
    names = [f"{m}.lh_region{i}" for m in modalities for i in range(regions)]
    labels = np.repeat(["test controls", *groups], people)
    ids = pd.Index([f"sub-{i:03d}" for i in range(len(labels))], name="id")
    severity = np.repeat(np.arange(len(groups) + 1), people)
    z = rng.normal(size=(len(ids), len(names))) - 0.4 * severity[:, None] * (np.arange(len(names)) % 3 == 0)
    z[rng.random(z.shape) < 0.03] = np.nan
    z = pd.DataFrame(z, ids, names)
    subjects = pd.DataFrame({
        "split": np.where(labels == "test controls", "test", "target"),
        "group": np.where(labels == "test controls", "CN", labels),
        "n_observed": z.count(axis=1), "mean_abs_z": z.abs().mean(axis=1), "mean_sq_z": (z**2).mean(axis=1),
        "mean_z": z.mean(axis=1), "n_outliers": (z.abs() > 1.96).sum(axis=1), "n_significant": 0, "dsi": 0.1,
        "omnibus_p": 0.04, "mse": 0.5, "most_deviant": z.abs().idxmax(axis=1),
        "age": rng.uniform(50, 90, len(ids)), "ADAS13": 10 + 8 * severity + rng.normal(size=len(ids)) * 5,
    })  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG)
    z.to_csv(folder / "z.csv")
    subjects.to_csv(folder / "subjects.csv")
    rows = pd.DataFrame(region_rows(z, subjects, pd.Series(labels, ids)))
    rows.to_csv(folder / "regions.csv", index=False)
    epochs = np.arange(60)
    loss = 140 + 40 * np.exp(-epochs / 9)
    pd.DataFrame({
        "epoch": epochs, "loss": loss, "validation_loss": loss + 6 + 0.002 * (epochs - 40) ** 2, "seconds": 0.2,
        "kl": 9.0, "active_units": np.minimum(11, epochs), "beta": 1.0,
    }).to_csv(folder / "history.csv", index=False)  # fmt: skip
    dims = ("kind", "subject", "region")
    xr.Dataset(
        {"z": (dims, z.to_numpy()[None]), "extrapolated": (dims, np.abs(np.nan_to_num(z.to_numpy()))[None] > 3)},
        {"kind": ["reconstruction"], "subject": list(ids), "region": names,
         "modality": ("region", [name.split(".")[0] for name in names])},
    ).to_netcdf(folder / "deviations.nc", engine="h5netcdf")  # fmt: skip
    calibration = {"reconstruction": {
        "overall": block(people, sd=sd),
        "groups": [{"by": "site", "level": "NYU", **block(24, sd=1.31)}, {"by": "sex", "level": "F", **block(20)}],
        "residual_correlation": {"largest": 0.31, "share_above_0.1": 0.2},
    }}  # fmt: skip
    findings = {
        "primary": {"endpoint": "AUC of mean |z|", **figure(0.8), "n": 80, "p": 1e-9, "sizes": [40, 40]},
        "notes": ["Stages in order."],
        "auc": {group: {"mean_abs_z": {**figure(0.8), "n": 80, "test": "DeLong"}} for group in groups},
        "trend": {"mean_abs_z": {"slope": {**figure(0.21), "p": 3e-9, "n": 3 * people}}},
    }
    provenance = {
        "versions": {"python": "3.12.4", "pyro-ppl": "1.9.1"}, "seed": 1, "inputs": {"people.csv": "ab" * 32},
        "steps": {"fit": {"seconds": 41.2, "peak_memory_mib": 812.5}, "score": {"seconds": 3.1}},
        "counts": {
            "subjects": {"train": 300, "calibrate": 100, "test": people, "target": people * len(groups)},
            "regions": dict.fromkeys(modalities, regions),
        },
        "notes": ["3 subjects without an age were excluded"],
    }  # fmt: skip
    for name, content in (("calibration", calibration), ("findings", findings), ("provenance", provenance)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects tags and texts."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.source = Path(path).read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        self.text.append(data)

    def all(self, *names):
        return [attrs for tag, attrs in self.tags if tag in names]

    @property
    def words(self):
        return " ".join(" ".join(self.text).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "example")
    build_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run):
    return Page(run / "report.html")


@pytest.fixture
def copy(run, tmp_path):
    """A run folder that a test may change, without its page."""
    return Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("figures", "report.html")))


@pytest.fixture
def quick(monkeypatch):
    """No figures, for tests of the texts."""
    monkeypatch.setattr("pyro_mmnorm.report.page.draw", lambda run: ({}, []))


@pytest.fixture
def findings_only(monkeypatch):
    """Only the figures of the findings."""
    monkeypatch.setattr("pyro_mmnorm.report.pictures._calibration", lambda run: iter(()))
    monkeypatch.setattr("pyro_mmnorm.report.pictures._training", lambda run: iter(()))


def rewrite(path, **changes):
    """Change top-level keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ------------------------------------------------------------------------------------------------ the page itself


def test_every_tag_closes_in_order(page):
    assert page.open == []


def test_headings_and_ids_are_a_proper_outline(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(page.all("h1")) == 1
    assert len(ids) == len(set(ids))
    assert [attrs["href"] for attrs in page.all("a")] == [f"#{attrs['id']}" for attrs in page.all("h2")]
    assert page.all("html")[0]["lang"] == "en"


def test_nothing_is_loaded_from_elsewhere(page):
    links = [attrs[name] for _, attrs in page.tags for name in ("src", "href", "srcset", "action") if name in attrs]
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not page.all("link", "iframe", "object", "embed", "base", "form")
    assert [attrs.get("type") for attrs in page.all("script")] == ["application/json", None]
    assert set(re.findall(r"url\((.)", page.source)) == {"#"}
    assert "@import" not in page.source
    [policy] = [attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    script = re.search(r"<script>(.*)</script>", page.source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_every_figure_is_embedded(run, page):
    files = sorted((run / "figures").glob("*.png"))
    embedded = {base64.b64decode(attrs["src"].partition(",")[2]) for attrs in page.all("img")}
    names = {path.stem for path in files}
    assert {"pit", "qq", "coverage", "regions", "groups", "along_age", "subjects", "frequency", "loss"} < names
    assert {"regions_01_mci", "regions_02_ad", "map_01_thickness", "score_adas13", "active_units"} < names
    assert embedded == {path.read_bytes() for path in files}


def test_figures_and_tables_are_accessible(page):
    """Every figure has an alternative text, every table a caption, every heading cell a scope."""
    assert all(len(attrs["alt"]) > 20 for attrs in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) > 10
    assert {attrs["scope"] for attrs in page.all("th")} == {"row", "col"}


def test_the_same_run_gives_the_same_page(copy, quick):
    assert build_report(copy).read_bytes() == build_report(copy).read_bytes()


def test_figures_repeat_to_the_byte_and_one_that_cannot_be_drawn_is_named(run, copy, findings_only):
    pd.read_csv(copy / "regions.csv").drop(columns="share_significant").to_csv(copy / "regions.csv", index=False)
    page = Page(build_report(copy))
    first, second = (
        {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} for folder in (run, copy)
    )
    assert len(second) == 6
    assert "frequency.png" not in second
    assert second.items() < first.items()
    assert "Figure not drawn: Proportion of people" in page.words
    assert "no column share_significant" in page.words


def test_no_temporary_file_is_left(run):
    assert list(run.rglob(".*")) == []


# ------------------------------------------------------------------------------------------------ content


def test_text_from_tables_is_escaped(tmp_path, findings_only):
    evil, group = "<script>alert(1)</script>", '<img src="https://example.org/x.png">'
    folder = write_run(tmp_path / "evil", groups=(group,), people=32, regions=2)
    for name in ("subjects.csv", "z.csv"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("sub-040", evil))
    frame = pd.read_csv(folder / "regions.csv")
    frame.replace("lh_region0", "$x^$ & <b>bold").to_csv(folder / "regions.csv", index=False)
    rewrite(folder / "provenance.json", notes=[evil], versions={evil: evil})
    page = Page(build_report(folder))
    assert len(page.all("script")) == 2, "the data and the page's own script"
    assert not page.all("b")
    assert all(attrs["src"].startswith("data:") for attrs in page.all("img"))
    for text in (evil, group, "$x^$ & <b>bold"):
        assert text in page.words
    assert "not drawn" not in page.words


def test_top_regions_are_those_of_the_file(run, page):
    regions = pd.read_csv(run / "regions.csv")
    rows = regions[regions["group"] == "AD"]
    top = rows.loc[rows["mean_z"].abs().idxmax()]
    half = stats.t.ppf(0.975, top.n - 1) * top.sd_z / np.sqrt(top.n)
    ends = ", ".join(number("", x) for x in (top.mean_z - half, top.mean_z + half))
    words = page.words.partition("AD: the 12 regions of 12")[2]
    row = f"{top.region} {top.modality} {top.n} {number('', top.mean_z)} [{ends}]"
    assert words.index(row) == words.index("lh_region"), "the first row"


def test_most_deviant_people_come_first(run, page):
    subjects = pd.read_csv(run / "subjects.csv", index_col=0)
    top = subjects[subjects["split"] == "target"]["mean_abs_z"].nlargest(20).index
    words = page.words.partition("The 20 of 80 people with the largest mean |z|")[2].partition("Training")[0]
    assert [word for word in words.split() if word.startswith("sub-")] == list(top)


def test_findings_provenance_and_training_are_shown(page):
    for text in ("Primary endpoint: AUC of mean |z|: 0.80 [0.75, 0.85], n 80, p <0.001.", "Stages in order.",
                 "AD › mean |z| 0.80 [0.75, 0.85] 80 DeLong", "mean |z| › slope 0.21 [0.16, 0.26] 120 <0.001",
                 "pyro-ppl 1.9.1", "ab" * 32, "fit 41.20 812.50", "3 subjects without an age were excluded",
                 "60 epochs in 12 s", "11 of 16 latent dimensions are active", "latent_dim 16",
                 "train 300"):  # fmt: skip
        assert text in page.words, text


def test_a_cohort_without_patients_has_a_page(tmp_path, findings_only):
    page = Page(build_report(write_run(tmp_path / "run", groups=(), people=32, regions=2)))
    assert page.open == []
    assert "there are no groups to compare" in page.words
    assert "The 20 of 32 test controls with the largest mean |z|" in page.words
    assert "not drawn" not in page.words


def test_scores_of_new_people_alone_have_a_page(copy, findings_only):
    """A folder of `mmnorm score`: no trained model, no test controls."""
    for name in ("history.csv", "findings.json", "calibration.json", "regions.csv"):
        (copy / name).unlink()
    (copy / "regions.csv").write_text("\n")
    for name in ("subjects.csv", "z.csv"):
        table = pd.read_csv(copy / name, index_col=0)
        table[table.index > "sub-039"].to_csv(copy / name)
    page = Page(build_report(copy))
    assert "in 80 people." in page.words
    assert "no model was trained" in page.words
    assert "No calibration check: no measures of test controls." in page.words
    assert (copy / "figures" / "subjects.png").is_file()


def test_without_test_controls_no_calibration_figure_is_tried(copy):
    results = RunResults.read(copy)
    results = replace(results, z=results.z.iloc[40:], subjects=results.subjects.iloc[40:])
    assert list(_calibration(results)) == []


def test_diagnostics_of_the_fit_are_shown(copy, quick):
    shares = {"share_prior": [0.2, 0.6], "share_thickness": [0.8, 0.4]}
    pd.DataFrame({"member": 0, "latent": [0, 1], "kl": [0.3, 2.1], "active": [False, True], **shares}).to_csv(
        copy / "latents.csv", index=False
    )
    diagnostics = {
        "people": 100, "latents": 2, "active_units": [1], "kl": 2.4, "log_likelihood": {"thickness": -61.5},
        "share_of_precision": {"prior": 0.4}, "best_epoch": [0], "warning": None,
    }  # fmt: skip
    (copy / "diagnostics.json").write_text(json.dumps(diagnostics))
    words = Page(build_report(copy)).words.partition("Training and diagnostics 60")[2]
    for text in ("selected weights: epoch 0 (initialisation)", "1 of 2 latent dimensions are active",
                 "Fitted model, on 100 calibration controls", "log-likelihood of thickness (nats per person) −61.50",
                 "share of precision, prior 40.0 %",
                 "1 0 1 2.10 yes 60.0 % 40.0 % 2 0 0 0.30 no 20.0 % 80.0 %"):  # fmt: skip
        assert text in words, text
    (copy / "diagnostics.json").write_text(json.dumps(diagnostics | {"warning": "0 of 2 latents active: do this."}))
    page = Page(build_report(copy))
    assert 'class="note bad"' in page.source
    assert "0 of 2 latents active: do this." in page.words


@pytest.mark.parametrize(
    ("units", "text"), [(0, "Posterior collapse: 0 of 16"), (9, "9 of 16 latent dimensions are active")]
)
def test_posterior_collapse_is_reported(copy, quick, units, text):
    history = pd.read_csv(copy / "history.csv").assign(active_units=units)
    history.to_csv(copy / "history.csv", index=False)
    page = Page(build_report(copy))
    assert text in page.words
    assert ('class="note bad"' in page.source) == (units == 0)


def test_the_share_of_extrapolated_cells_counts_observed_cells_by_group(run):
    folder = RunResults.read(run)
    z = folder.test_z
    assert folder.extrapolated["test controls"] == pytest.approx((z.abs() > 3).sum().sum() / z.notna().sum().sum())


# ------------------------------------------------------------------------------------------------ the verdict


def test_the_page_of_an_uncalibrated_run_is_red(copy, quick):
    rewrite(copy / "calibration.json", reconstruction={"overall": block(40, sd=1.43), "warnings": ["X is off"]})
    page = Page(build_report(copy))
    assert 'class="note good"' not in page.source
    assert 'class="note bad"' in page.source
    assert "SD of z: 1.43 [1.38, 1.48] (tolerance 0.95 to 1.05)" in page.words
    assert "Limitations: X is off" in page.words


def test_calibration_tables_mark_intervals_that_exclude_the_expected_value_and_keep_every_measure():
    overall = block(40, sd=1.0) | {"mace": {"value": 0.03, "null": 0.027}, "rms_mean": 0.021}
    tables = calibration_tables({"overall": overall, "groups": [{"by": "site", "level": "NYU", **block(24, sd=1.31)}]})
    cells = {(row[0].text, head): cell for table in tables for row in table.rows
             for head, cell in zip(table.head, row, strict=True)}  # fmt: skip
    assert cells["site: NYU", "SD"].tone == "bad"
    assert cells["all: test controls", "SD"].tone == ""
    assert cells["all: test controls", "MACE"].text == "0.030 (expected 0.027)"
    assert cells["all: test controls", "RMS of region means"].text == "0.021"
    assert cells["site: NYU", "RMS of region means"].text == "–"
    assert cells["all: test controls", "coverage 95 %"].text == "94.6\u00a0% [93.6, 95.6]"


# ------------------------------------------------------------------------------------------------ reading and writing


def test_ids_and_groups_stay_text(copy):
    for name in ("subjects.csv", "z.csv"):
        text = (copy / name).read_text().replace("sub-100", "007").replace("sub-101", "NA")
        (copy / name).write_text(text.replace(",MCI,", ",1,"))
    folder = RunResults.read(copy)
    assert {"007", "NA"} < set(folder.z.index) == set(folder.subjects.index)
    assert "1" in set(folder.subjects["group"])


def test_z_follows_the_order_of_the_subjects(copy):
    z = pd.read_csv(copy / "z.csv", index_col=0)
    z.iloc[::-1].to_csv(copy / "z.csv")
    folder = RunResults.read(copy)
    pd.testing.assert_frame_equal(folder.z, z, check_names=False)


@pytest.mark.parametrize("name", ["config.yaml", "z.csv", "subjects.csv"])
def test_a_folder_without_a_required_file_is_rejected(copy, name):
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"no {name}; expected a run folder"):
        build_report(copy)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "- a", "list; expected a mapping"),
        ("findings.json", "{", "expected JSON"),
        ("findings.json", "[1]", "list; expected a mapping"),
        ("z.csv", "id,thickness.a\nsomebody,1\n", "other ids in z.csv"),
        ("subjects.csv", "id,split\nsomebody,test\n", "no column group, mean_abs_z"),
    ],
)
def test_files_with_other_content_are_rejected(copy, name, content, message):
    (copy / name).write_text(content)
    with pytest.raises(InputError, match=message):
        build_report(copy)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("mean_z", -0.0512, "−0.051"), ("mean_z", 12.345, "12.35"), ("n", 59.0, "59"), ("n", 12345, "12,345"),
            ("n_outliers", 7.0, "7"), ("n_outliers", 0.37, "0.37"),
        ("welch_p", 0.0004, "<0.001"), ("welch_p", 0.04, "0.040"), ("x", float("nan"), "–"), ("x", None, "–"),
        ("x", True, "yes"), ("x", "DeLong", "DeLong"), ("x", -3e-5, "0.000"), ("hidden", [64, 32], "64, 32"),
        ("share_significant", 0.05, "5.0\u00a0%"), ("mean_z", 0.0, "0.000"),
    ],
)  # fmt: skip
def test_numbers(name, value, text):
    assert number(name, value) == text


def test_numbers_that_stand_together_have_the_same_decimals():
    assert interval("mean", {"value": 0.041, "low": -0.037, "high": 0.134}) == "0.04 [−0.04, 0.13]"
    assert interval("mean", {"value": 0.0004, "low": -0.0301, "high": 0.05}) == "0.000 [−0.030, 0.050]"
    assert interval("slope", {"value": 2, "low": 1.5, "high": 2.5}) == "2.00 [1.50, 2.50]"
    assert interval("x", {"value": None, "low": float("nan"), "high": float("nan")}) == "– [–, –]"


def test_an_interval_without_ends_is_the_value_alone():
    assert interval("sd", {"value": 1.0}) == "1.00"


def test_every_record_of_nested_findings_becomes_a_row():
    findings = {
        "groups": {"AD": {"auc": {**figure(0.8), "n": 5}}, "MCI": {"auc": {"value": 0.6, "p": 0.2}}},
        "pairs": [{"first": "CN", "second": "AD", "value": 0.3}, {"first": "CN", "second": "MCI", "value": 0.1}],
        "mixed": {"n": 4, "inner": {"value": 2.0}, "word": "x"},
        "plain": [1, 2],
        "alone": 7,
        "empty": {},
    }
    tables = {table.caption: [[cell.text for cell in row] for row in table.rows] for table in finding_tables(findings)}
    assert tables["Means of the measures of a person, by group"] == [
        ["AD › AUC", "0.80 [0.75, 0.85]", "5", "–"],
        ["MCI › AUC", "0.60", "–", "0.200"],
    ]
    pairs = tables["Differences between groups"]
    assert pairs == [["pairs", "0.30", "CN", "AD"], ["pairs", "0.10", "CN", "MCI"]]
    assert tables["Mixed"] == [["mixed", "–", "4", "x"], ["inner", "2.00", "–", "–"]]
    assert tables["Plain"] == [["1", "1"], ["2", "2"]]
    assert tables["Summary"] == [["alone", "7"]]
    assert all(len(row) == len(table.head) for table in finding_tables(findings) for row in table.rows)
