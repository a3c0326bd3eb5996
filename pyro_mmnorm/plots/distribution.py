"""Distribution figures: the distribution of z in test controls against N(0, 1), pooled and by subgroup."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.plots.style import (
    BLUE,
    GREY,
    INK,
    OKABE_ITO,
    VERMILLION,
    axes_of,
    label_both_sides,
    legend_below,
    short,
    styled,
)
from pyro_mmnorm.plots.z_values import band, cells_of, levels_of, people_in

__all__ = ["coverage_by", "pit_histogram", "qq", "worm"]

type Departure = Callable[[Floats, int | None], tuple[Floats, Floats, Floats]]
"""z [n, d] and number of calibration people -> x, a curve minus its expectation, half width of its band."""

REACH = 3.0  # a worm plot ends here, or at the 5th most extreme value
MOST_LEVELS = 4
ALL_PEOPLE = "all"


@styled
def pit_histogram(z: ArrayLike, *, bins: int = 20, n_calibrate: int | None = None, ax: Axes | None = None) -> Axes:
    r"""Histogram of the probability integral transform :math:`u = \Phi(z)`, flat when z is calibrated.

    The grey band is a simultaneous 95 % envelope: under calibration, all bars lie inside it with probability 0.95.
    People are the sampling units, see `z_values.band`.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        bins: Number of bars.
        n_calibrate: Number of people on whom the calibrator was fitted, whose sampling error widens the band; None: not
            included.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z is not a table or has no observed value.

    References:
        Dawid (1984), Statistical theory: the prequential approach, https://doi.org/10.2307/2981683

    Examples:
        >>> pit_histogram(np.random.default_rng(0).normal(size=(50, 8))).get_xlabel()
        'PIT of z, Φ(z)'
    """
    z, ax = cells_of(z), axes_of(ax, 6.2, 4.2)
    edges = np.linspace(0, 1, bins + 1)
    counts = np.stack([np.histogram(stats.norm.cdf(row[~np.isnan(row)]), edges)[0] for row in z])
    observed, total = counts.sum(1, keepdims=True), counts.sum()
    half = band((counts - observed / bins) / total * bins, n_calibrate=n_calibrate)
    ax.stairs(counts.sum(0) / total * bins, edges, fill=True, color=BLUE, alpha=0.75, label="test controls")
    label = "95 % simultaneous envelope"
    ax.stairs(1 + half, edges, baseline=1 - half, fill=True, color=GREY, alpha=0.35, label=label)
    ax.axhline(1, color=INK, linestyle="--", linewidth=1)
    top = max(1.6, (counts.sum(0) / total * bins).max() * 1.25)
    ax.set(xlim=(0, 1), ylim=(0, top), xlabel="PIT of z, Φ(z)", ylabel="density")
    ax.set_title(f"PIT, {people_in(z)} x {z.shape[1]} regions")
    ax.legend(loc="upper center", ncols=2)
    return ax


@styled
def qq(z: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Quantiles of z against those of N(0, 1): a thin line per region, a thick one for all values pooled.

    The band is the pointwise 95 % range of one region, from the beta distribution of order statistics; pooled values
    vary less.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z is not a table or has no observed value.

    Examples:
        >>> qq(np.random.default_rng(0).normal(size=(50, 8))).get_ylabel()
        'z of test controls'
    """
    z, ax = cells_of(z), axes_of(ax, 5.4, 4.8)
    regions = [np.sort(column[~np.isnan(column)]) for column in z.T if not np.isnan(column).all()]
    lines = [np.column_stack([stats.norm.ppf((np.arange(len(x)) + 0.5) / len(x)), x]) for x in regions]
    faint = min(0.5, max(0.12, 12 / len(lines)))
    ax.add_collection(LineCollection(lines, colors=BLUE, linewidths=0.6, alpha=faint))
    ax.plot([], [], color=BLUE, linewidth=0.6, label="one region")
    n = int(np.median([len(x) for x in regions]))
    rank, limit = np.arange(1, n + 1), max(3.5, *(abs(x).max() + 0.3 for x in regions))
    expected = stats.norm.ppf((rank - 0.5) / n)
    low, high = (stats.norm.ppf(stats.beta.ppf(q, rank, n + 1 - rank)) for q in (0.025, 0.975))
    ax.fill_between(expected, low, high, color=GREY, alpha=0.35, linewidth=0, label=f"95 % of one region, n {n:,}")
    everything = np.sort(z[~np.isnan(z)])
    grid = stats.norm.cdf(np.linspace(-1, 1, 201) * min(4.0, -stats.norm.ppf(0.5 / everything.size)))
    ax.plot(stats.norm.ppf(grid), np.quantile(everything, grid), color=VERMILLION, linewidth=1.6, label="all values")
    ax.axline((0, 0), slope=1, color=INK, linestyle="--", linewidth=1, label="N(0, 1)")
    ax.set(xlim=(-4, 4), ylim=(-limit, limit), xlabel="quantile of N(0, 1)", ylabel="z of test controls")
    ax.set_title(f"QQ plot, {people_in(z)}, {len(lines)} regions")
    ax.legend(loc="upper left")
    return ax


