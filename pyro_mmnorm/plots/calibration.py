"""Calibration figures: mean, SD and coverage of z in test controls, by region, subgroup and covariate."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from pyro_mmnorm.core.errors import InputError, needed
from pyro_mmnorm.plots.style import BLUE, GREY, INK, OKABE_ITO, VERMILLION, axes_of, label_both_sides, short, styled
from pyro_mmnorm.plots.z_values import Moments, cells_of, moments, pooled

__all__ = ["coverage_curve", "group_forest", "sd_by_region", "z_against"]

MIN_LEVEL = 5  # levels with fewer subjects are pooled
MIN_RUNNING = 30  # fewest subjects of a moving mean
MANY_VALUES = 10  # a numeric covariate with more distinct values is drawn as a line


@styled
def coverage_curve(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Observed minus nominal coverage of the central intervals, in percentage points, with 95 % intervals.

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
    for at, top, value in zip(x, high, table["value"], strict=True):
        ax.annotate(f"{100 * value:.1f} %", (at, top), (0, 5), textcoords="offset points", ha="center", fontsize=9)
    label_both_sides(ax, "intervals too wide", "intervals too narrow")
    ax.set_xticks(x, [f"{100 * level:g} %" for level in table["level"]])
    ax.set(xlim=(-0.5, len(table) - 0.5), ylim=(-limit, limit))
    ax.set(xlabel="nominal coverage", ylabel="observed − nominal (percentage points)")
    ax.set_title("Coverage in test controls, 95 % intervals")
    return ax


@styled
def sd_by_region(z: pd.DataFrame, *, n_calibrate: int | None = None, ax: Axes | None = None) -> Axes:
    r"""Mean and SD of z, a dot per region, with the 95 % range expected from sampling alone.

    .. math:: |\bar z| < 1.96 \sqrt{1/n + 1/n_{cal}}, \qquad s^2 \sim F(n - 1, n_{cal} - 1)

    Args:
        z: Calibrated z of test controls, [n, d]; columns `<modality>.<region>`, NaN where not observed.
        n_calibrate: Number of people on whom the calibrator was fitted, whose sampling error widens the band; None: not
            included.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z has no observed value.

    Examples:
        >>> z = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["t1.a", "t1.b"])
        >>> sd_by_region(z).get_ylabel()
        'SD of z'
    """
    cells_of(z)
    ax, n = axes_of(ax, 6.2, 4.8), int(z.count().median())
    people = n_calibrate or 10**9  # practically infinite: no sampling error of the calibrator
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
    """Mean and SD of z over a covariate: moving over people sorted by a number, or by level of a category.

    People are the sampling units of the intervals; levels with fewer than 5 people are pooled.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        covariate: Its values with the same index; subjects without a value are excluded.
        name: Label of the axis, with the unit.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When fewer than 30 subjects have a value of a numeric covariate, or no level has two people.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> z, age = pd.DataFrame(rng.normal(size=(60, 3))), pd.Series(rng.uniform(20, 80, 60))
        >>> z_against(z, age, "age (years)").get_xlabel()
        'age (years)'
    """
    cells_of(z)
    known = covariate.reindex(z.index).dropna().sort_values(kind="stable")
    numeric = pd.api.types.is_numeric_dtype(known) and known.nunique() > MANY_VALUES
    return (_running if numeric else _levels)(z.loc[known.index], known, name, ax)


def _running(z: pd.DataFrame, covariate: pd.Series, name: str, ax: Axes | None) -> Axes:
    n = len(z)
    if n < MIN_RUNNING:
        raise InputError(f"covariate {name!r}", f"{n} subjects", f"at least {MIN_RUNNING}", "pass more test controls")
    ax, width, cells = axes_of(ax, 6.2, 4.2), max(20, n // 5), z.to_numpy(float)
    starts = np.unique(np.linspace(0, n - width, 60).astype(int))
    rows = pd.DataFrame([moments(cells[i : i + width]) for i in starts])
    at = np.array([covariate.iloc[i : i + width].mean() for i in starts])
    for part, null, colour in (("sd", 1, VERMILLION), ("mean", 0, BLUE)):
        ax.axhline(null, color=INK, linestyle="--", linewidth=1)
        ax.fill_between(at, rows[f"{part}_low"], rows[f"{part}_high"], color=colour, alpha=0.2, linewidth=0)
        label = f"{part.replace('sd', 'SD')} of z (expected: {null})"
        ax.plot(at, rows[part], color=colour, linewidth=2, label=label)
    ax.plot(
        covariate, np.full(n, 0.01), "|", color=GREY, transform=ax.get_xaxis_transform(), markersize=7, label="people"
    )
    low, high = min(-0.5, rows["mean_low"].min() - 0.2), max(1.9, rows["sd_high"].max() + 0.4)
    ax.set(xlabel=name, ylabel="z of test controls", ylim=(low, high))
    ax.set_title(f"Moving mean and SD of z over {name}\n({n:,} test controls, window of {width})")
    ax.legend(loc="upper left", ncols=3)
    return ax


def _levels(z: pd.DataFrame, covariate: pd.Series, name: str, ax: Axes | None) -> Axes:
    level, _ = pooled(covariate, MIN_LEVEL)
    rows = [{"by": name, "level": key} | moments(part.to_numpy(float))._asdict()
            for key, part in z.groupby(level) if part.notna().any(axis=1).sum() > 1]  # fmt: skip
    return group_forest(pd.DataFrame(rows), ax=ax)


@styled
def group_forest(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Mean of z and SD of z minus 1 in every subgroup of test controls; orange where a 95 % interval excludes 0.

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
    ax.axvline(0, color=INK, linestyle="--", linewidth=1)
    for part, null, marker, offset in (("mean", 0, "o", -0.16), ("sd", 1, "s", 0.16)):
        value, low, high = (table[part + end].to_numpy(float) - null for end in ("", "_low", "_high"))
        for excludes, colour in ((False, BLUE), (True, VERMILLION)):
            at = ((low > 0) | (high < 0)) == excludes
            ax.errorbar(value[at], y[at] + offset, xerr=[(value - low)[at], (high - value)[at]], fmt=marker,
                        color=colour, markersize=5, capsize=3, linewidth=1.4)  # fmt: skip
    ax.set_yticks(y, [f"{short(f'{row.by}: {row.level}')} (n {row.n:,})" for row in table.itertuples()])
    ax.set(ylim=(len(table) - 0.4, -0.6), xlabel="mean of z (circles) and SD of z minus 1 (squares)")
    ax.locator_params(axis="x", nbins=6)
    ax.set_title("Subgroups of test controls; 0 expected under calibration\n(orange: 95 % interval excludes 0)")
    return ax
