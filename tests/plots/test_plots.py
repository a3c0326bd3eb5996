"""The figures: correct content, readable labels, no change of global settings."""

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from scipy import stats

from pyro_mmnorm import plots
from pyro_mmnorm.core.errors import InputError, needed
from pyro_mmnorm.plots.style import BLUE, GREY, VERMILLION, axes_of, group_colours, short
from pyro_mmnorm.plots.training_curves import best_epoch
from pyro_mmnorm.plots.z_values import band, levels_of, moments

COLUMNS = [f"{m}.lh_region{i}" for m in ("thickness", "volume") for i in range(10)]
IDS = pd.Index([f"s{i}" for i in range(120)], name="id")


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def z(rng):
    """120 calibrated controls, 20 regions that share half of their variance, 5 % not observed."""
    values = np.sqrt(0.5) * rng.normal(size=(120, 1)) + np.sqrt(0.5) * rng.normal(size=(120, 20))
    values[rng.random(values.shape) < 0.05] = np.nan
    return pd.DataFrame(values, IDS, COLUMNS)


@pytest.fixture
def regions(rng):
    rows = pd.MultiIndex.from_product([["test controls", "MCI", "AD"], COLUMNS], names=["group", "name"]).to_frame(
        False
    )
    rows[["modality", "region"]] = rows.pop("name").str.split(".", n=1, expand=True)
    size = rows["group"].map({"test controls": 0, "MCI": 0.3, "AD": 1.0})
    rows["n"], rows["sd_z"] = rows["group"].map({"test controls": 40, "MCI": 30, "AD": 20}), 1.0
    rows["mean_z"] = size * rng.normal(size=len(rows)) + 0.01
    rows["welch_q"] = np.where(rows["mean_z"].abs() > 0.5, 0.01, 0.6)
    rows["share_significant"] = (0.05 + 0.3 * rows["mean_z"].abs()).clip(upper=1)
    rows["share_significant_low"] = rows["share_significant"] * 0.7
    rows["share_significant_high"] = rows["share_significant"] * 1.2
    return rows


@pytest.fixture
def subjects(rng):
    group = np.repeat(["CN", "MCI", "AD"], 40)
    frame = pd.DataFrame({"split": np.where(group == "CN", "test", "target"), "group": group}, index=IDS)
    return frame.assign(mean_abs_z=rng.normal(0.8, 0.1, 120) + 0.2 * np.repeat([0, 1, 2], 40), dsi=rng.random(120))


@pytest.fixture
def history():
    epochs = np.arange(40)
    loss = 100 + 50 * np.exp(-epochs / 5)
    validation = loss + 0.01 * (epochs - 25) ** 2
    return pd.DataFrame({"epoch": epochs, "loss": loss, "validation_loss": validation, "seconds": 0.5,
                         "active_units": np.minimum(epochs, 6)})  # fmt: skip


@pytest.fixture
def groups():
    rows = [{"by": "site", "level": f"SITE_{i}", "n": 20 + i, "mean": 0.0, "mean_low": -0.1, "mean_high": 0.1,
             "sd": 1 + i / 10, "sd_low": 0.95 + i / 10, "sd_high": 1.05 + i / 10} for i in range(20)]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def coverage():
    return pd.DataFrame({"level": [0.5, 0.95], "value": [0.55, 0.94], "low": [0.5, 0.91], "high": [0.6, 0.97]})


DRAWINGS = {
    "pit_histogram": lambda got, ax: plots.pit_histogram(got("z"), ax=ax),
    "qq": lambda got, ax: plots.qq(got("z"), ax=ax),
    "worm": lambda got, ax: plots.worm(got("z"), pd.Series(np.arange(120.0), IDS), "age", ax=ax),
    "coverage_by": lambda got, ax: plots.coverage_by(got("z"), pd.Series(["A", "B"] * 60, IDS), "site", ax=ax),
    "coverage_curve": lambda got, ax: plots.coverage_curve(got("coverage"), ax=ax),
    "sd_by_region": lambda got, ax: plots.sd_by_region(got("z"), n_calibrate=100, ax=ax),
    "z_against_age": lambda got, ax: plots.z_against(got("z"), pd.Series(np.arange(120.0), IDS), "age (years)", ax=ax),
    "z_against_site": lambda got, ax: plots.z_against(got("z"), pd.Series(["A", "B"] * 60, IDS), "site", ax=ax),
    "group_forest": lambda got, ax: plots.group_forest(got("groups"), ax=ax),
    "subject_boxes": lambda got, ax: plots.subject_boxes(got("subjects"), ax=ax),
    "region_bars": lambda got, ax: plots.region_bars(got("regions"), "AD", ax=ax),
    "significance_frequency": lambda got, ax: plots.significance_frequency(got("regions"), ax=ax),
    "group_heatmap": lambda got, ax: plots.group_heatmap(got("regions"), ax=ax),
    "score_scatter": lambda got, ax: plots.score_scatter(
        got("subjects"), pd.Series(np.arange(120.0), IDS), "MMSE", ax=ax
    ),
    "history_curves": lambda got, ax: plots.history_curves(got("history"), ax=ax),
    "active_units": lambda got, ax: plots.active_units(got("history"), 8, ax=ax),
}


