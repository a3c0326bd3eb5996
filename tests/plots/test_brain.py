"""Maps of the brain: every spelling of a region gets its shape and its colour."""

import csv
import io
import subprocess
import sys
from importlib.resources import files
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.path import Path

from pyro_mmnorm import plots
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.atlas import CORTEX, MIDLINE, PAIRED, SUBFIELDS, Region, region_of
from pyro_mmnorm.plots.brain import _scale
from pyro_mmnorm.plots.panels import _luminance
from pyro_mmnorm.plots.shapes import brain_svg_shapes, svg_path

SIDES = ("left", "right")
DRAWN = ("Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala", "Accumbens-area")
SPLIT = [
    f"{field}-{part}" for field, part in product(["CA1", "CA3", "GC-ML-DG", "molecular_layer_HP"], ["head", "body"])
]
REGIONS = (
    [Region(name, side, "cortex") for name, side in product(CORTEX, SIDES)]
    + [Region(name, side, "subcortex") for name, side in product(PAIRED, SIDES)]
    + [Region(name, "", "subcortex") for name in MIDLINE]
    + [Region(name, side, "hippocampus") for name, side in product([*SUBFIELDS, *SPLIT], SIDES)]
)
ATLAS = [f"{h}_{name}_volume" for h, name in product(("lh", "rh"), CORTEX)]


def spellings(region):
    """Spellings of a region in FreeSurfer, ENIGMA, ADNI, UK Biobank and our own results."""
    name, side = region.name, region.side
    if not side:
        return [region.id, name.replace("-", ""), name.lower(), f"subcortical.{name}", f"Volume of {name} | Instance 2"]
    hemi, letter, camel = f"{side[0]}h", side[0].upper(), "".join(word for word in name.replace("_", "-").split("-"))
    plain = [
        region.id, f"{side}_{name}", f"{side.title()}-{name}", f"{hemi}_{name}", f"{hemi}.{name}", f"{letter}_{name}",
        f"{name}_{side}", f"{name}_{letter}", f"{name}.{letter}", f"{name}-{hemi}", f"{side.title()} {name}",
        f"{letter} {name}", f"{side.title()}{camel}", f"{letter}{camel}", name.upper() + f"_{hemi.upper()}",
        f"Volume of {name} ({side} hemisphere)", f"Volume of {name} ({side} hemisphere) | Instance 2",
    ]  # fmt: skip
    measured = [f"{hemi}_{name}_{m}" for m in ("volume", "thickness", "area", "meancurv", "thicknessstd")]
    enigma = [f"{letter}_{name}_{m}" for m in ("thickavg", "surfavg")]
    return [*plain, *measured, *enigma, *(f"{m}.{s}" for m, s in product(("cortical", "T1 volume"), plain))]


# --------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.id)
def test_every_spelling_is_recognised(region):
    assert {name: region_of(name) for name in spellings(region)} == dict.fromkeys(spellings(region), region)


def test_synonyms_name_the_same_region_on_both_sides():
    for table, system in ((PAIRED, "subcortex"), (SUBFIELDS, "hippocampus")):
        for (name, words), side in product(table.items(), SIDES):
            for word in words.split():
                assert region_of(f"{side}_{word}") == region_of(f"{side[0]}{word}") == Region(name, side, system)


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("Left-Thalamus-Proper", "Left-Thalamus"),
        ("Lthal", "Left-Thalamus"),
        ("Rhippo", "Right-Hippocampus"),
        ("LLatVent", "Left-Lateral-Ventricle"),
        ("RightCA4_DG", "right_CA4-DG"),
        ("LeftCA2_3", "left_CA3"),
        ("left_molecular_layer_HP-head", "left_molecular_layer_HP-head"),
        ("Right superior frontal gyrus", "ctx-rh-superiorfrontal"),
        ("Left banks of the superior temporal sulcus", "ctx-lh-bankssts"),
        ("LeftCerebellumWM", "Left-Cerebellum-White-Matter"),
        ("lh.rh_insula_area", "ctx-rh-insula"),  # a modality named lh
    ],
)
def test_words_of_public_tables(name, id_):
    assert region_of(name).id == id_


def test_white_matter_under_a_region_is_not_its_cortex():
    assert region_of("wm-lh-insula").system == region_of("Left-UnsegmentedWhiteMatter").system == "other"


def test_a_paired_region_without_a_side_has_no_shape():
    assert {region_of(name).system for name in ("insula", "Hippocampus", "CA1-head")} == {"other"}


