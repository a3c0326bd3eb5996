"""Distribution figures: is the whole distribution of z in test controls N(0, 1), and in every group?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.plots.style import BLUE, GREY, INK, OKABE_ITO, VERMILLION, axes_of, legend_below, short, styled
from pyro_mmnorm.plots.z_values import band, cells_of, levels_of, people_in

__all__ = ["coverage_by", "pit_histogram", "qq", "worm"]


REACH = 3.0  # a worm goes no farther out, and no farther than the 5th cell from its end
MOST_LEVELS = 4
EVERYBODY = "all"


@styled
def pit_histogram(z: ArrayLike, *, bins: int = 20, n_calibrate: int | None = None, ax: Axes | None = None) -> Axes:
    r"""Histogram of the probability integral transform :math:`u = \Phi(z)`, flat when z is calibrated.

    The grey band is simultaneous: of calibrated z all bars stay inside 95 times in 100. People are the sampling unit,
    see `cells.band`.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        bins: Number of bars.
        n_calibrate: People behind the calibrator, whose sampling error is in the band; None leaves it out.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z is no table or holds no observed cell.

    References:
        Dawid (1984), Statistical theory: the prequential approach, https://doi.org/10.2307/2981683

    Examples:
        >>> pit_histogram(np.random.default_rng(0).normal(size=(50, 8))).get_xlabel()
        'PIT of z, Φ(z)'
    """
    z, ax = cells_of(z), axes_of(ax, 6.2, 4.2)
    edges = np.linspace(0, 1, bins + 1)
    counts = np.stack([np.histogram(stats.norm.cdf(row[~np.isnan(row)]), edges)[0] for row in z])
    sizes, total = counts.sum(1, keepdims=True), counts.sum()
    half = band((counts - sizes / bins) / total * bins, n_calibrate=n_calibrate)
    ax.stairs(counts.sum(0) / total * bins, edges, fill=True, color=BLUE, alpha=0.75, label="test controls")
    label = "all bars inside, 95 times in 100"
    ax.stairs(1 + half, edges, baseline=1 - half, fill=True, color=GREY, alpha=0.35, label=label)
    ax.axhline(1, color=INK, linestyle="--", linewidth=1)
    top = max(1.6, (counts.sum(0) / total * bins).max() * 1.25)
    ax.set(xlim=(0, 1), ylim=(0, top), xlabel="PIT of z, Φ(z)", ylabel="density")
    ax.set_title(f"PIT, {people_in(z)} x {z.shape[1]} regions")
    ax.legend(loc="upper center", ncols=2)
    return ax


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
    z, ax = cells_of(z), axes_of(ax, 5.4, 4.8)
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
    ax.set_title(f"Quantiles, {people_in(z)}, {len(lines)} regions")
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
    r"""Worm plot: how far each quantile of z lies from that of N(0, 1), a line per group of people.

    .. math:: \hat Q(p) - \Phi^{-1}(p) \quad \text{against} \quad \Phi^{-1}(p)

    Flat at 0 when calibrated. A worm that lies above or below has its mean off, one that rises or falls its SD, a U or
    its reverse its skew, an S its tails. Bands are simultaneous 95 % ones with people as the unit, see `cells.band`: a
    band that leaves the dashed line shows a misfit.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        by: A covariate with the same index: a number is cut into thirds, levels under 20 people and all but the four
            largest are left out; None: everybody.
        name: Of the covariate, with its unit.
        n_calibrate: People behind the calibrator, whose sampling error is in the bands; None leaves it out.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When z holds no observed cell, or no level has 20 people.

    References:
        van Buuren & Fredriks (2001), Worm plot: a simple diagnostic device for modelling growth reference curves,
        https://doi.org/10.1002/sim.746

    Examples:
        >>> worm(pd.DataFrame(np.random.default_rng(0).normal(size=(50, 8)))).get_ylabel()
        'quantile of z minus that of N(0, 1)'
    """
    ax, most = axes_of(ax, 6.2, 4.4), 0.3
    for colour, (level, part) in zip(OKABE_ITO, _parts(z, by), strict=False):
        cells = np.sort(part[~np.isnan(part)])
        reach = min(REACH, -stats.norm.ppf(5 / len(cells)))
        x = np.linspace(-reach, reach, 61)
        p, density = stats.norm.cdf(x), stats.norm.pdf(x)
        found, n = np.quantile(cells, p), (~np.isnan(part)).sum(1)
        below = np.stack([(part <= q).sum(1) for q in found], 1)  # NaN is below nothing
        half = band((below - n[:, None] * p) / len(cells) / density, n_calibrate=_share(n_calibrate, part, z))
        off = found - x
        _line(ax, x, off, half, colour, f"{short(level, 24)}, n {len(part):,}")
        most = max(most, 1.15 * float(np.abs(off).max()), 1.05 * float(np.quantile(np.abs(off) + half, 0.9)))
    ax.axhline(0, color=INK, linestyle="--", linewidth=1)
    ax.set(xlim=(-REACH, REACH), ylim=(-most, most), xlabel="quantile of N(0, 1)")
    ax.set(ylabel="quantile of z minus that of N(0, 1)")
    ax.set_title(f"Worm plot of z{f' by {name}' if name else ''}, {people_in(cells_of(z))}")
    legend_below(ax, ncols=2)
    return ax


@styled
def coverage_by(
    z: pd.DataFrame,
    by: pd.Series | None = None,
    name: str = "",
    *,
    n_calibrate: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Reached minus nominal coverage of every central interval, a line per group of people.

    .. math:: \#\{|z| \le \Phi^{-1}(\tfrac{1 + q}{2})\} / n - q

    Bands are simultaneous 95 % ones with people as the unit, see `cells.band`.

    Args:
        z: Calibrated z of test controls, [n, d], NaN where not observed.
        by, name, n_calibrate, ax: As in `worm`.

    Raises:
        InputError: As `worm`.

    Examples:
        >>> coverage_by(pd.DataFrame(np.random.default_rng(0).normal(size=(50, 8)))).get_xlabel()
        'nominal coverage (%)'
    """
    ax, q, most = axes_of(ax, 6.2, 4.4), np.linspace(0.02, 0.99, 98), 0.03
    bounds = stats.norm.ppf((1 + q) / 2)
    for colour, (level, part) in zip(OKABE_ITO, _parts(z, by), strict=False):
        n = (~np.isnan(part)).sum(1)
        inside = np.stack([(np.abs(part) <= bound).sum(1) for bound in bounds], 1)
        by_person = (inside - n[:, None] * q) / n.sum()
        gap, half = by_person.sum(0), band(by_person, n_calibrate=_share(n_calibrate, part, z))
        _line(ax, 100 * q, 100 * gap, 100 * half, colour, f"{short(level, 24)}, n {len(part):,}")
        most = max(most, 1.1 * float((np.abs(gap) + half).max()))
    ax.axhline(0, color=INK, linestyle="--", linewidth=1)
    ax.text(0.02, 0.98, "above 0: z too narrow", transform=ax.transAxes, va="top", color=GREY, fontsize=9)
    ax.text(0.02, 0.02, "below 0: z too wide", transform=ax.transAxes, color=GREY, fontsize=9)
    ax.set(xlim=(0, 100), ylim=(-100 * most, 100 * most), xlabel="nominal coverage (%)")
    ax.set(ylabel="reached - nominal (percentage points)")
    ax.set_title(f"Coverage{f' by {name}' if name else ''}, {people_in(cells_of(z))}")
    legend_below(ax, ncols=2)
    return ax