# ------------------------------------------------------------------------------------------------ all figures


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_every_figure_is_readable_and_changes_no_settings(draw, request):
    """Title and labels are set, tick labels do not overlap, nothing exceeds the figure, rcParams do not change."""
    before = dict(mpl.rcParams)
    ax = draw(request.getfixturevalue, None)
    figure = ax.figure
    figure.draw_without_rendering()  # lays the figure out
    assert ax.get_title(loc="left")
    assert ax.get_xlabel() or [label for label in ax.get_xticklabels() if label.get_text()]
    for axis in (ax.xaxis, ax.yaxis):
        boxes = [
            label.get_window_extent() for label in axis.get_ticklabels() if label.get_text() and label.get_visible()
        ]
        turned = axis.get_ticklabels()[0].get_rotation() % 90
        assert turned or not any(a.overlaps(b) for a, b in pairwise(boxes))
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 > -0.02
    assert box.x1 < width + 0.02
    assert box.y0 > -0.02
    assert box.y1 < height + 0.02
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_every_figure_draws_on_the_given_axes(draw, request):
    mine, other = Figure(figsize=(12, 8), layout="constrained").subplots(1, 2)
    assert draw(request.getfixturevalue, mine) is mine
    assert mine.has_data()
    assert not other.has_data()


def test_a_figure_does_not_use_pyplot(z):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    plots.pit_histogram(z)
    assert pyplot.get_fignums() == []


def test_names_are_never_read_as_formulas(regions):
    odd = regions.replace({"region": {"lh_region0": r"$\frac{$"}, "group": {"AD": "$x_$"}})
    for ax in (plots.region_bars(odd, "$x_$", top=20), plots.group_heatmap(odd)):
        ax.figure.draw_without_rendering()
        assert r"$\frac{$" in " ".join(label.get_text() for label in ax.get_yticklabels())


def test_long_names_leave_space_for_the_data(regions):
    odd = regions.replace({"region": {"lh_region0": "x" * 200}, "group": {"AD": "y" * 200}})
    for ax in (plots.region_bars(odd, "y" * 200, top=20), plots.group_heatmap(odd), plots.significance_frequency(odd)):
        ax.figure.draw_without_rendering()
        assert ax.get_window_extent().width > 0.3 * ax.figure.bbox.width


@pytest.mark.parametrize("most", [10, 11, 44])
def test_short_keeps_both_ends(most):
    assert short("a" * 50 + "b" * 50, most).startswith("a")
    assert short("a" * 50 + "b" * 50, most).endswith("b")
    assert len(short("a" * 100, most)) <= most
    assert short("kept", most) == "kept"


def test_groups_get_different_colours():
    colours = group_colours(["SMC", "EMCI", "LMCI", "AD"])
    assert len(set(colours.values())) == 4
    assert GREY not in colours.values()
    assert group_colours([]) == {}


@pytest.mark.parametrize(
    ("frame", "message"), [(pd.DataFrame({"a": [1]}), "no column b, c"), (pd.DataFrame(columns=list("abc")), "no rows")]
)
def test_a_table_without_required_columns_or_rows_is_rejected(frame, message):
    with pytest.raises(InputError, match=f"here: {message}"):
        needed(frame, ["a", "b", "c"], "here")


def test_axes_of_returns_the_given_axes():
    ax = axes_of(None, 3, 2)
    assert axes_of(ax, 9, 9) is ax


# ------------------------------------------------------------------------------------------------ calibration