@pytest.mark.parametrize(
    "name", ["", "age", "lh_", "left_right_insula", "lh_insula_rh", "lh_insula.1", "left_3rd-Ventricle", "26789-2.0"]
)
def test_ambiguous_names_are_no_region(name):
    assert region_of(name) is None


@given(st.text(max_size=30))
def test_any_text_is_a_region_or_none(text):
    assert region_of(text) is None or region_of(text).name


def test_exchanging_the_side_in_a_name_exchanges_the_side_of_the_region():
    """For every spelling of every region with a side."""
    for region in REGIONS:
        if region.side:
            other = Region(region.name, "right" if region.side == "left" else "left", region.system)
            for mine, theirs in zip(spellings(region), spellings(other), strict=True):
                assert region_of(mine).side == region.side != region_of(theirs).side


def test_headers_of_real_tables_are_known(shared):
    names = set()
    for table in [*(shared / "data").glob("*/stats/*.tsv"), *(shared / "data").glob("*/derivatives/*/*.tsv")]:
        names |= set(table.read_text(encoding="utf-8").partition("\n")[0].strip().split("\t")[1:])
    with (shared / "reference" / "adni_st_codes.csv").open(encoding="utf-8") as rows:
        names |= {row["region"] for row in csv.DictReader(rows)}
    with (shared / "reference" / "ukb_freesurfer_fields.csv").open(encoding="utf-8") as rows:
        names |= {f"Volume of {row['region']} ({row['hemi'] or 'no'} hemisphere)" for row in csv.DictReader(rows)}
    known = {name: region_of(name) for name in names if "(no hemisphere)" not in name}
    assert [name for name, region in known.items() if region is None] == []
    for name, region in known.items():
        sides = ("left", "lh", "lh_"), ("right", "rh", "rh_")
        named = [side for side, words in zip(SIDES, sides, strict=True) if name.lower().startswith(words)]
        assert not named or region.side == named[0]


# --------------------------------------------------------------------------------------------------------- shapes


def test_every_region_has_a_shape_of_its_own_name():
    views = brain_svg_shapes()
    drawn = {shape for view in list(views)[:4] for shape in views[view].shapes}
    cortex = {Region(name, side, "cortex").id for name, side in product(CORTEX, SIDES)}
    assert drawn == cortex | {Region(name, side, "subcortex").id for name, side in product(DRAWN, SIDES)}
    assert set(views["deep"].shapes) == {region.id for region in REGIONS if region.system == "subcortex"}
    fields = {shape for view in list(views)[5:] for shape in views[view].shapes}
    assert all(region_of(shape).id == shape for shape in drawn | fields)
    whole = {Region(name, side, "hippocampus").id for name, side in product(SUBFIELDS, SIDES) if name != "CA4-DG"}
    assert set(views["hippocampus"].shapes) == whole


def test_shapes_are_on_their_side_and_in_their_box():
    for name, view in brain_svg_shapes().items():
        x, y, w, h = view.view_box
        for shape, d in view.shapes.items():
            (x0, y0), (x1, y1) = svg_path(d).get_extents().get_points()
            assert x <= x0 < x1 <= x + w
            assert y <= y0 < y1 <= y + h
            side = region_of(shape).side
            if name.startswith(SIDES):
                assert name.startswith(side)
            elif side:
                assert np.sign(x0) == np.sign(x1) == (1 if side == "right" else -1)


@pytest.mark.parametrize("name", ["deep", "hippocampus", "hippocampus head", "hippocampus body"])
def test_shapes_of_a_schematic_do_not_overlap_and_contain_their_label(name):
    """Less than 1 % of the points of a grid are in two shapes (touching edges); holes are not part of a shape."""
    view = brain_svg_shapes()[name]
    x, y, w, h = view.view_box
    grid = np.stack(np.meshgrid(np.linspace(x, x + w, 160), np.linspace(y, y + h, 120)), -1).reshape(-1, 2)
    outlines = {shape: svg_path(d.partition("Z")[0] + "Z") for shape, d in view.shapes.items()}
    inside = {shape: path.contains_points(grid) for shape, path in outlines.items()}
    for side in ("Left", "Right") if name == "deep" else ():
        inside[f"{side}-Cerebellum-Cortex"] &= ~inside[f"{side}-Cerebellum-White-Matter"]
    hits = sum(part.astype(int) for part in inside.values())
    assert (hits > 1).sum() < 0.01 * (hits > 0).sum()
    for label in view.labels:
        holders = [shape for shape, path in outlines.items() if path.contains_point(label.at)]
        assert label.shape in holders if label.shape else holders