def _parts(z: pd.DataFrame, by: pd.Series | None) -> Iterator[tuple[str, Floats]]:
    """Each level that has 20 people with any region, at most the four largest, with its z."""
    cells_of(z)
    known = z[z.notna().any(axis=1)]
    if by is None:
        yield EVERYBODY, known.to_numpy(float)
        return
    levels = levels_of(by.reindex(known.index))
    kept = list(levels.value_counts().index[:MOST_LEVELS])
    if not kept:
        raise InputError("groups", "no level with 20 people", "at least one", "pass more test controls")
    order = by.reindex(known.index).groupby(levels).min().sort_values().index
    for level in order[order.isin(kept)]:
        yield str(level), known[(levels == level).to_numpy()].to_numpy(float)


def _line(ax: Axes, x: Floats, y: Floats, half: Floats, colour: str, label: str) -> None:
    ax.fill_between(x, y - half, y + half, color=colour, alpha=0.18, linewidth=0)
    ax.plot(x, y, color=colour, linewidth=2, label=label)


def _share(n_calibrate: int | None, part: Floats, z: pd.DataFrame) -> int | None:
    """Calibration people behind a group: as large a share of them as the group has of the test controls."""
    return None if n_calibrate is None else max(1, round(n_calibrate * len(part) / len(z)))


def _columns(z: Floats) -> list[tuple[Floats, int]]:
    """Observed values of every region that has any, with their number."""
    kept = (column[~np.isnan(column)] for column in z.T)
    return [(x, x.size) for x in kept if x.size]
