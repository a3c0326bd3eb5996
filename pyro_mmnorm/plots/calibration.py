"""Calibration figures: do the z-scores of test controls follow N(0, 1)?"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pyro_mmnorm.errors import InputError
from pyro_mmnorm.plots.style import BLUE, GREY, INK, OKABE_ITO, VERMILLION, axes_of, needed, short, styled

__all__ = ["coverage_curve", "group_forest", "pit_histogram", "qq", "sd_by_region", "z_against"]

type Floats = NDArray[np.float64]

MIN_LEVEL = 5  # subjects of a level that gets a row of its own
MIN_RUNNING = 30  # subjects below which a running mean says nothing
MANY_VALUES = 10  # a number with more distinct values than this is drawn as a line


def _cells(z: ArrayLike) -> Floats:
    """The z-scores as [n, d], NaN where not observed."""
    values = np.asarray(z, float)
    if values.ndim != 2:
        raise InputError("z", f"{values.ndim} dimensions", "subjects x regions", "pass a table [n, d]")
    if np.isinf(values).any():
        raise InputError("z", f"{np.isinf(values).sum()} infinite cells", "finite numbers, or NaN", "mend the scores")
    if np.isnan(values).all():
        raise InputError("z", "no observed cell", "z-scores of test controls", "pass subjects with observed regions")
    return values


class Moments(NamedTuple):
    """Mean and SD of pooled cells, each with a 95 % interval."""

    n: int
    mean: float
    mean_low: float
    mean_high: float
    sd: float
    sd_low: float
    sd_high: float


def _moments(z: Floats) -> Moments:
    """Pooled moments of z [n, d]; the standard errors take the person as the unit (cells of one brain depend)."""
    z = z[~np.isnan(z).all(1)]
    n, cells = len(z), np.count_nonzero(~np.isnan(z))
    mean = np.nansum(z) / cells
    square = (z - mean) ** 2
    variance = np.nansum(square) / cells
    by_person = np.stack([np.nansum(z - mean, 1), np.nansum(square - variance, 1)])
    half = stats.t.ppf(0.975, n - 1) * np.sqrt((by_person**2).sum(1) * n / (n - 1)) / cells
    sd, half_sd = np.sqrt(variance), half[1] / (2 * np.sqrt(variance))
    return Moments(n, mean, mean - half[0], mean + half[0], sd, sd - half_sd, sd + half_sd)


@styled
def pit_histogram(z: ArrayLike, *, bins: int = 20, ax: Axes | None = None) -> Axes:
    r"""Histogram of the probability integral transform :math:`u = \Phi(z)`, flat when z is calibrated.

    The grey band is the pointwise 95 % range of a flat histogram, with people as the sampling unit.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        bins: Number of bars.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z is no table or holds no observed cell.

    References:
        Dawid (1984), Statistical theory: the prequential approach, https://doi.org/10.2307/2981683

    Examples:
        >>> pit_histogram(np.random.default_rng(0).normal(size=(50, 8))).get_xlabel()
        'PIT of z, Φ(z)'
    """
    z, ax = _cells(z), axes_of(ax, 6.2, 4.2)
    edges = np.linspace(0, 1, bins + 1)
    counts = np.stack([np.histogram(stats.norm.cdf(row[~np.isnan(row)]), edges)[0] for row in z])
    sizes, total = counts.sum(1, keepdims=True), counts.sum()
    half = 1.96 * np.sqrt(((counts - sizes / bins) ** 2).sum(0)) / total * bins
    ax.stairs(counts.sum(0) / total * bins, edges, fill=True, color=BLUE, alpha=0.75, label="test controls")
    ax.stairs(1 + half, edges, baseline=1 - half, fill=True, color=GREY, alpha=0.35, label="95 % band if calibrated")
    ax.axhline(1, color=INK, linestyle="--", linewidth=1)
    top = max(1.6, (counts.sum(0) / total * bins).max() * 1.25)
    ax.set(xlim=(0, 1), ylim=(0, top), xlabel="PIT of z, Φ(z)", ylabel="density")
    ax.set_title(f"PIT, {_people(z)} x {z.shape[1]} regions")
    ax.legend(loc="upper center", ncols=2)
    return ax


def _people(z: Floats) -> str:
    return f"{np.count_nonzero(~np.isnan(z).all(1)):,} test controls"


@styled
def qq(z: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Quantiles of z against those of N(0, 1): a thin line per region, a thick one for all cells.

    The band is the pointwise 95 % range of one region, from the beta distribution of order statistics; pooled cells
    scatter less.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z is no table or holds no observed cell.

    Examples:
        >>> qq(np.random.default_rng(0).normal(size=(50, 8))).get_ylabel()
        'z of test controls'
    """
    z, ax = _cells(z), axes_of(ax, 5.4, 4.8)
    lines = [(stats.norm.ppf((np.arange(n) + 0.5) / n), np.sort(x)) for x, n in _columns(z)]
    curves, faint = [np.column_stack(line) for line in lines], min(0.5, max(0.12, 12 / len(lines)))
    ax.add_collection(LineCollection(curves, colors=BLUE, linewidths=0.6, alpha=faint))
    ax.plot([], [], color=BLUE, linewidth=0.6, label="one region")
    n = int(np.median([len(x) for x, _ in lines]))
    rank, limit = np.arange(1, n + 1), max(3.5, *(abs(y).max() + 0.3 for _, y in lines))
    expected = stats.norm.ppf((rank - 0.5) / n)
    low, high = (stats.norm.ppf(stats.beta.ppf(q, rank, n + 1 - rank)) for q in (0.025, 0.975))
    ax.fill_between(expected, low, high, color=GREY, alpha=0.35, linewidth=0, label=f"95 % band of a region, n {n:,}")
    everything = np.sort(z[~np.isnan(z)])
    grid = stats.norm.cdf(np.linspace(-1, 1, 201) * min(4.0, -stats.norm.ppf(0.5 / everything.size)))
    ax.plot(stats.norm.ppf(grid), np.quantile(everything, grid), color=VERMILLION, linewidth=1.6, label="all cells")
    ax.axline((0, 0), slope=1, color=INK, linestyle="--", linewidth=1, label="N(0, 1)")
    ax.set(xlim=(-4, 4), ylim=(-limit, limit), xlabel="quantile of N(0, 1)", ylabel="z of test controls")
    ax.set_title(f"Quantiles, {_people(z)}, {len(lines)} regions")
    ax.legend(loc="upper left")
    return ax