def test_labels_of_a_schematic_do_not_overlap():
    """Labels beside the shapes are 8 pt high at 4.4 inches for 232 units: at least 6 units apart."""
    beside = [label.text_at for label in brain_svg_shapes()["deep"].labels if label.text_at[0] > 60]
    assert min(abs(a[1] - b[1]) for a, b in combinations(beside, 2)) > 6


def test_paths_keep_their_coordinates():
    path = svg_path("M0 0L4 0C4 2 2 4 0 4Z")
    np.testing.assert_allclose(path.get_extents().get_points(), [[0, 0], [4, 4]])
    assert path.codes.tolist() == [Path.MOVETO, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]


def test_a_path_may_have_several_parts_and_negative_numbers():
    path = svg_path("M-1 -2L3 -2 3 0.5ZM5 5L6 6Z")
    corners = [[-1, -2], [3, -2], [3, 0.5], [3, 0.5], [5, 5], [6, 6], [6, 6]]
    np.testing.assert_array_equal(path.vertices, corners)


def test_every_path_has_only_the_commands_that_svg_path_reads():
    views = brain_svg_shapes().values()
    paths = [d for view in views for d in (*view.shapes.values(), view.ground, view.lines)]
    assert {letter for d in paths for letter in d if letter.isalpha()} == set("MLCZ")