def test_pit_histogram_is_a_density_with_a_band_around_one(z):
    bars, band = (patch.get_data() for patch in plots.pit_histogram(z, bins=10).patches)
    assert bars.values.mean() == pytest.approx(1)
    np.testing.assert_allclose((band.values + band.baseline) / 2, 1)


def test_pit_band_holds_for_correlated_regions(z):
    """At most 4 of 20 bars of calibrated z leave the 95 % band; fails for fewer than 0.3 % of seeds.

    The band is wider than for as many independent values, most at the ends, which have the values of whole brains.
    """
    bars, band = (patch.get_data() for patch in plots.pit_histogram(z).patches)
    assert ((bars.values > band.values) | (bars.values < band.baseline)).sum() <= 4
    wider = (band.values - 1) / (1.96 * np.sqrt(19 / z.count().sum()))
    assert wider.mean() > 1.1
    assert wider[[0, -1]].min() > 1.3


def test_pit_histogram_of_wide_z_is_high_at_both_ends(z):
    bars, band = (patch.get_data() for patch in plots.pit_histogram(2 * z, bins=10).patches)
    assert (bars.values > band.values)[[0, -1]].all()


def test_moments_are_those_of_the_observed_values(z):
    got, values = moments(z.to_numpy()), z.to_numpy()[z.notna().to_numpy()]
    assert (got.mean, got.sd) == pytest.approx((values.mean(), values.std()))
    transformed = moments(3 + 2 * z.to_numpy())
    np.testing.assert_allclose(transformed[1:4], 3 + 2 * np.array(got[1:4]))
    np.testing.assert_allclose(transformed[4:], 2 * np.array(got[4:]))


def test_people_are_the_sampling_units_of_the_intervals_of_moments():
    """95 % intervals cover the truth in 90 to 99 % of 400 samples of 60 people.

    The SE of the coverage is 1.1 %, and the interval of an SD is a large-sample one. Intervals with single values as
    sampling units would cover the mean in about half of the samples.
    """
    rng = np.random.default_rng(5)
    samples = np.sqrt(0.5) * rng.normal(size=(400, 60, 1)) + np.sqrt(0.5) * rng.normal(size=(400, 60, 20))
    got = np.array([moments(sample) for sample in samples])
    for low, high, truth in ((2, 3, 0), (5, 6, 1)):
        assert 0.90 < ((got[:, low] <= truth) & (truth <= got[:, high])).mean() < 0.99


def test_qq_draws_every_region_once_and_orders_its_values(z):
    z = z.assign(**{"volume.unseen": np.nan})
    [lines] = plots.qq(z).collections[:1]
    assert len(lines.get_segments()) == 20
    np.testing.assert_allclose(lines.get_segments()[0][:, 1], np.sort(z.iloc[:, 0].dropna()))


def test_the_whole_curve_stays_inside_a_simultaneous_band():
    """A calibrated curve leaves its 95 % band in 1 to 9 % of 300 samples (SE 1.3 %); a pointwise band in 35 %."""
    rng, left, pointwise = np.random.default_rng(7), [], []
    for _ in range(300):
        z = np.sqrt(0.5) * rng.normal(size=(150, 1)) + np.sqrt(0.5) * rng.normal(size=(150, 12))
        u, edges = stats.norm.cdf(z), np.linspace(0, 1, 11)
        by_person = np.stack([((u > a) & (u <= b)).sum(1) for a, b in pairwise(edges)], 1) - 1.2
        left.append((np.abs(by_person.sum(0)) > band(by_person)).any())
        pointwise.append((np.abs(by_person.sum(0)) > 1.96 * np.sqrt((by_person**2).sum(0))).any())
    assert 0.01 < np.mean(left) < 0.09
    assert np.mean(pointwise) > 0.2
    np.testing.assert_allclose(band(by_person, n_calibrate=50), 2 * band(by_person))  # sqrt(1 + 150 / 50)


def test_a_worm_plot_shows_shift_and_scale_by_group(rng):
    """Quantiles of a + b N(0, 1) minus x are a + (b - 1) x; 40,000 values per group, SE 0.005 at 0."""
    z = pd.DataFrame(rng.normal(size=(800, 100)))
    age = pd.Series(np.arange(800.0))
    z[age >= 400] = 0.3 + 1.5 * z[age >= 400]
    old = np.where(age < 400, "young", "old")
    ax = plots.worm(z, pd.Series(old), "age")
    lines = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert set(lines) >= {"old, n 400", "young, n 400"}
    for label, a, b in (("young, n 400", 0, 1), ("old, n 400", 0.3, 1.5)):
        x, off = lines[label][(np.abs(lines[label][:, 0]) < 2)].T
        np.testing.assert_allclose(off, a + (b - 1) * x, atol=0.08)
    pooled = plots.worm(z).lines[0].get_xydata()
    np.testing.assert_allclose(pooled[:, 1], np.quantile(z, stats.norm.cdf(pooled[:, 0])) - pooled[:, 0])


