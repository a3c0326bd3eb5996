"""The figures of a study, after the four of the poster: drawn from run folders, stored as PNG and SVG."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_mmnorm import plots
from pyro_mmnorm.app.compare.runs import Run
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.atlas import region_of
from pyro_mmnorm.plots.style import short
from pyro_mmnorm.report.pictures import Picture, Plan, draw_plans
from pyro_mmnorm.results.schema import TEST_CONTROLS

__all__ = ["draw"]

ONE_MODALITY = "one number per region"


def draw(runs: Mapping[str, Run], folder: Path) -> tuple[dict[str, list[Picture]], list[str]]:
    """Draw every figure of a study, in the order of the poster, as PNG and SVG; returns the same as `draw_plans`.

    Args:
        runs: Label -> the first run of each model, the reference first.
        folder: Folder for the files.
    """
    label, first = next(iter(runs.items()))
    groups, regions = first.results.groups, first.results.regions
    maps = Plan(
        "1_deviation_maps",
        f"Mean z of every region by stage, {label}",
        f"{label}. White: as expected (mean z 0), blue: smaller and red: larger than expected; one colour scale for "
        "all maps. The row of test controls shows the sampling variation. Intervals of every region: regions.csv.",
        partial(_maps, regions, [TEST_CONTROLS, *groups], "mean_z", f"Mean z by stage, {label}"),
    )
    stages = Plan(
        "2_stages",
        "Mean |z| of a person by stage, all models side by side",
        "If the hollow boxes of a model differ from the dashed line, its z are too wide or too narrow, and its other "
        "boxes are shifted by as much. Compare a stage with the test controls of the same model, not the heights of "
        "two models.",
        partial(_boxes, runs),
    )
    scores = [
        Plan(
            f"4_{score}",
            f"{score} against the deviation of a person, all models",
            "Least-squares line with the 95 % band of its mean; r with its 95 % interval, over all people. Stages "
            "differ in both variables, so this is not evidence of an association within a stage (see the table).",
            partial(_scatters, runs, score),
        )
        for score in first.results.named("scores")
    ]
    plans = {"maps": [maps], "stages": [stages], "frequency": _frequencies(runs), "scores": scores}
    return draw_plans(plans, folder, vector=True)


def _frequencies(runs: Mapping[str, Run]) -> Iterator[Plan]:
    """Maps by stage and by model, and the bars of the hippocampal subfields."""
    label, first = next(iter(runs.items()))
    groups, regions = first.results.groups, first.results.regions
    whole = {name: run for name, run in runs.items() if list(run.results.z) == list(first.results.z)}
    last = groups[-1]
    yield Plan(
        "3a_frequency_maps",
        f"Proportion of people with extreme deviations (p < 0.05) in each region by stage, {label}",
        f"{label}. Two-sided p of the calibrated z, uncorrected. 5 % are expected by chance, as in the row of test "
        "controls. Counts and exact intervals of every region: regions.csv.",
        partial(_maps, regions, [TEST_CONTROLS, *groups], "share_significant", f"Extreme deviations by stage, {label}"),
    )
    by_model = pd.concat(
        [_of(run.results.regions, last).assign(group=name) for name, run in whole.items()], ignore_index=True
    )
    yield Plan(
        "3b_frequency_maps_by_model",
        f"Share of people of {last} with p < 0.05 in each region by model",
        "The table shows for each model how much the rate of the test controls differs from 5 %.",
        partial(_maps, by_model, list(whole), "share_significant", f"Extreme deviations by model, {last}"),
    )
    healthy = int(_of(regions, TEST_CONTROLS)["n"].max())
    stages = {name: _subfields(_of(regions, name)) for name in groups}
    models = {name: _subfields(_of(run.results.regions, last)) for name, run in whole.items()}
    for name, tables, title, ordered in (
        ("3c_subfields", stages, f"Hippocampal subfields by stage, {label}", True),
        ("3d_subfields_by_model", models, f"Hippocampal subfields by model, {last}", False),
    ):
        yield Plan(
            name,
            f"{title}: share of people with p < 0.05",
            f"Dark ticks: the same share among test controls (n {healthy}). Bars with exact 95 % intervals.",
            partial(_bars, tables, title, ordered),
        )


def _of(regions: pd.DataFrame, group: str) -> pd.DataFrame:
    return regions[regions["group"] == group]


def _subfields(rows: pd.DataFrame) -> pd.DataFrame:
    inside = [
        (region := region_of(str(name))) is not None and region.system == "hippocampus" for name in rows["region"]
    ]
    return rows[np.array(inside, bool)]


def _maps(regions: pd.DataFrame, groups: list[str], column: str, title: str) -> Figure:
    """A row of maps per group."""
    table = regions.pivot(index=["modality", "region"], columns="group", values=column)[groups]
    if (names := table.index.get_level_values("region")).has_duplicates:
        raise InputError("regions", "one region in two modalities", ONE_MODALITY, "draw one modality at a time")
    table = table.set_axis(names, axis=0)
    n = {str(group): int(rows["n"].max()) for group, rows in regions.groupby("group")}
    if column == "mean_z":
        return plots.brain_maps(table, label="mean z (negative: smaller than expected)", title=title, n=n, null=0.0)
    label = "people with p < 0.05 (%)"
    return plots.brain_maps(100 * table, label=label, kind="sequential", title=title, n=n, null=5.0)


def _boxes(runs: Mapping[str, Run]) -> Figure:
    """Models of many regions share an axis; |z| of a single region varies far more and has its own axis."""
    groups = next(iter(runs.values())).results.groups
    single = {name: run.results.subjects for name, run in runs.items() if run.results.z.shape[1] == 1}
    many = {name: run.results.subjects for name, run in runs.items() if name not in single}
    if not (single and many):
        return _figure(plots.stage_boxes(many or single, order=groups))
    figure = Figure(figsize=(0.32 * (len(groups) + 1) * len(many) + 6, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(0.32 * (len(groups) + 1) * len(many) + 1, 4.6))
    plots.stage_boxes(many, order=groups, ax=left)
    plots.stage_boxes(single, order=groups, ax=right)
    right.set_ylabel("|z|")
    right.set_title("One region", loc="left")
    right.tick_params(axis="x", labelsize=8)
    names = [tick.get_text().replace(TEST_CONTROLS, "test\ncontrols") for tick in right.get_xticklabels()]
    right.set_xticks(right.get_xticks(), names)
    return figure


def _bars(tables: dict[str, pd.DataFrame], title: str, ordered: bool) -> Figure:
    if not len(next(iter(tables.values()))):
        raise InputError("regions", "no hippocampal subfield", "names such as left_CA1", "leave this figure out")
    return _figure(plots.frequency_bars(tables, title=title, stages=ordered))


def _scatters(runs: Mapping[str, Run], score: str) -> Figure:
    """A panel per model, with the legend of the first."""
    columns = min(3, len(runs))
    lines = -(-len(runs) // columns)
    figure = Figure(figsize=(4.1 * columns, 3.7 * lines + 0.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for ax in axes[len(runs) :]:
        ax.remove()
    handles, labels = [], []
    for ax, (name, run) in zip(axes, runs.items(), strict=False):
        people = run.results.subjects.assign(score=run.score)
        plots.score_scatter(people, people[score], score, value="score", order=run.results.groups, ax=ax)
        r = ax.get_title(loc="left").partition(": ")[2].replace(", unadjusted", "").replace("Pearson ", "")
        ax.set_title(f"{short(name, 28)}\n{r}", loc="left")
        small = run.results.config.get("baseline") == "hippocampal_volume"
        ax.set_xlabel("−z of hippocampal volume" if small else "mean |z| over regions")
        if ax is axes[0]:
            handles, labels = ax.get_legend_handles_labels()
        ax.get_legend().remove()
        _trim(ax, people["score"].to_numpy(float), people[score].to_numpy(float))
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _trim(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """End the axis before the few most extreme people, and label how many are beyond it."""
    x, y = x[np.isfinite(y) & np.isfinite(x)], y[np.isfinite(y) & np.isfinite(x)]
    low, high = np.quantile(x, [0, 0.997])
    end = high + 0.25 * (high - low)
    ax.set_ylim(y.min() - 0.05 * np.ptp(y), y.max() + 0.05 * np.ptp(y))
    if beyond := int((x > end).sum()):
        ax.set_xlim(low - 0.04 * (end - low), end)
        ax.text(0.99, 0.02, f"{beyond} beyond →", transform=ax.transAxes, ha="right", fontsize=8)


def _figure(ax: Axes) -> Figure:
    return cast(Figure, ax.get_figure(root=True))
