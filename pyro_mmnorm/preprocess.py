"""Preprocess: scaling of regions and the covariate basis, fitted on training controls only."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pyro_mmnorm.cohort import Batch, Cohort
from pyro_mmnorm.errors import InputError

__all__ = ["SITE", "Preprocess", "Scaling", "Term", "natural_spline"]

type Floats = NDArray[np.float64]
type Scaling = Literal["standard", "mean", "minmax"]
"""How regions are brought to model units."""

SITE = "site"
"""The covariate whose categories may come after training: people of a new site have 0 in all of its columns."""

KNOT_CENTILES = (5, 35, 65, 95)
MIN_OBSERVED = 10


def natural_spline(x: Floats, knots: Floats) -> Floats:
    r"""Natural cubic spline basis: cubic between the knots, linear beyond the outer ones.

    .. math:: N_1 = x, \quad N_{j+1} = d_j(x) - d_{K-1}(x), \quad
        d_j(x) = \frac{(x - \xi_j)_+^3 - (x - \xi_K)_+^3}{\xi_K - \xi_j}

    Args:
        x: Values, [n].
        knots: Increasing, [K] with K >= 3.

    Returns:
        Columns without the constant, [n, K - 1], in units where the knots span 0 to 1.

    References:
        Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, equation 5.4,
        https://hastie.su.domains/ElemStatLearn/

    Examples:
        >>> natural_spline(np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0])).shape
        (2, 2)
    """
    unit = (np.asarray(x, float) - knots[0]) / (knots[-1] - knots[0])
    xi = (knots - knots[0]) / (knots[-1] - knots[0])
    cubes = np.clip(unit[:, None] - xi, 0, None) ** 3
    d = (cubes[:, :-1] - cubes[:, -1:]) / (xi[-1] - xi[:-1])
    return np.column_stack([unit, d[:, :-1] - d[:, -1:]])


@dataclass(frozen=True, kw_only=True)
class Term:
    """How one covariate is encoded.

    Args:
        name, kind: Covariate and `spline`, `linear`, `category` or `one_hot` (a number by its whole units).
        levels: The categories, or the whole numbers, met in training, sorted.
        knots: Of the spline.
        loc, scale: Of each column over the training controls.
        low, high: Range met in training.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    knots: tuple[float, ...] = ()
    loc: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.levels) or len(self.loc)

    @classmethod
    def fit(cls, column: pd.Series, kind: str) -> Self:
        """Learn the encoding from training controls."""
        name = str(column.name)
        if kind == "category":
            return cls(name=name, kind=kind, levels=tuple(sorted(column.unique())))
        x = column.to_numpy(float)
        if kind == "one_hot":
            levels = tuple(f"{unit:.0f}" for unit in np.unique(np.floor(x)))
            return cls(name=name, kind=kind, levels=levels, low=float(x.min()), high=float(x.max()))
        knots = np.unique(np.percentile(x, KNOT_CENTILES)) if kind == "spline" else np.array([])
        if x.min() == x.max():
            raise InputError(
                f"covariate {name!r}", f"{x[0]:g} for every training control", "values that differ", "leave it out"
            )
        if kind == "spline" and len(knots) < 3:
            todo = f"write {name}: {{column: {name}, kind: linear}}"
            raise InputError(f"covariate {name!r}", "fewer than 3 distinct knots", "a spline's worth of values", todo)
        raw = natural_spline(x, knots) if kind == "spline" else x[:, None]
        return cls(
            name=name,
            kind=kind,
            knots=tuple(knots.tolist()),
            loc=tuple(raw.mean(0).tolist()),
            scale=tuple(raw.std(0).tolist()),
            low=float(x.min()),
            high=float(x.max()),
        )

    def __call__(self, column: pd.Series, admitted: Collection[str] = ()) -> Floats:
        """Columns [n, width]: standardised spline or linear columns, or one 0/1 column a level; 0 for the admitted."""
        if self.levels:
            own = column if self.kind == "category" else column.astype(float).floordiv(1).map("{:.0f}".format)
            unseen = own[~own.isin([*self.levels, *admitted])]
            if len(unseen):
                raise self._unseen(unseen)
            return (own.to_numpy(object)[:, None] == np.array(self.levels, dtype=object)).astype(float)
        x = column.to_numpy(float)
        raw = natural_spline(x, np.array(self.knots)) if self.kind == "spline" else x[:, None]
        return (raw - np.array(self.loc)) / np.array(self.scale)

    def _unseen(self, column: pd.Series) -> InputError:
        names = sorted(set(column))[:3]
        if self.kind == "one_hot":
            got = f"{len(column)} subjects of {', '.join(names)} unseen in training, such as {column.index[0]!r}"
            todo = "use kind: spline, which has an answer for it, or set those subjects aside"
            return InputError(f"covariate {self.name!r}", got, f"one of {', '.join(self.levels)}", todo)
        close = difflib.get_close_matches(str(column.iloc[0]), self.levels, n=1)
        todo = (
            "adapt the norm with 10 or more controls of that site (mmnorm adapt), or take the answer for the "
            "population (deviations.unseen_site: population)"
            if self.name == SITE
            else "set those subjects aside, or train with controls of that category"
        )
        return InputError(
            f"covariate {self.name!r}",
            f"{len(column)} subjects of {names} unseen in training, such as {column.index[0]!r}",
            f"one of {list(self.levels)}",
            f"did you mean {close[0]!r}? If not, {todo}" if close else todo,
        )


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From the units of the tables to model units and back; learnt from training controls, then fixed.

    Args:
        regions: modality -> region names in order.
        set_aside: modality -> regions constant or hardly observed among the training controls; ignored from then on.
        loc, scale: modality -> mean and standard deviation over training controls, [d].
        terms: The covariates in order.
        admitted: Sites that came after training; None: any. They have 0 in the columns of `site`.
    """

    regions: Mapping[str, tuple[str, ...]]
    set_aside: Mapping[str, tuple[str, ...]]
    loc: Mapping[str, tuple[float, ...]]
    scale: Mapping[str, tuple[float, ...]]
    terms: tuple[Term, ...]
    admitted: tuple[str, ...] | None = ()

    @classmethod
    def fit(cls, cohort: Cohort, *, scaling: Scaling = "standard") -> Self:
        """Learn means, scales and the covariate basis.

        Args:
            cohort: Training controls and nobody else (`cohort.train`).
            scaling: `standard`: mean 0 and SD 1; `mean`: divided by the mean, not centred; `minmax`: 0 to 1.

        Raises:
            InputError: When a modality has no region left that varies.
        """
        regions, aside, loc, scale = {}, {}, {}, {}
        for m, frame in cohort.values.items():
            spread, count = frame.std(ddof=0), frame.notna().sum()
            usable = (count >= MIN_OBSERVED) & (spread > 1e-12 * frame.abs().mean())
            if not usable.any():
                got = "no region that varies over the training controls"
                raise InputError(f"modality {m!r}", got, "at least one", "check its table, or leave the modality out")
            regions[m], aside[m] = tuple(frame.columns[usable]), (*frame.columns[~usable], *cohort.set_aside.get(m, {}))
            loc[m], scale[m] = _units(m, frame.loc[:, usable], scaling)
        terms = tuple(Term.fit(cohort.covariates[name], kind) for name, kind in cohort.kinds.items())
        return cls(regions=regions, set_aside=aside, loc=loc, scale=scale, terms=terms)

    @property
    def sizes(self) -> dict[str, int]:
        """modality -> number of regions."""
        return {m: len(names) for m, names in self.regions.items()}

    @property
    def names(self) -> list[str]:
        """`<modality>.<region>` in order."""
        return [f"{m}.{region}" for m, part in self.regions.items() for region in part]

    @property
    def groups(self) -> dict[str, slice]:
        """covariate -> its columns in the encoded matrix."""
        ends = np.cumsum([0, *(term.width for term in self.terms)]).tolist()
        return {t.name: slice(a, b) for t, a, b in zip(self.terms, ends[:-1], ends[1:], strict=True)}

    @property
    def width(self) -> int:
        """Number of covariate columns."""
        return sum(term.width for term in self.terms)

    def __call__(self, cohort: Cohort) -> Batch:
        """The same subjects in model units, float32, 0 where not observed.

        Raises:
            InputError: When regions are missing or unknown, a covariate is absent, or a category is new.
        """
        values, observed = {}, {}
        unknown = sorted(set(cohort.values) - set(self.regions))
        if unknown or not set(cohort.values) & set(self.regions):
            raise InputError(
                "modalities",
                f"{sorted(cohort.values)}",
                f"some of {sorted(self.regions)}",
                "rename or remove the others",
            )
        for m, names in self.regions.items():
            x = self._ordered(m, names, cohort)
            seen = np.isfinite(x)
            unit = np.where(seen, (x - np.array(self.loc[m])) / np.array(self.scale[m]), 0.0)
            values[m], observed[m] = torch.from_numpy(unit.astype(np.float32)), torch.from_numpy(seen)
        return Batch(
            values=values,
            observed=observed,
            covariates=torch.from_numpy(self.design(cohort).astype(np.float32)),
            index=torch.arange(len(cohort)),
        )

    def _ordered(self, m: str, names: tuple[str, ...], cohort: Cohort) -> Floats:
        """The modality's table in the model's order of regions; all NaN when the cohort has no such modality."""
        if m not in cohort.values:
            return np.full((len(cohort), len(names)), np.nan)
        frame = cohort.values[m]
        missing = [name for name in names if name not in frame]
        extra = [name for name in frame if name not in names and name not in self.set_aside[m]]
        if missing or extra:
            got = "; ".join(
                f"{len(part)} regions {word}, such as {part[0]!r}"
                for part, word in ((missing, "missing"), (extra, "unknown"))
                if part
            )
            todo = "give the missing ones (empty where not observed) and exclude the unknown ones"
            raise InputError(f"modality {m!r}", got, f"the {len(names)} regions of the training, in any order", todo)
        return frame[list(names)].to_numpy(float)

    def blank(self, design: Floats | None = None) -> Batch:
        """People with these encoded covariates, [n, c], of whom nothing was observed; one with zeros when None."""
        covariates = torch.zeros(1, self.width) if design is None else torch.from_numpy(design.astype(np.float32))
        n = len(covariates)
        cells = {m: torch.zeros(n, d) for m, d in self.sizes.items()}
        return Batch(
            values=cells,
            observed={m: x.bool() for m, x in cells.items()},
            covariates=covariates,
            index=torch.arange(n),
        )

    def design(self, cohort: Cohort) -> Floats:
        """Encoded covariates, [n, c]; refuses an absent covariate and a new category."""
        return self.encoded(cohort.covariates)

    def encoded(self, covariates: pd.DataFrame) -> Floats:
        """`design` of people with these covariates, one column each, [n, c]."""
        absent = [term.name for term in self.terms if term.name not in covariates]
        if absent:
            raise InputError(
                "covariates", f"{absent} absent", f"{[t.name for t in self.terms]}", "give them for every subject"
            )
        parts = [term(covariates[term.name], self._admitted(covariates, term)) for term in self.terms]
        return np.concatenate([np.zeros((len(covariates), 0)), *parts], axis=1)

    def _admitted(self, covariates: pd.DataFrame, term: Term) -> Collection[str]:
        if term.name != SITE:
            return ()
        return self.admitted if self.admitted is not None else set(covariates[SITE])

    def admitting(self, sites: tuple[str, ...] | None) -> Self:
        """The same, with these sites (None: any) admitted beside those met in training."""
        return replace(self, admitted=sites)

    @property
    def sites(self) -> tuple[str, ...] | None:
        """The sites met in training; None where `site` is no covariate by category."""
        return next((term.levels for term in self.terms if term.name == SITE and term.kind == "category"), None)

    def outside(self, cohort: Cohort, *, refuse: bool = False) -> pd.DataFrame:
        """Whether each covariate that has a range lies outside that of training, a column each.

        Raises:
            InputError: For the first such person, where they are to be refused.
        """
        ranges = {
            term.name: (term.low, term.high) for term in self.terms if term.low is not None and term.high is not None
        }
        found = {name: ~cohort.covariates[name].between(*ends) for name, ends in ranges.items()}
        for name, far in found.items() if refuse else ():
            if far.any():
                got = f"{far.sum()} subjects outside the range of training, such as {cohort.ids[far][0]!r}"
                todo = "set them aside, or have them flagged (deviations.outside_range: flag)"
                raise InputError(f"covariate {name!r}", got, "{:g} to {:g}".format(*ranges[name]), todo)
        return pd.DataFrame(found, index=cohort.ids, dtype=bool)

    def to_units(self, modality: str, x: NDArray[Any]) -> Floats:
        """Model units back to the units of the table, [..., d]."""
        return np.asarray(x, float) * np.array(self.scale[modality]) + np.array(self.loc[modality])

    def to_record(self) -> dict[str, Any]:
        """JSON-able content."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `to_record`."""

        def tuples(part: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
            return {m: tuple(x) for m, x in part.items()}

        def term(part: Mapping[str, Any]) -> Term:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()}
            return Term(**fields)

        terms = tuple(term(part) for part in record["terms"])
        fields = {k: tuples(record[k]) for k in ("regions", "set_aside", "loc", "scale")}
        return cls(**fields, terms=terms, admitted=None if record["admitted"] is None else tuple(record["admitted"]))


def _units(m: str, frame: pd.DataFrame, scaling: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Location and scale of every region."""
    mean = frame.mean()
    if scaling == "standard":
        loc, scale = mean, frame.std(ddof=0)
    elif scaling == "minmax":
        loc, scale = frame.min(), frame.max() - frame.min()
    elif scaling == "mean" and (mean > 0).all():
        loc, scale = 0 * mean, mean
    else:
        got = f"scaling {scaling!r}" + (" with a mean that is not positive" if scaling == "mean" else "")
        raise InputError(
            f"modality {m!r}", got, "standard, minmax, or mean of positive regions", "use scaling: standard"
        )
    return tuple(loc.tolist()), tuple(scale.tolist())