@styled
def worm(
    z: pd.DataFrame,
    by: pd.Series | None = None,
    name: str = "",
    *,
    n_calibrate: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Worm plot: each quantile of z minus that of N(0, 1), a line per subgroup.

    .. math:: \hat Q(p) - \Phi^{-1}(p) \quad \text{against} \quad \Phi^{-1}(p)

    0 everywhere under calibration. A constant offset means a shifted mean, a slope a wrong SD, a U or inverted U
    skewness, an S wrong tails. Bands are simultaneous 95 % bands with people as sampling units, see `z_values.band`: a
    band that excludes the dashed line is evidence of misfit.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        by: A covariate with the same index: a number is cut into tertiles; levels under 20 people and all but the four
            largest are excluded; None: all people.
        name: Name of the covariate, with its unit.
        n_calibrate: Number of people on whom the calibrator was fitted, whose sampling error widens the bands; None:
            not included.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z has no observed value, or no level has 20 people.

    References:
        van Buuren & Fredriks (2001), Worm plot: a simple diagnostic device for modelling growth reference curves,
        https://doi.org/10.1002/sim.746

    Examples:
        >>> worm(pd.DataFrame(np.random.default_rng(0).normal(size=(50, 8)))).get_ylabel()
        'quantile of z minus that of N(0, 1)'
    """
    ax, most = axes_of(ax, 6.2, 4.4), 0.3
    for gap, half in _drawn_by_level(ax, z, by, n_calibrate, _quantile_departure):
        most = max(most, 1.15 * float(np.abs(gap).max()), 1.05 * float(np.quantile(np.abs(gap) + half, 0.9)))
    ax.set(xlim=(-REACH, REACH), ylim=(-most, most), xlabel="quantile of N(0, 1)")
    ax.set(ylabel="quantile of z minus that of N(0, 1)")
    ax.set_title(f"Worm plot of z{f' by {name}' if name else ''}, {people_in(cells_of(z))}")
    return ax


def _quantile_departure(z: Floats, n_calibrate: int | None) -> tuple[Floats, Floats, Floats]:
    """Quantiles of N(0, 1), those of z minus them, and the half width of their band."""
    values = np.sort(z[~np.isnan(z)])
    reach = min(REACH, -stats.norm.ppf(5 / len(values)))
    x = np.linspace(-reach, reach, 61)
    p, density = stats.norm.cdf(x), stats.norm.pdf(x)
    quantiles, n = np.quantile(values, p), (~np.isnan(z)).sum(1)
    below = np.stack([(z <= q).sum(1) for q in quantiles], 1)  # a comparison with NaN is False
    # a quantile varies as the share below it, divided by the density there (Bahadur)
    return x, quantiles - x, band((below - n[:, None] * p) / len(values) / density, n_calibrate=n_calibrate)


@styled
def coverage_by(
    z: pd.DataFrame,
    by: pd.Series | None = None,
    name: str = "",
    *,
    n_calibrate: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Observed minus nominal coverage of every central interval, a line per subgroup.

    .. math:: \#\{|z| \le \Phi^{-1}(\tfrac{1 + q}{2})\} / n - q

    Bands are simultaneous 95 % bands with people as sampling units, see `z_values.band`.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        by, name, n_calibrate, ax: As in `worm`.

    Raises:
        InputError: As in `worm`.

    Examples:
        >>> coverage_by(pd.DataFrame(np.random.default_rng(0).normal(size=(50, 8)))).get_xlabel()
        'nominal coverage (%)'
    """
    ax, most = axes_of(ax, 6.2, 4.4), 3.0
    for gap, half in _drawn_by_level(ax, z, by, n_calibrate, _coverage_departure):
        most = max(most, 1.1 * float((np.abs(gap) + half).max()))
    label_both_sides(ax, "intervals too wide", "intervals too narrow")
    ax.set(xlim=(0, 100), ylim=(-most, most), xlabel="nominal coverage (%)")
    ax.set(ylabel="observed − nominal (percentage points)")
    ax.set_title(f"Coverage{f' by {name}' if name else ''}, {people_in(cells_of(z))}")
    return ax


def _coverage_departure(z: Floats, n_calibrate: int | None) -> tuple[Floats, Floats, Floats]:
    """Nominal coverage, observed minus nominal coverage, and the half width of its band, all in percent."""
    level, n = np.linspace(0.02, 0.99, 98), (~np.isnan(z)).sum(1)
    inside = np.stack([(np.abs(z) <= bound).sum(1) for bound in stats.norm.ppf((1 + level) / 2)], 1)
    by_person = 100 * (inside - n[:, None] * level) / n.sum()
    return 100 * level, by_person.sum(0), band(by_person, n_calibrate=n_calibrate)


def _drawn_by_level(
    ax: Axes, z: pd.DataFrame, by: pd.Series | None, n_calibrate: int | None, departure: Departure
) -> list[tuple[Floats, Floats]]:
    """Draw the departure from calibration of every level with its band; return the curves and half widths."""
    drawn = []
    for colour, (level, part) in zip(OKABE_ITO, _parts(z, by), strict=False):
        # the calibration people of a level: the same share of all as the level has of the test controls
        people = None if n_calibrate is None else max(1, round(n_calibrate * len(part) / len(z)))
        x, y, half = departure(part, people)
        ax.fill_between(x, y - half, y + half, color=colour, alpha=0.18, linewidth=0)
        ax.plot(x, y, color=colour, linewidth=2, label=f"{short(level, 24)}, n {len(part):,}")
        drawn.append((y, half))
    ax.axhline(0, color=INK, linestyle="--", linewidth=1)
    legend_below(ax, ncols=2)
    return drawn


def _parts(z: pd.DataFrame, by: pd.Series | None) -> Iterator[tuple[str, Floats]]:
    """Levels of at least 20 people with any observed region, at most the four largest, each with its z."""
    cells_of(z)
    known = z[z.notna().any(axis=1)]
    if by is None:
        yield ALL_PEOPLE, known.to_numpy(float)
        return
    levels = levels_of(by.reindex(known.index))
    kept = list(levels.value_counts().index[:MOST_LEVELS])
    if not kept:
        raise InputError("groups", "no level with 20 people", "at least one", "pass more test controls")
    order = by.reindex(known.index).groupby(levels).min().sort_values().index
    for level in order[order.isin(kept)]:
        yield str(level), known[(levels == level).to_numpy()].to_numpy(float)