def test_coverage_by_is_the_proportion_inside_the_interval(rng):
    z = pd.DataFrame(1.3 * rng.normal(size=(60, 30)))
    line = plots.coverage_by(z).lines[0].get_xydata()
    for level in (50, 90):
        reached = (z.abs() <= stats.norm.ppf(0.5 + level / 200)).to_numpy().mean()
        assert np.interp(level, *line.T) == pytest.approx(100 * reached - level, abs=0.3)
    assert (line[20:, 1] < 0).all()


def test_tertiles_are_in_order_and_small_levels_are_excluded():
    age = pd.Series([*range(100), None])
    lines = [line.get_label() for line in plots.worm(pd.DataFrame(np.ones((101, 2)) * 0.1), age, "age").lines[:3]]
    assert lines == ["below 33, n 33", "33 to 66, n 33", "66 and above, n 34"]
    few = levels_of(pd.Series(["a"] * 25 + ["b"] * 19))
    assert few.value_counts().to_dict() == {"a": 25}
    with pytest.raises(InputError, match="no level with 20 people"):
        plots.worm(pd.DataFrame(np.zeros((19, 2))), pd.Series(["b"] * 19))


def test_coverage_is_drawn_as_the_difference_in_percentage_points(coverage):
    ax = plots.coverage_curve(coverage)
    bars = ax.containers[0]
    np.testing.assert_allclose(bars.lines[0].get_ydata(), [5, -1])
    np.testing.assert_allclose(np.array(bars.lines[2][0].get_segments())[:, :, 1], [[0, 10], [-4, 2]])
    assert "55.0 %" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(("scale", "share"), [(1.0, (0, 10)), (1.5, (90, 100))])
def test_sd_by_region_counts_the_regions_outside(rng, scale, share):
    """Of 200 independent regions 5 % are outside their band, SE 1.5 %: 0 to 10 % within 3 SE."""
    z = pd.DataFrame(scale * rng.normal(size=(100, 200)), columns=[f"t1.{i}" for i in range(200)])
    title = plots.sd_by_region(z).get_title(loc="left")
    low, high = share
    assert low <= float(title.split(" % by SD")[0].split()[-1]) <= high


def test_band_of_regions_includes_the_error_of_the_calibrator(z):
    narrow, wide = (plots.sd_by_region(z, n_calibrate=n).patches[0].get_width() for n in (None, 50))
    n = z.count().median()
    assert wide / narrow == pytest.approx(np.sqrt(1 / n + 1 / 50) / np.sqrt(1 / n), rel=1e-3)


def test_z_against_age_shows_variance_that_grows(z):
    age = pd.Series(np.linspace(20, 80, 120), IDS)
    ax = plots.z_against(z.mul(0.5 + age / 50, axis=0), age, "age (years)")
    [sd] = [line.get_ydata() for line in ax.lines if str(line.get_label()).startswith("SD of z")]
    assert sd[0] < 1.4 < 1.7 < sd[-1]
    assert "120 test controls" in ax.get_title(loc="left")


def test_z_against_site_pools_small_sites_and_excludes_people_without_a_site(z):
    site = pd.Series(["A"] * 60 + ["B"] * 50 + ["C"] * 3 + ["D"] * 4 + [None] * 3, IDS)
    labels = [label.get_text() for label in plots.z_against(z, site, "site").get_yticklabels()]
    assert labels == ["site: A (n 60)", "site: B (n 50)", "site: others, under 5 each (n 7)"]


def test_a_covariate_of_few_numbers_is_drawn_by_level(z):
    labels = plots.z_against(z, pd.Series([0, 1] * 60, IDS), "sex").get_yticklabels()
    assert [label.get_text() for label in labels] == ["sex: 0 (n 60)", "sex: 1 (n 60)"]