def test_the_cortex_is_drawn_without_the_package_it_comes_from():
    """The only drawing that is opened is the file of ours, and no parser of SVG paths is loaded."""
    code = (
        "import pathlib, sys\n"
        "from pyro_mmnorm.plots.shapes import brain_svg_shapes\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "assert len(brain_svg_shapes()['left lateral'].shapes) == 21\n"
        "names = [pathlib.Path(name).name for name in opened if name.endswith('.svg')]\n"
        "assert names == ['cortex.svg'], names\n"
        "assert not {'fontTools.svgLib', 'pySimpleBrainPlot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_licence_lies_beside_the_drawing():
    folder = files("pyro_mmnorm.plots")
    licence = folder.joinpath("cortex.LICENSE").read_text(encoding="utf-8")
    assert "cortex.LICENSE" in folder.joinpath("cortex.svg").read_text(encoding="utf-8")
    for part in ("10.5281/zenodo.5346593", "pySimpleBrainPlot 0.0.4", "MIT License", "Permission is hereby granted"):
        assert part in licence


# --------------------------------------------------------------------------------------------------------- figures


def faces(figure):
    """Id of a shape -> its patches, over all panels."""
    found = {}
    for patch in (patch for ax in figure.axes for patch in ax.patches if patch.get_gid()):
        found.setdefault(patch.get_gid(), []).append(patch)
    return found


def words(figure):
    return " ".join(text.get_text() for text in figure.texts)


@pytest.fixture
def values():
    names = [region.id for region in REGIONS if "CA4-DG" not in region.id and "-head" not in region.id]
    names = [name for name in names if "-body" not in name]
    return pd.Series(np.linspace(-2, 1.5, len(names)), names)


def test_every_shape_has_the_colour_of_its_value(values):
    scale = _scale(values.to_numpy(), "diverging", None, "z")
    found = faces(plots.brain_map(values))
    assert set(found) == set(values.index)
    for name, value in values.items():
        expected = scale.to_rgba(np.array([value]))[0, :3]
        for patch in found[name]:
            np.testing.assert_allclose(patch.get_facecolor()[:3], expected, atol=0.003)  # 8 bits a channel


def test_one_changed_region_changes_its_own_shapes_only(values):
    flat = pd.Series(0.0, values.index)
    before = faces(plots.brain_map(flat, limit=1))
    after = faces(plots.brain_map(flat.where(flat.index != "ctx-lh-insula", -1.0), limit=1))
    changed = {n for n, patches in after.items() if patches[0].get_facecolor() != before[n][0].get_facecolor()}
    assert changed == {"ctx-lh-insula"}


def test_colours_are_monotone_and_symmetric_about_zero():
    """Lightness decreases with |z| on both sides, equal within 0.12; red above 0, blue below."""
    scale = _scale(np.array([-2.0, 1.0]), "diverging", None, "z")
    assert (scale.norm.vmin, scale.norm.vmax) == (-2, 2)
    size = np.linspace(0, 2, 41)
    up, down = (scale.to_rgba(sign * size)[:, :3] for sign in (1, -1))
    light_up, light_down = (np.array([_luminance(tuple(rgb)) for rgb in side]) for side in (up, down))
    assert (np.diff(light_up) < 0).all()
    assert (np.diff(light_down) < 0).all()
    assert np.abs(light_up - light_down).max() < 0.12
    assert (up[5:, 0] > up[5:, 2]).all()
    assert (down[5:, 0] < down[5:, 2]).all()


def test_counts_start_at_zero_and_darken():
    scale = _scale(np.array([0.2, 0.8]), "sequential", None, "share")
    assert (scale.norm.vmin, scale.norm.vmax) == (0, 0.8)
    light = [_luminance(tuple(rgb)) for rgb in scale.to_rgba(np.linspace(0, 0.8, 30))[:, :3]]
    assert (np.diff(light) < 0).all()


def test_small_means_stay_pale_and_a_limit_is_kept():
    assert _scale(np.array([0.1]), "diverging", None, "z").norm.vmax == 1
    assert _scale(np.array([5.0]), "diverging", 2.0, "z").norm.vmax == 2


def test_missing_regions_are_hatched_and_named(values):
    values["ctx-lh-insula"] = np.nan
    figure = plots.brain_map(values.drop(["ctx-rh-insula", "right_CA1"]).rename({"CC_Central": "mystery"}))
    hatched = {name for name, patches in faces(figure).items() if all(patch.get_hatch() for patch in patches)}
    assert hatched == {"ctx-lh-insula", "ctx-rh-insula", "right_CA1", "CC_Central"}
    assert "Hatched (no value): insula (L, R), CC_Central, CA1 (R)." in words(figure)
    assert "(unknown name): mystery" in words(figure)


def test_regions_without_a_shape_are_named():
    figure = plots.brain_map(pd.Series({"lh_insula_area": 1.0, "CSF": 2.0, "wm-lh-insula": 0.0, "insula": 0.0}))
    assert "(no shape or no side): CSF, wm-lh-insula, insula" in words(figure)


def test_only_the_parts_with_values_are_drawn(values):
    figures = {
        "cortex": plots.brain_map(pd.Series(1.0, ATLAS)),
        "subcortex": plots.brain_map(values.filter(like="Thalamus")),
        "hippocampus": plots.brain_map(values.filter(like="CA1")),
    }
    assert {part: len(figure.axes) - 1 for part, figure in figures.items()} == {
        "cortex": 4, "subcortex": 3, "hippocampus": 1,
    }  # fmt: skip
    blank = faces(figures["subcortex"])["ctx-lh-cuneus"][0]
    assert not blank.get_hatch()


def test_head_and_body_are_drawn_where_they_were_measured():
    figure = plots.brain_map(pd.Series({"left_CA1-head": 1.0, "left_CA1-body": -1.0, "left_HATA": 0.0}))
    assert len(figure.axes) == 3
    assert {"left_CA1-head", "left_CA1-body"} < set(faces(figure))
    assert "left_CA1" not in faces(figure)


def test_two_subfields_in_one_colour_both_shapes():
    found = faces(plots.brain_map(pd.Series({"LeftCA4_DG": -1.0, "RightCA4_DG": 1.0})))
    assert found["left_CA4"][0].get_facecolor() == found["left_GC-ML-DG"][0].get_facecolor()
    assert found["left_CA4"][0].get_facecolor() != found["right_CA4"][0].get_facecolor()


def test_faded_regions_are_paler_and_have_no_dark_edge(values):
    by_name = plots.brain_map(values, faded={"ctx-lh-insula"})
    by_truth = plots.brain_map(values, faded=pd.Series(values.index == "ctx-lh-insula", values.index))
    plain = faces(plots.brain_map(values))
    for figure in (by_name, by_truth):
        for name, patches in faces(figure).items():
            pale, full = (_luminance(p[0].get_facecolor()[:3]) for p in (patches, plain[name]))
            assert pale > full if name == "ctx-lh-insula" else pale == full
    assert "not significant" in words(by_name)
    assert "not significant" not in words(plots.brain_map(values))


def test_a_faded_insula_is_not_hidden_by_its_neighbours(values):
    figure = plots.brain_map(values, faded={"ctx-lh-insula", "ctx-rh-insula"})
    last = [[patch.get_gid() for patch in ax.patches if patch.get_gid()][-1] for ax in figure.axes[:4]]
    assert [last[0], last[3]] == ["ctx-lh-insula", "ctx-rh-insula"]


def test_title_number_of_people_and_unit_are_shown(values):
    figure = plots.brain_map(values, label="mean z", title="AD", n=1410)
    assert figure.texts[0].get_text() == "AD, n 1,410"
    assert figure.axes[-1].get_xlabel() == "mean z"


def test_small_multiples_share_one_scale(values):
    frame = pd.DataFrame({"sMCI": 0.5 * values, "AD": values})
    frame.loc["ctx-lh-insula", "sMCI"] = np.nan
    figure = plots.brain_maps(frame, n={"sMCI": 80, "AD": 141}, faded=frame.abs() < 0)
    assert [text.get_text() for text in figure.texts][1:4] == ["sMCI, n 80", "AD, n 141", "Key to the schematics"]
    assert "Hatched (no value in sMCI): insula (L)." in words(figure)
    scale = _scale(values.to_numpy(), "diverging", None, "z")
    patches = faces(figure)["ctx-rh-superiorfrontal"]
    assert len(patches) == 4  # lateral and medial, in two groups
    half = scale.to_rgba(np.array([0.5 * values["ctx-rh-superiorfrontal"]]))[0, :3]
    np.testing.assert_allclose(to_rgb(patches[0].get_facecolor()[:3]), half, atol=0.003)


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_figures_are_saved_as_raster_and_vector_graphics(form):
    out = io.BytesIO()
    figure = plots.brain_map(pd.Series({"lh_insula": 1.0}))
    assert isinstance(figure, Figure)
    figure.savefig(out, format=form)
    assert len(out.getvalue()) > 10_000
    assert out.getvalue().count(b"<image") == (form == "svg")  # the colours of the bar; the brain is of curves


def test_texts_of_a_full_figure_are_inside_and_do_not_overlap(values):
    """All texts are inside the figure, and no two overlap (tolerance of 1 pixel at 100 dots per inch)."""
    frame = pd.DataFrame({"MCI": values, "AD": values})
    for figure in (plots.brain_map(values, n=9, faded={"ctx-lh-insula"}), plots.brain_maps(frame)):
        figure.canvas.draw()
        page = figure.bbox
        texts = [t for ax in figure.axes for t in [*ax.texts, ax.title] if t.get_text()] + figure.texts
        boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
        for text, box in boxes:
            assert page.x0 <= box.x0 < box.x1 <= page.x1, text
            assert page.y0 <= box.y0 < box.y1 <= page.y1, text
        for (one, a), (two, b) in combinations(boxes, 2):
            assert not a.padded(-1).overlaps(b.padded(-1)), (one, two)


INSULA = pd.Series({"lh_insula": 1.0})


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.brain_map(pd.Series({"CSF": 1.0, "age": 2.0})), "no region with a shape among 2 names"),
        (
            lambda: plots.brain_map(pd.Series({"lh_insula_area": 1.0, "lh_insula_volume": 2.0})),
            "both are ctx-lh-insula",
        ),
        (lambda: plots.brain_map(pd.Series({"left_CA4": 1.0, "left_CA4-DG": 2.0})), "both are left_CA4-DG"),
        (lambda: plots.brain_map(pd.Series([1.0, 2.0], ["lh_insula"] * 2)), "'lh_insula' and 'lh_insula' both are"),
        (lambda: plots.brain_map(INSULA * np.nan), "no number"),
        (lambda: plots.brain_map(INSULA * np.inf), "1 values that are not finite, first at 'lh_insula'"),
        (lambda: plots.brain_map(pd.Series({"lh_insula": "high"})), "1 values that are not finite"),
        (lambda: plots.brain_map(INSULA, kind="rainbow"), "'rainbow'; expected diverging or sequential"),
        (lambda: plots.brain_map(INSULA, limit=0), "limit: 0; expected a number above 0"),
        (lambda: plots.brain_map(INSULA, limit=np.nan), "limit: nan"),
        (lambda: plots.brain_map(-INSULA, kind="sequential", label="share"), "share down to -1; expected nothing"),
        (lambda: plots.brain_map(INSULA, faded={"rh_insula"}), "'rh_insula' is not a row of the values"),
        (lambda: plots.brain_map(INSULA, faded=INSULA), "type float64; expected True or False"),
        (lambda: plots.brain_maps(pd.concat([INSULA, INSULA], axis=1, keys=["AD", "AD"])), "two groups with one name"),
        (
            lambda: plots.brain_maps(INSULA.to_frame("AD"), faded=(INSULA > 0).to_frame("MCI")),
            "other regions or groups",
        ),
    ],
)
def test_values_that_cannot_be_drawn_are_rejected(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