def _columns(z: Floats) -> list[tuple[Floats, int]]:
    """Observed values of every region that has any, with their number."""
    kept = (column[~np.isnan(column)] for column in z.T)
    return [(x, x.size) for x in kept if x.size]


@styled
def coverage_curve(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Reached minus nominal coverage of the central intervals, in percentage points, with intervals.

    Args:
        table: A row per level with the columns `level`, `value`, `low`, `high`, all shares from 0 to 1.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table is empty or lacks a column.

    Examples:
        >>> table = pd.DataFrame({"level": [0.5, 0.95], "value": [0.52, 0.94], "low": [0.5, 0.9], "high": [0.6, 1.0]})
        >>> [label.get_text() for label in coverage_curve(table).get_xticklabels()]
        ['50 %', '95 %']
    """
    needed(table, ["level", "value", "low", "high"], "coverage table")
    ax, x = axes_of(ax, 6.2, 4.2), np.arange(len(table))
    gap, low, high = (100 * (table[name] - table["level"]).to_numpy() for name in ("value", "low", "high"))
    limit = 1.25 * max(3.0, np.abs([low, high]).max())
    ax.axhline(0, color=INK, linestyle="--", linewidth=1)
    ax.errorbar(x, gap, [gap - low, high - gap], fmt="o", color=BLUE, markersize=6, capsize=4, linewidth=1.6)
    for at, height, value in zip(x, gap, table["value"], strict=True):
        ax.annotate(f"{100 * value:.1f} %", (at, height), (9, 0), textcoords="offset points", va="center", fontsize=9)
    ax.text(0.02, 0.98, "above 0: intervals too wide", transform=ax.transAxes, va="top", color=GREY, fontsize=9)
    ax.text(0.02, 0.02, "below 0: intervals too narrow", transform=ax.transAxes, color=GREY, fontsize=9)
    ax.set_xticks(x, [f"{100 * level:g} %" for level in table["level"]])
    ax.set(xlim=(-0.5, len(table) - 0.2), ylim=(-limit, limit))
    ax.set(xlabel="nominal coverage", ylabel="reached - nominal (percentage points)")
    ax.set_title("Coverage in test controls, 95 % intervals")
    return ax


@styled
def sd_by_region(z: pd.DataFrame, *, n_calibrate: int | None = None, ax: Axes | None = None) -> Axes:
    r"""Mean and SD of z, a dot per region, with the 95 % range of sampling.

    .. math:: |\bar z| < 1.96 \sqrt{1/n + 1/n_{cal}}, \qquad s^2 \sim F(n - 1, n_{cal} - 1)

    Args:
        z: Calibrated z of test controls, [n, d]; columns `<modality>.<region>`, NaN where not observed.
        n_calibrate: People behind the calibrator, whose sampling error is in the band; None leaves it out.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z holds no observed cell.

    Examples:
        >>> z = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["t1.a", "t1.b"])
        >>> sd_by_region(z).get_ylabel()
        'SD of z'
    """
    _cells(z)
    ax, n = axes_of(ax, 6.2, 4.8), int(z.count().median())
    people = n_calibrate or 10**9  # about infinity: no sampling error of the calibrator
    mean, sd = z.mean(), z.std()
    reach = 1.96 * np.sqrt(1 / n + 1 / people)
    low, high = np.sqrt(stats.f.ppf([0.025, 0.975], n - 1, people - 1))
    ax.axvspan(-reach, reach, color=GREY, alpha=0.15, linewidth=0)
    ax.axhspan(low, high, color=GREY, alpha=0.15, linewidth=0)
    ax.axvline(0, color=INK, linestyle="--", linewidth=1)
    ax.axhline(1, color=INK, linestyle="--", linewidth=1)
    modality = z.columns.str.split(".", n=1).str[0]
    for colour, name in zip(OKABE_ITO * 9, modality.unique(), strict=False):
        rows = modality == name
        ax.plot(mean[rows], sd[rows], "o", color=colour, markersize=4.5, alpha=0.8, label=f"{name} ({rows.sum()})")
    across, up = (max(1.25 * reach, 1.1 * mean.abs().max())), max(1.25 * (high - 1), 1.1 * (sd - 1).abs().max())
    off, wide = 100 * (mean.abs() > reach).mean(), 100 * ((sd < low) | (sd > high)).mean()
    ax.set(xlim=(-across, across), ylim=(1 - up, 1 + 1.25 * up), xlabel="mean z", ylabel="SD of z")
    ax.set_title(f"Regions outside their 95 % band (n {n:,}, 5 % expected):\n{off:.0f} % by mean, {wide:.0f} % by SD")
    ax.legend(loc="upper center", ncols=4, columnspacing=1.0, handletextpad=0.1)
    return ax


@styled
def z_against(z: pd.DataFrame, covariate: pd.Series, name: str, *, ax: Axes | None = None) -> Axes:
    """Mean and SD of z along a covariate: running over neighbours in age, or per level of site or sex.

    Intervals take the person as the unit; levels with fewer than 5 people are drawn together.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        covariate: Its values with the same index; subjects without a value are left out.
        name: What the axis says, with the unit.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When fewer than 30 subjects have a value of a numeric covariate, or no level has two people.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> z, age = pd.DataFrame(rng.normal(size=(60, 3))), pd.Series(rng.uniform(20, 80, 60))
        >>> z_against(z, age, "age (years)").get_xlabel()
        'age (years)'
    """
    _cells(z)
    known = covariate.reindex(z.index).dropna().sort_values(kind="stable")
    numeric = pd.api.types.is_numeric_dtype(known) and known.nunique() > MANY_VALUES
    return (_running if numeric else _levels)(z.loc[known.index], known, name, ax)


def _running(z: pd.DataFrame, covariate: pd.Series, name: str, ax: Axes | None) -> Axes:
    n = len(z)
    if n < MIN_RUNNING:
        raise InputError(f"covariate {name!r}", f"{n} subjects", f"at least {MIN_RUNNING}", "pass more test controls")
    ax, width, cells = axes_of(ax, 6.2, 4.2), max(20, n // 5), z.to_numpy(float)
    starts = np.unique(np.linspace(0, n - width, 60).astype(int))
    rows = pd.DataFrame([_moments(cells[i : i + width]) for i in starts])
    at = np.array([covariate.iloc[i : i + width].mean() for i in starts])
    for part, null, colour in (("sd", 1, VERMILLION), ("mean", 0, BLUE)):
        ax.axhline(null, color=INK, linestyle="--", linewidth=1)
        ax.fill_between(at, rows[f"{part}_low"], rows[f"{part}_high"], color=colour, alpha=0.2, linewidth=0)
        label = f"{part.replace('sd', 'SD')} of z (calibrated: {null})"
        ax.plot(at, rows[part], color=colour, linewidth=2, label=label)
    ax.plot(covariate, np.full(n, 0.01), "|", color=GREY, transform=ax.get_xaxis_transform(), markersize=7)
    low, high = min(-0.5, rows["mean_low"].min() - 0.2), max(1.9, rows["sd_high"].max() + 0.4)
    ax.set(xlabel=name, ylabel="z of test controls", ylim=(low, high))
    ax.set_title(f"z along {name}: {n:,} test controls, {width} at a time")
    ax.legend(loc="upper left", ncols=2)
    return ax


def _levels(z: pd.DataFrame, covariate: pd.Series, name: str, ax: Axes | None) -> Axes:
    counts = covariate.astype(str).value_counts()
    small = counts.index[counts < MIN_LEVEL]
    level = covariate.astype(str).where(lambda text: ~text.isin(small), f"others, under {MIN_LEVEL} each")
    rows = [{"by": name, "level": key} | _moments(part.to_numpy(float))._asdict()
            for key, part in z.groupby(level) if part.notna().any(axis=1).sum() > 1]  # fmt: skip
    return group_forest(pd.DataFrame(rows), ax=ax)


@styled
def group_forest(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Mean and SD of z in every group of test controls, with intervals; orange where the interval misses 0 or 1.

    Args:
        table: A row per group: `by`, `level`, `n`, `mean`, `mean_low`, `mean_high`, `sd`, `sd_low`, `sd_high`.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table is empty or lacks a column.

    Examples:
        >>> row = {"by": "sex", "level": "F"} | Moments(30, 0.1, -0.1, 0.3, 1.0, 0.9, 1.1)._asdict()
        >>> [label.get_text() for label in group_forest(pd.DataFrame([row])).get_yticklabels()]
        ['sex: F (n 30)']
    """
    needed(table, ["by", "level", "n", *Moments._fields[1:]], "groups")
    ax, y = axes_of(ax, 6.8, 1.5 + 0.27 * len(table)), np.arange(len(table))
    for part, null, marker in (("mean", 0, "o"), ("sd", 1, "s")):
        ax.axvline(null, color=INK, linestyle="--", linewidth=1)
        value, low, high = (table[part + end].to_numpy(float) for end in ("", "_low", "_high"))
        for missed, colour in ((False, BLUE), (True, VERMILLION)):
            at = ((low > null) | (high < null)) == missed
            ax.errorbar(value[at], y[at], xerr=[(value - low)[at], (high - value)[at]], fmt=marker, color=colour,
                        markersize=5, capsize=3, linewidth=1.4)  # fmt: skip
    ax.set_yticks(y, [f"{short(f'{row.by}: {row.level}')} (n {row.n:,})" for row in table.itertuples()])
    ax.set(ylim=(len(table) - 0.4, -0.6), xlabel="mean of z (dots) and SD of z (squares)")
    ax.set_title("Test controls by group (orange: interval misses 0 or 1)")
    return ax