def test_forest_marks_the_groups_whose_interval_excludes_0(groups):
    ax = plots.group_forest(groups)
    found = {(c.lines[0].get_color(), c.lines[0].get_marker()): len(c.lines[0].get_xdata()) for c in ax.containers}
    assert found == {(BLUE, "o"): 20, (VERMILLION, "o"): 0, (BLUE, "s"): 1, (VERMILLION, "s"): 19}


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.zeros(3), "1 dimensions; expected subjects x regions"),
        (np.full((3, 2), np.nan), "no observed value"),
        (np.array([[0.0, np.inf]]), "1 infinite values"),
    ],
)
def test_invalid_z_is_rejected(z, message):
    with pytest.raises(InputError, match=message):
        plots.pit_histogram(z)


def test_too_few_people_for_a_moving_mean_are_rejected(z):
    with pytest.raises(InputError, match="29 subjects; expected at least 30"):
        plots.z_against(z, pd.Series(np.arange(29.0), IDS[:29]), "age")


# ------------------------------------------------------------------------------------------------ findings


def test_boxes_start_with_the_controls_and_show_the_expected_value(subjects):
    ax = plots.subject_boxes(subjects, order=["MCI", "AD"])
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["test controls\nn 40", "MCI\nn 40", "AD\nn 40"]
    [null] = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert set(null.get_ydata()) == {np.sqrt(2 / np.pi)}
    points = [line.get_ydata() for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(np.concatenate(points), subjects["mean_abs_z"])


def test_boxes_without_an_expected_value_draw_no_line(subjects):
    assert not [line for line in plots.subject_boxes(subjects, "dsi").lines if line.get_linestyle() == "--"]


def test_boxes_without_controls_or_without_patients(subjects):
    for split, labels in (("test", ["test controls\nn 40"]), ("target", ["AD\nn 40", "MCI\nn 40"])):
        part = subjects[subjects["split"] == split]
        assert [label.get_text() for label in plots.subject_boxes(part).get_xticklabels()] == labels


def test_boxes_without_a_value_are_rejected(subjects):
    with pytest.raises(InputError, match="no value of dsi"):
        plots.subject_boxes(subjects.assign(dsi=np.nan), "dsi")


def test_bars_are_the_largest_regions_of_either_sign(regions):
    rows = regions[regions["group"] == "AD"].sort_values("mean_z", key=np.abs, ascending=False).head(7)
    ax = plots.region_bars(regions, "AD", top=7)
    np.testing.assert_array_equal([bar.get_width() for bar in ax.patches], rows["mean_z"])
    assert [label.get_text() for label in ax.get_yticklabels()] == list(rows["region"])
    assert [bar.get_alpha() > 0.5 for bar in ax.patches] == list(rows["welch_q"] < 0.05)
    assert "top 7 of 20" in ax.get_title(loc="left")


def test_bars_have_the_t_interval(regions):
    ax = plots.region_bars(regions, "AD", top=1)
    [[low, high]] = [segment[:, 0] for segment in ax.collections[0].get_segments()]
    middle = ax.patches[0].get_width()
    np.testing.assert_allclose([low, high], stats.t.interval(0.95, 19, middle, 1 / np.sqrt(20)))


def test_bars_show_the_same_regions_of_the_controls(regions):
    ax = plots.region_bars(regions, "AD", top=5)
    controls = regions[regions["group"] == "test controls"].set_index("region")["mean_z"]
    [diamonds] = [line for line in ax.lines if line.get_marker() == "D"]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert all(value in controls[[name]].to_numpy() for value, name in zip(diamonds.get_xdata(), names, strict=True))


def test_frequency_shows_controls_groups_and_the_chance_line(regions):
    ax = plots.significance_frequency(regions, top=4)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["test controls (n 40)", "MCI (n 30)", "AD (n 20)", "5 %, expected by chance"]
    best = regions[regions["group"] != "test controls"].groupby(["modality", "region"])["share_significant"].max()
    region = best.idxmax()
    row = regions[(regions["modality"] == region[0]) & (regions["region"] == region[1])].set_index("group")
    points = [line for line in ax.lines if line.get_marker() in "oD"]
    np.testing.assert_allclose(
        [line.get_xdata()[0] for line in points], 100 * row.loc[["test controls", "MCI", "AD"], "share_significant"]
    )
    assert ax.get_yticklabels()[0].get_text() == f"{region[1]} ({region[0]})"


def test_heatmap_has_the_means_on_a_scale_centred_at_zero(regions):
    ax = plots.group_heatmap(regions)
    [picture] = ax.images
    table = regions.pivot_table(index=["modality", "region"], columns="group", values="mean_z", sort=False)
    np.testing.assert_array_equal(picture.get_array(), table[["test controls", "MCI", "AD"]])
    low, high = picture.get_clim()
    assert low == -high
    [dots] = [line for line in ax.lines if line.get_marker() == "."]
    assert len(dots.get_xdata()) == (regions["welch_q"] < 0.05).sum()


def test_heatmap_of_small_means_stays_pale(regions):
    assert plots.group_heatmap(regions.assign(mean_z=0.1)).images[0].get_clim() == (-1, 1)


def test_scatter_joins_by_id_and_states_the_correlation(subjects):
    scores = subjects["mean_abs_z"] * 10 + np.sin(np.arange(120))
    ax = plots.score_scatter(subjects, scores.sample(frac=1, random_state=0).drop("s5"), "ADAS13")
    kept = subjects.index != "s5"
    r = stats.pearsonr(subjects["mean_abs_z"][kept], scores[kept]).statistic
    assert f"Pearson r {r:.2f}" in ax.get_title(loc="left")
    assert "n 119" in ax.get_title(loc="left")
    assert to_rgba(ax.lines[0].get_color()) == to_rgba(GREY)  # the controls


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda r, s: plots.region_bars(r, "XY"), "'XY'; expected one of"),
        (lambda r, s: plots.region_bars(r.assign(mean_z=np.nan), "AD"), "no mean z of group 'AD'"),
        (
            lambda r, s: plots.significance_frequency(r.assign(share_significant=np.nan)),
            "no share of significant people",
        ),
        (lambda r, s: plots.group_heatmap(r.assign(mean_z=np.nan)), "no mean z"),
        (lambda r, s: plots.score_scatter(s, pd.Series({"s1": 1.0}), "MMSE"), "1 subjects with both"),
    ],
)
def test_findings_that_cannot_be_drawn_are_rejected(regions, subjects, draw, message):
    with pytest.raises(InputError, match=message):
        draw(regions, subjects)


