"""The page in a browser: no network, use by pointer, keyboard and screen reader, no execution of text from tables."""

import collections
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pyro_mmnorm.data.atlas import CORTEX, PAIRED, SUBFIELDS
from pyro_mmnorm.report.page import build_report

pytestmark = pytest.mark.slow

EVIL = "<script>document.title='run'</script>"
EVIL_GROUP = "</script><img src=x onerror=document.title='run'>"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
SIZES = {"wide": (1280, 900), "phone": (390, 844)}
CONFIG = """data:
  covariates: {age: spline, sex: category}
  groups: {column: diagnosis, order: [CN, MCI, AD]}
  scores: {MMSE: higher_is_better}
deviations: {primary: reconstruction}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with regions that have shapes, centile curves, and people and groups with unusual names."""
    folder, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(3)
    regions = [f"cortical.{side}h_{name}_volume" for side in "lr" for name in CORTEX]
    regions += [f"deep.{side}-{name}" for side in ("Left", "Right") for name in PAIRED]
    regions += [f"hippocampal.{side}_{name}" for side in ("left", "right") for name in SUBFIELDS if name != "CA4-DG"]
    groups = np.repeat(["CN", "MCI", "AD", EVIL_GROUP], 15)
    ids = pd.Index([EVIL, *(f"sub-{i:02d}" for i in range(1, 60))], name="id")
    z = pd.DataFrame(rng.normal(size=(60, len(regions))), ids, regions)
    z.iloc[1, :3] = np.nan
    subjects = pd.DataFrame(
        {"split": np.where(groups == "CN", "test", "target"), "group": groups, "n_observed": z.count(axis=1),
         "mean_abs_z": z.abs().mean(axis=1), "omnibus_p": rng.uniform(size=60), "age": rng.uniform(50, 90, 60),
         "sex": rng.choice(["F", "M"], 60), "MMSE": 28.0, "outside_range": ["age", *[""] * 59]}, ids,
    )  # fmt: skip
    (folder / "config.yaml").write_text(CONFIG)
    z.to_csv(folder / "z.csv")
    subjects.to_csv(folder / "subjects.csv")
    names = ("test controls", "MCI", "AD", EVIL_GROUP)
    rows = [(*name.split(".", 1), group, 15, *rng.uniform(0, 1, 4)) for name in regions for group in names]
    columns = ["modality", "region", "group", "n", "mean_z", "sd_z", "welch_q", "share_significant"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "regions.csv", index=False)
    dims, coords = ("kind", "subject", "region"), {"kind": ["reconstruction"], "subject": list(ids), "region": regions}
    tables = {
        name: (dims, rng.uniform(size=(1, *z.shape)) + 0 * z.to_numpy()) for name in ("p", "q", "expected", "observed")
    }
    xr.Dataset({"z": (dims, z.to_numpy()[None]), **tables}, coords).to_netcdf(
        folder / "deviations.nc", "w", engine="h5netcdf"
    )
    curves = np.sort(rng.uniform(size=(2, len(regions), 3, 4)), axis=2)
    coords = {"region": regions, "centile": [5, 50, 95], "age": [50, 60, 70, 80], "sex": ("profile", ["F", "M"])}
    curves = xr.Dataset({"value": (("profile", "region", "centile", "age"), curves)}, coords)
    curves.to_netcdf(folder / "centiles.nc", engine="h5netcdf")
    build_report(folder)
    return folder


