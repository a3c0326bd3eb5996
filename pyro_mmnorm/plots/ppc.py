"""Predictive checks: replicated people, drawn from the model, against the observed people."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.plots.style import BLUE, GREY, INK, VERMILLION
from pyro_mmnorm.plots.z_values import pooled
from pyro_mmnorm.stats.metrics import pit_test

__all__ = ["STATISTICS", "ppc"]

type Statistic = Callable[[Floats], float]

FEWEST = 10  # levels with fewer people are pooled
SHOWN = 50  # most replicates drawn as lines
WIDEST = 6  # most panels in a row
TERTILE = " tertile"


def correlation(x: Floats) -> float:
    """Mean correlation of pairs of regions: mean product of two standardised regions of one person, [n, d] in.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(500, 1)).repeat(3, axis=1)
        >>> round(correlation(x), 6)
        1.0
    """
    unit = (x - np.nanmean(x, 0)) / np.nanstd(x, 0)
    observed = np.isfinite(unit)
    unit, count = np.where(observed, unit, 0.0), observed.sum(1)
    # the sum over pairs of different regions is (sum)^2 - (sum of squares)
    return float((unit.sum(1) ** 2 - (unit**2).sum(1)).sum() / (count * (count - 1)).sum())


STATISTICS: dict[str, Statistic] = {
    "mean": lambda x: float(np.nanmean(x)),
    "sd": lambda x: float(np.nanstd(x)),
    "min": lambda x: float(np.nanmin(x)),
    "max": lambda x: float(np.nanmax(x)),
    "correlation": correlation,
}
"""Test statistics by name: table [n, d], NaN where not observed -> a number."""


class Panel(NamedTuple):
    """People of one level under one model: observed [n, d], replicates [S, n, d], NaN where not observed."""

    y: Floats
    rep: Floats


def ppc(
    dt: xr.DataTree | Mapping[str, xr.DataTree],
    *,
    by: str | None = None,
    kind: str = "dist",
    modality: str | None = None,
    region: str | None = None,
    group: str = "posterior_predictive",
    t_stat: str | Statistic = "sd",
    seed: int = 0,
) -> Any:
    """Predictive checks of one or several models, a panel for each model and level of a covariate.

    Regions are standardised by the mean and SD of the observed values, so that regions in mm and in mm3 can be pooled.
    The kinds:

    * `dist`: density of all values, a line per replicate and one for the observed people;
    * `t_stat`: a statistic of every replicated table, against that of the observed one; p is two-sided;
    * `pit`: empirical distribution of the rank of each observed value among its replicates, minus the uniform one;
    * `coverage`: the same for central intervals: above 0 where they contain more people than nominal.

    p of `pit` is by bootstrap over people, as regions of one person are correlated, and the band is the pointwise 95 %
    range of sampling. Replicates from the posterior are conditioned on the values with which they are compared: the
    density of PIT is then higher in the middle for a correct model too. Those of `prior_predictive` are not.

    Args:
        dt: Result of `to_datatree`; or name -> tree for models side by side, with the smallest number of draws of any.
        by: A categorical covariate of `constant_data` (`sex`, `site`), or tertiles of a number (`age tertile`).
        kind: `dist`, `t_stat`, `pit` or `coverage`.
        modality: Only the regions of this modality; all modalities when None.
        region: Only this region of the modality.
        group: `posterior_predictive` or `prior_predictive`.
        t_stat: For kind `t_stat`: one of `STATISTICS`, or a callable of that signature.
        seed: Seed of the bootstrap and of the randomised PIT.

    Returns:
        ArviZ's PlotCollection; `.savefig(path)` writes it.

    Raises:
        InputError: For an unknown name, or when there is nothing to draw.

    References:
        Gelman, Meng & Stern (1996), Posterior predictive assessment of model fitness,
        https://www3.stat.sinica.edu.tw/statistica/j6n4/j6n41/j6n41.htm; Säilynoja, Bürkner & Vehtari (2022),
        https://doi.org/10.1007/s11222-022-10090-6

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> dims = ("chain", "draw", "subject", "region_t1")
        >>> dt = xr.DataTree.from_dict({
        ...     "posterior_predictive": xr.Dataset({"t1": (dims, rng.normal(size=(1, 60, 40, 3)))}),
        ...     "observed_data": xr.Dataset({"t1": (dims[2:], rng.normal(size=(40, 3)))}),
        ... })
        >>> pc = ppc(dt, kind="pit")
    """
    _one_of("kind", kind, _KINDS)
    models = {"": dt} if isinstance(dt, xr.DataTree) else dict(dt)
    if not models:
        raise InputError("ppc", "no model", "a DataTree, or name -> DataTree", "pass at least one")
    panels: dict[str, Panel] = {}
    for name, tree in models.items():
        y, rep = _cells(tree, group, modality, region)
        levels = _levels(tree, by, len(y))
        for level, rows in levels.items():
            people = int(np.isfinite(y[rows]).any(1).sum())
            title = "\n".join(part for part in (name, level) if part) or "all"
            panels[f"{title} (n {people})"] = Panel(y[rows], rep[:, rows])
    columns = len(levels) if by else len(models)
    fewest = min(len(panel.rep) for panel in panels.values())
    panels = {name: panel._replace(rep=panel.rep[:fewest]) for name, panel in panels.items()}
    pc, title = _KINDS[kind](panels, columns, t_stat, np.random.default_rng(seed))
    pc.add_title(title, size=11)
    return pc


def _one_of(what: str, name: Any, known: Any) -> None:
    if name not in known:
        raise InputError(what, repr(name), f"one of {[str(k) for k in known]}", "use one of these")


def _cells(tree: xr.DataTree, group: str, modality: str | None, region: str | None) -> tuple[Floats, Floats]:
    """Observed [n, d] and replicates [S, n, d], standardised by region, NaN where not observed."""
    for name in (group, "observed_data"):
        _one_of("group", name, tree.children)
    observed, replicates = tree["observed_data"].to_dataset(), tree[group].to_dataset()
    if modality is not None:
        _one_of("modality", modality, observed.data_vars)
    chosen: dict[str, list[int]] = {}
    if region is not None:
        if modality is None:
            raise InputError("region", repr(region), "a modality with it", "pass modality too")
        names = list(observed[f"region_{modality}"].to_numpy())
        _one_of("region", region, names)
        chosen = {f"region_{modality}": [names.index(region)]}
    ys, reps = [], []
    for m in [modality] if modality else list(observed.data_vars):
        drawn = replicates[m].stack(sample=("chain", "draw")).transpose("sample", *observed[m].dims)
        ys.append(observed[m].isel(chosen).to_numpy().astype(float))
        reps.append(drawn.isel(chosen).to_numpy().astype(float))
    y, rep = np.concatenate(ys, -1), np.concatenate(reps, -1)
    varies = np.isfinite(y).sum(0) > 1
    if not varies.any():
        raise InputError("ppc", "no region observed in two people", "observed people", "pass more people")
    y, rep = y[:, varies], rep[..., varies]
    loc, scale = np.nanmean(y, 0), np.nanstd(y, 0)
    return (y - loc) / scale, np.where(np.isfinite(y), (rep - loc) / scale, np.nan)


def _levels(tree: xr.DataTree, by: str | None, n: int) -> dict[str, NDArray[np.bool_]]:
    """Level -> mask of its people; rare levels are pooled."""
    if by is None:
        return {"": np.ones(n, dtype=bool)}
    known = tree["constant_data"].to_dataset() if "constant_data" in tree.children else xr.Dataset()
    choices = [f"{name}{TERTILE}" if x.dtype.kind in "fiu" else str(name) for name, x in known.items()]
    _one_of("by", by, choices)
    x = pd.Series(known[by.removesuffix(TERTILE)].to_numpy())
    if by.endswith(TERTILE):
        cut = pd.qcut(x, 3, duplicates="drop")
        return {f"{by.removesuffix(TERTILE)} {c.left:.4g} to {c.right:.4g}": (cut == c).to_numpy()
                for c in cut.cat.categories}  # fmt: skip
    level, rare = pooled(x, FEWEST)
    return {value if value == rare else f"{by} {value}": (level == value).to_numpy()
            for value in sorted(level.unique(), key=lambda value: (value == rare, value))}  # fmt: skip


def _dist(panels: Mapping[str, Panel], columns: int, _t: Any, _rng: Any) -> tuple[Any, str]:
    observed, replicates = {}, {}
    for title, (y, rep) in panels.items():
        known, dim = np.isfinite(y), f"cell {title}"
        observed[title] = (dim, y[known])
        replicates[title] = (("chain", "draw", dim), rep[:, known][None])
    draws = min(SHOWN, *(len(panel.rep) for panel in panels.values()))
    options = {
        "title": {"size": 10},
        "observed_dist": {"color": INK, "width": 2},
        "predictive_dist": {"color": BLUE, "alpha": 0.25},
    }
    tree = _tree(replicates, observed)
    pc = _arviz().plot_ppc_dist(tree, num_samples=draws, kind="kde", visuals=options, **_layout(panels, columns))
    return pc, "Density of standardised values; blue: replicated, black: observed"


def _t_stat(panels: Mapping[str, Panel], columns: int, t_stat: Any, _rng: Any) -> tuple[Any, str]:
    if not callable(t_stat):
        _one_of("t_stat", t_stat, STATISTICS)
    statistic = t_stat if callable(t_stat) else STATISTICS[t_stat]
    observed, replicates = {}, {}
    for title, (y, rep) in panels.items():
        at, drawn = statistic(y), np.array([statistic(one) for one in rep])
        p = min(1.0, 2 * (1 + min((drawn >= at).sum(), (drawn <= at).sum())) / (1 + len(drawn)))
        name = f"{title}\np = {p:.2g}"
        observed[name], replicates[name] = ((), at), (("chain", "draw"), drawn[None])
    az, tree = _arviz(), _tree(replicates, observed)
    hidden = dict.fromkeys(("credible_interval", "point_estimate", "point_estimate_text"), False)
    options = {"title": {"size": 10}, "dist": {"color": BLUE}, **hidden}
    layout = _layout(panels, columns)
    pc = az.plot_dist(tree, group="posterior_predictive", kind="kde", visuals=options, **layout)
    pc.map(az.visuals.scatter_x, "observed", data=xr.Dataset(observed), color=VERMILLION, size=60)
    name = t_stat if isinstance(t_stat, str) else t_stat.__name__
    return pc, f"Statistic: {name}; blue: replicated, dot: observed"


def _pit(
    panels: Mapping[str, Panel], columns: int, _t: Any, rng: np.random.Generator, *, coverage: bool = False
) -> tuple[Any, str]:
    az, ranks, bands, limit = _arviz(), {}, {}, 0.0
    for title, (y, rep) in panels.items():
        known = np.isfinite(y)
        # randomised PIT: the rank of the observed value among its replicates, ties broken at random
        below, ties = (rep < y).sum(0), (rep == y).sum(0)
        u = np.where(known, (below + rng.random(y.shape) * (ties + 1)) / (len(rep) + 1), np.nan)
        tested = 2 * np.abs(u - 0.5) if coverage else u
        name = f"{title}\np = {pit_test(special.ndtri(tested), rng)[1]:.2g}"
        at, gap, half = _departure(tested)
        ranks[name] = (f"cell {title}", u[known])
        bands[name] = (("kwarg", "level"), np.stack([at, -half, half]))
        limit = max(limit, 1.15 * np.abs([gap, half]).max())
    options: dict[str, Any] = {"p_value_text": False, "suspicious_points": False, "ecdf_lines": {"color": BLUE}}
    options |= {"title": {"size": 10}, "xlabel": {"text": "central interval (%)" if coverage else "PIT"}}
    tree, dims = xr.DataTree.from_dict({"pit": xr.Dataset(ranks)}), [dim for dim, _ in ranks.values()]
    layout = _layout(panels, columns)
    pc = az.plot_ecdf_pit(tree, group="pit", sample_dims=dims, coverage=coverage, visuals=options, **layout)
    band = xr.Dataset(bands, {"kwarg": ["x", "y_bottom", "y_top"]})
    pc.map(az.visuals.fill_between_y, "band", data=band, color=GREY, alpha=0.3, ignore_aes="all")
    pc.map(az.visuals.set_ylim, "ylim", limits=(-limit, limit), ignore_aes="all", store_artist=False)
    what = "Proportion of people within the interval" if coverage else "Distribution of PIT"
    return pc, f"{what}, observed − expected; grey: pointwise 95 % range"


def _departure(u: Floats) -> tuple[Floats, Floats, Floats]:
    """Levels, share of u [n, d] below each minus the level, and its pointwise 95 % range over samples of people."""
    at = np.linspace(0, 1, 101)
    cells = np.isfinite(u).sum(1)
    below = np.stack([(u <= level).sum(1) for level in at])
    half = 1.96 * np.sqrt(((below - at[:, None] * cells) ** 2).sum(1)) / cells.sum()
    return at, below.sum(1) / cells.sum() - at, half


def _arviz() -> Any:
    """ArviZ, imported at the first predictive check because its import is slow."""
    import arviz

    return arviz


def _tree(replicates: Mapping[str, Any], observed: Mapping[str, Any]) -> xr.DataTree:
    """A variable per panel: ArviZ's plots support neither missing values nor several levels."""
    groups = {"posterior_predictive": xr.Dataset(replicates), "observed_data": xr.Dataset(observed)}
    return xr.DataTree.from_dict(groups)


def _layout(panels: Mapping[str, Panel], columns: int) -> dict[str, Any]:
    """Arrangement of the panels: models in rows, levels in columns; models side by side where there are no levels."""
    columns = min(columns, WIDEST)
    rows = -(-len(panels) // columns)
    size = {"figsize": (max(5.6, 2.9 * columns), 0.5 + 2.7 * rows), "figsize_units": "inches"}
    figure = size | {"sharex": True, "sharey": True, "layout": "constrained"}
    return {"cols": ["__variable__"], "col_wrap": columns, "figure_kwargs": figure, "backend": "matplotlib"}


_KINDS: dict[str, Callable[..., Any]] = {"dist": _dist, "t_stat": _t_stat, "pit": _pit}
_KINDS["coverage"] = partial(_pit, coverage=True)