# ------------------------------------------------------------------------------------------------ training


def test_history_marks_the_best_epoch(history):
    ax = plots.history_curves(history)
    best = int(history["validation_loss"].argmin())
    assert best_epoch(history) == best
    assert f"best epoch, {best}" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert "40 epochs, 20 s" in ax.get_title(loc="left")


def test_without_validation_the_last_epoch_counts(history):
    assert best_epoch(history.assign(validation_loss=np.nan)) == 39
    assert best_epoch(history.drop(columns="validation_loss")) == 39
    assert len(plots.history_curves(history.drop(columns=["validation_loss", "seconds"])).lines) == 2


def test_the_first_epochs_do_not_flatten_the_rest(history):
    history.loc[0, "loss"] = 1e6
    assert plots.history_curves(history).get_ylim()[1] < 200


def test_active_units_are_counted_at_the_best_epoch(history):
    ax = plots.active_units(history, 8)
    assert "6 of 8 at the best epoch" in ax.get_title(loc="left")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), history["active_units"])


def test_the_fit_of_every_modality_is_drawn_per_region(history):
    history = history.assign(log_likelihood_a=-20.0, log_likelihood_b=-6.0)
    ax = plots.held_out_fit(history, {"a": 10, "b": 2})
    assert [line.get_ydata()[0] for line in ax.lines[:2]] == [-2.0, -3.0]
    with pytest.raises(InputError, match="no column log_likelihood_c"):
        plots.held_out_fit(history, {"c": 1})


def test_bars_of_latents_add_up_to_their_kl_and_members_are_averaged_by_rank():
    latents = pd.DataFrame({"member": [0, 0, 1, 1], "kl": [1.0, 3.0, 5.0, 1.0]})
    latents = latents.assign(share_prior=0.25, share_a=0.5, share_b=0.25)
    ax = plots.latent_use(latents)
    heights = np.sum([[bar.get_height() for bar in bars] for bars in ax.containers], axis=0)
    np.testing.assert_allclose(heights, [4.0, 1.0])
    assert "mean of 2 members: 5.0 nats" in ax.get_title(loc="left")
    with pytest.raises(InputError, match="no column share_prior"):
        plots.latent_use(latents.drop(columns="share_prior"))