@pytest.fixture(scope="module")
def chromium():
    path = os.environ.get("MMNORM_CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("no chromium on this machine: apt-get install chromium, or set MMNORM_CHROMIUM to its path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(run, chromium):
    """Open the page in a size and colour scheme, offline; its messages and requests are recorded."""
    contexts = []

    def open_page(size="wide", scheme="light"):
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.logged, page.asked = [], []
        page.on("console", lambda message: page.logged.append(message.text))
        page.on("pageerror", lambda error: page.logged.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto((run / "report.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def artefacts():
    folder = Path(os.environ.get("MMNORM_ARTEFACTS") or Path(tempfile.gettempdir()) / "mmnorm_artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def column(page, table, i):
    return page.locator(f"{table} tbody tr > :nth-child({i})").all_text_contents()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_self_contained_and_accessible(opened, artefacts, run, size, scheme):
    """No message on the console, nothing fetched, nothing wider than the screen, and no serious finding of axe-core."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened(size, scheme)
    assert page.logged == []
    assert page.asked == [(run / "report.html").as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    found = Axe().run(page).response["violations"]
    bad = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
    assert bad == []
    page.screenshot(path=artefacts / f"report_{size}_{scheme}.png", full_page=True)


def test_every_part_has_an_accessible_name(opened):
    """In the accessibility tree of Chromium: headings in order; figures, tables, buttons and fields with names."""
    page = opened()
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named = [(n["role"]["value"], n.get("name", {}).get("value", ""), n) for n in nodes if not n["ignored"]]
    levels = [
        p["value"]["value"]
        for role, _, n in named
        if role == "heading"
        for p in n["properties"]
        if p["name"] == "level"
    ]
    assert levels[0] == 1
    assert 1 not in levels[1:]
    assert all(level <= before + 1 for before, level in itertools.pairwise(levels))
    roles = ("heading", "figure", "image", "table", "button", "textbox", "searchbox", "combobox", "checkbox", "region")
    count = collections.Counter(role for role, _, _ in named)
    assert [role for role in ("heading", "figure", "image", "table", "button", "combobox") if not count[role]] == []
    assert [(role, n["nodeId"]) for role, name, n in named if role in roles and not name.strip()] == []
    regions = [name for role, name, _ in named if role == "region"]
    assert len(regions) == len(set(regions))


def test_a_change_of_person_is_announced(opened):
    page = opened()
    before = page.inner_text("[aria-live]")
    page.click("#after")
    after = page.inner_text("[aria-live]")
    assert after != before
    assert after == page.inner_text("#who")


@pytest.mark.parametrize("size", SIZES)
def test_printed_tables_are_complete(opened, size):
    """On A4, no table is wider than the paper, for any size of the screen."""
    page = opened(size)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": round(186 / 25.4 * 96), "height": 1000})
    cut = (
        "[...document.querySelectorAll('.tabled')].filter(t => t.scrollWidth > t.clientWidth + 1).map(t => t.innerText)"
    )
    assert page.evaluate(cut) == []
    assert (
        page.locator("button:visible").count() == page.locator("tbody th button:visible, thead button:visible").count()
    )


def test_another_person_is_shown_with_their_own_values(opened, run):
    page, z = opened(), pd.read_csv(run / "z.csv", index_col=0)
    for person in ("sub-07", "sub-33"):
        page.select_option("#person", label=f"{person} · {'test controls' if person < 'sub-15' else 'AD'}")
        assert page.inner_text("#who").startswith(person)
        top = z.loc[person].abs().nlargest(10).index
        assert column(page, "#strongest", 1) == [name.partition(".")[2] for name in top]
        assert column(page, "#strongest", 3) == [f"{x:.2f}".replace("-", "−") for x in z.loc[person, top]]
        mark = page.locator(f".explorer use[data-region='{list(z).index(top[0])}']").first
        assert f"z {z.loc[person, top[0]]:.2f}".replace("-", "−") in mark.get_attribute("aria-label")
        assert top[0].partition(".")[2] in page.inner_text("#curve-text")
    page.click("#after")
    assert not page.inner_text("#who").startswith("sub-33")


def test_people_are_found_by_a_part_of_their_id(opened):
    page = opened()
    page.fill("#find", "SUB-1")
    assert page.inner_text("#matches") == "10 of 60 people"
    assert page.inner_text("#who").startswith("sub-1")
    page.fill("#find", "nobody")
    assert page.inner_text("#matches") == "0 of 60 people"
    assert page.logged == []


def test_a_region_that_was_not_observed_is_hatched_and_has_no_point(opened):
    page = opened()
    page.fill("#find", "sub-01")
    fill = "getComputedStyle(document.querySelector('.explorer use[data-region=\"{}\"]')).fill"
    assert "#hatch-wide" in page.evaluate(fill.format(0))
    assert page.evaluate(fill.format(5)).startswith("rgb")
    page.select_option("#region", "0")
    assert "this person not observed" in page.inner_text("#curve-text")
    assert page.locator("#curve circle").count() == 0
    page.select_option("#region", "5")
    assert page.locator("#curve circle").count() == 1


def test_every_column_sorts_in_both_directions_by_number_or_by_text(opened):
    page = opened()
    table = "#strongest"
    for i, key in ((3, lambda x: float(x.replace("−", "-"))), (1, str.lower)):
        button = page.locator(f"{table} thead th:nth-child({i})")
        orders = set()
        for _ in range(2):
            button.locator("button").click()
            order = button.get_attribute("aria-sort")
            orders.add(order)
            texts = column(page, table, i)
            assert texts == sorted(texts, key=key, reverse=order == "descending")
        assert orders == {"ascending", "descending"}
        assert page.locator(f"{table} [aria-sort]").count() == 1


def test_a_table_is_downloaded_as_csv(opened, tmp_path):
    page = opened()
    with page.expect_download() as event:
        page.get_by_role("button", name="Download as CSV: The ten regions with the largest |z|").click()
    event.value.save_as(tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv", encoding="utf-8-sig")
    assert event.value.suggested_filename == "the-ten-regions-with-the-largest-z.csv"
    assert list(table) == ["region", "modality", "z", "p", "q", "observed", "expected"]
    assert list(table["region"]) == column(page, "#strongest", 1)
    assert table["z"].abs().is_monotonic_decreasing
    with page.expect_download() as event:
        page.get_by_role("button", name="Download as CSV: MCI: the 15 regions").click()
    event.value.save_as(tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv", encoding="utf-8-sig")
    assert (table["mean z, low"] < table["mean z"]).all(), "an interval gives three columns of numbers"


def test_text_of_tables_is_never_executed(opened):
    page = opened()
    page.fill("#find", EVIL)
    assert page.inner_text("#who").startswith(EVIL)
    page.fill("#find", EVIL_GROUP)
    assert page.inner_text("#matches") == "15 of 60 people"
    assert EVIL_GROUP in page.inner_text("#facts")
    assert page.title() != "run"
    assert page.locator("img[src=x]").count() == 0
    assert page.logged == []


def test_a_person_outside_the_range_of_training_is_marked(opened):
    page = opened()
    page.fill("#find", EVIL)
    assert page.inner_text("#caution") == "Outside the range of the training data (extrapolating): age."
    page.fill("#find", "sub-05")
    assert page.locator("#caution").is_hidden()


def test_regions_show_their_value_to_pointer_and_keyboard(opened):
    page = opened()
    views = page.locator(".views").first
    assert views.locator("[tabindex='0']").count() == 1, "one tab stop per map"
    views.locator("use.mark").nth(2).hover(force=True)
    hovered = page.inner_text("#tip")
    assert "_volume (cortical): " in hovered
    views.locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#tip") == page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("End")
    last = views.locator("use.mark").last.get_attribute("aria-label")
    assert page.inner_text("#tip") == last
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_the_policy_blocks_foreign_scripts(opened):
    page = opened()
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))")
    assert page.title() != "1"
    assert any("Content Security Policy" in text for text in page.logged)


def test_the_data_of_the_page_agree_with_the_files(opened, run):
    page = opened()
    data = json.loads(page.locator("#people-data").text_content())
    z = pd.read_csv(run / "z.csv", index_col=0)
    assert set(data["ids"]) == set(z.index)
    assert data["regions"] == [name.partition(".")[2] for name in z]
