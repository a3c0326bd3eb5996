"""Preprocess: scaling of regions and the covariate basis, fitted on training controls only."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.covariates import SITE, Term
from pyro_mmnorm.data.frames import named

__all__ = ["LOCAL", "Preprocess", "Scaling", "SiteUnits"]

type Scaling = Literal["standard", "mean", "minmax"]
"""How regions are brought to model units."""

LOCAL = "local"
"""Name of the new site where the norm was trained without the covariate `site`."""

MIN_OBSERVED = 10


@dataclass(frozen=True)
class SiteUnits:
    """Location and scale of every region at a site that has its own, [D] each; see `Preprocess.units`."""

    loc: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Conversion from the units of the tables to model units and back, fitted on training controls.

    Args:
        regions: modality -> region names in order.
        set_aside: modality -> excluded regions: constant, or observed in fewer than 10 training controls.
        loc, scale: modality -> mean and standard deviation over training controls, [d].
        terms: The covariates in order.
        admitted: Sites absent from training that are accepted; None: any. They have 0 in the columns of `site`.
        units: New site -> its own location and scale, which replace those of training for people of that site. There
            the decoder f becomes loc + scale f, its sigma scale sigma, and the posterior remains exact.
    """

    regions: Mapping[str, tuple[str, ...]]
    set_aside: Mapping[str, tuple[str, ...]]
    loc: Mapping[str, tuple[float, ...]]
    scale: Mapping[str, tuple[float, ...]]
    terms: tuple[Term, ...]
    admitted: tuple[str, ...] | None = ()
    units: Mapping[str, SiteUnits] = field(default_factory=dict)

    @classmethod
    def fit(cls, cohort: Cohort, *, scaling: Scaling = "standard") -> Self:
        """Fit locations, scales and the covariate basis.

        Args:
            cohort: Training controls only (`cohort.train`).
            scaling: `standard`: mean 0 and SD 1; `mean`: divided by the mean, not centred; `minmax`: 0 to 1.

        Raises:
            InputError: When no region of a modality varies.
        """
        regions, excluded, loc, scale = {}, {}, {}, {}
        for m, frame in cohort.values.items():
            spread, count = frame.std(ddof=0), frame.notna().sum()
            usable = (count >= MIN_OBSERVED) & (spread > 1e-12 * frame.abs().mean())
            if not usable.any():
                got = "no region that varies among the training controls"
                raise InputError(f"modality {m!r}", got, "at least one", "check its table, or remove the modality")
            regions[m] = tuple(frame.columns[usable])
            excluded[m] = (*frame.columns[~usable], *cohort.set_aside.get(m, {}))
            loc[m], scale[m] = _loc_scale(m, frame.loc[:, usable], scaling)
        terms = tuple(Term.fit(cohort.covariates[name], kind) for name, kind in cohort.kinds.items())
        return cls(regions=regions, set_aside=excluded, loc=loc, scale=scale, terms=terms)

    @property
    def sizes(self) -> dict[str, int]:
        """modality -> number of regions."""
        return {m: len(names) for m, names in self.regions.items()}

    @property
    def names(self) -> list[str]:
        """`<modality>.<region>` in order."""
        return [f"{m}.{region}" for m, part in self.regions.items() for region in part]

    @property
    def coordinates(self) -> dict[str, Any]:
        """Coordinates of the regions for results: `region` (`<modality>.<region>`), `modality` and `region_name`."""
        pairs = [(m, region) for m, part in self.regions.items() for region in part]
        modalities, names = ([pair[i] for pair in pairs] for i in (0, 1))
        return {"region": self.names, "modality": ("region", modalities), "region_name": ("region", names)}

    @property
    def _columns(self) -> dict[str, slice]:
        """modality -> its regions among all regions."""
        return _slices(self.sizes)

    @property
    def groups(self) -> dict[str, slice]:
        """covariate -> its columns in the encoded matrix."""
        return _slices({term.name: term.width for term in self.terms})

    @property
    def width(self) -> int:
        """Number of covariate columns."""
        return sum(term.width for term in self.terms)

    def __call__(self, cohort: Cohort) -> Batch:
        """The cohort in model units, float32, 0 where not observed.

        Raises:
            InputError: On missing or unknown regions, an absent covariate, or a category absent from training.
        """
        values, observed = {}, {}
        unknown = sorted(set(cohort.values) - set(self.regions))
        if unknown or not set(cohort.values) & set(self.regions):
            got, expected = named(cohort.values, 12), f"some of {named(self.regions, 12)}"
            raise InputError("modalities", got, expected, "rename or remove the other modalities")
        loc, scale = self.units_of(cohort)
        for m, own in self._columns.items():
            x = self._ordered(m, self.regions[m], cohort)
            seen = np.isfinite(x)
            values[m], observed[m] = np.where(seen, (x - loc[:, own]) / scale[:, own], 0.0), seen
        return Batch.from_arrays(values, observed, self.design(cohort))

    def observed(self, cohort: Cohort) -> Floats:
        """Values in the units of the tables and the model's order of regions, [n, D], NaN where not observed."""
        return np.concatenate([self._ordered(m, names, cohort) for m, names in self.regions.items()], 1)

    def _ordered(self, m: str, names: tuple[str, ...], cohort: Cohort) -> Floats:
        """The table of a modality in the model's order of regions; all NaN if the cohort lacks the modality."""
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
            todo = "add the missing regions (empty where not observed) and exclude the unknown ones"
            raise InputError(f"modality {m!r}", got, f"the {len(names)} regions of training, in any order", todo)
        return frame[list(names)].to_numpy(float)

    def blank(self, design: Floats | None = None) -> Batch:
        """People without observed cells, with these encoded covariates, [n, c]; one person with zeros if None."""
        covariates = np.zeros((1, self.width)) if design is None else design
        cells = {m: np.zeros((len(covariates), d)) for m, d in self.sizes.items()}
        return Batch.from_arrays(cells, {m: x.astype(bool) for m, x in cells.items()}, covariates)

    def design(self, cohort: Cohort) -> Floats:
        """Encoded covariates, [n, c]; see `encoded`."""
        return self.encoded(cohort.covariates)

    def encoded(self, covariates: pd.DataFrame) -> Floats:
        """Encoded covariates, [n, c], from one column per covariate.

        Raises:
            InputError: On an absent covariate, or a category absent from training.
        """
        absent = [term.name for term in self.terms if term.name not in covariates]
        if absent:
            expected = named((term.name for term in self.terms), 12)
            raise InputError("covariates", f"{named(absent)} absent", expected, "add them for every subject")
        parts = [term(covariates[term.name], self._admitted(covariates, term)) for term in self.terms]
        return np.concatenate([np.zeros((len(covariates), 0)), *parts], axis=1)

    def _admitted(self, covariates: pd.DataFrame, term: Term) -> Collection[str]:
        if term.name != SITE:
            return ()
        return self.admitted if self.admitted is not None else set(covariates[SITE])

    def admitting(self, sites: tuple[str, ...] | None) -> Self:
        """A copy that also accepts these sites (None: any) besides those of training."""
        return replace(self, admitted=sites)

    @property
    def sites(self) -> tuple[str, ...] | None:
        """The sites of training; None where `site` is not a categorical covariate."""
        return next((term.levels for term in self.terms if term.name == SITE and term.kind == "category"), None)

    def outside(self, cohort: Cohort, *, refuse: bool = False) -> pd.DataFrame:
        """Whether each numeric covariate lies outside its range in training, [n, covariates].

        Raises:
            InputError: With `refuse`, when somebody is outside.
        """
        ranges = {
            term.name: (term.low, term.high) for term in self.terms if term.low is not None and term.high is not None
        }
        outside = {name: ~cohort.covariates[name].between(*ends) for name, ends in ranges.items()}
        for name, beyond in outside.items() if refuse else ():
            if beyond.any():
                got = f"{beyond.sum()} subjects outside the range of training, such as {cohort.ids[beyond][0]!r}"
                todo = "exclude them, or have them flagged (deviations.outside_range: flag)"
                raise InputError(f"covariate {name!r}", got, "{:g} to {:g}".format(*ranges[name]), todo)
        return pd.DataFrame(outside, index=cohort.ids, dtype=bool)

    def units_at(self, site: str) -> tuple[Floats, Floats]:
        """Location and scale of every region at a site, [D] each."""
        if site in self.units:
            return np.array(self.units[site].loc), np.array(self.units[site].scale)
        return np.concatenate(list(self.loc.values())), np.concatenate(list(self.scale.values()))

    def units_of(self, cohort: Cohort) -> tuple[Floats, Floats]:
        """Location and scale of every region for each person, [n, D] each; [1, D] where no site has its own."""
        if not self.units:
            loc, scale = self.units_at("")
            return loc[None], scale[None]
        sites = [LOCAL] * len(cohort) if self.sites is None else list(cohort.covariates[SITE])
        known = {site: self.units_at(site) for site in set(sites)}
        return np.stack([known[site][0] for site in sites]), np.stack([known[site][1] for site in sites])

    def to_units(self, modality: str, x: NDArray[Any], cohort: Cohort) -> Floats:
        """Model units back to the units of the table.

        Args:
            modality: Name of the modality.
            x: Values of the people of `cohort` in model units, [..., n, d].
            cohort: The people, [n]; the units of their sites apply where these have their own.
        """
        (loc, scale), own = self.units_of(cohort), self._columns[modality]
        return np.asarray(x, float) * scale[:, own] + loc[:, own]

    def to_record(self) -> dict[str, Any]:
        """JSON-able content."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `to_record`."""
        return TypeAdapter(cls).validate_python(record)


def _slices(widths: Mapping[str, int]) -> dict[str, slice]:
    """Name -> its columns, where parts of these widths are concatenated."""
    ends = np.cumsum([0, *widths.values()]).tolist()
    return {name: slice(*span) for name, span in zip(widths, pairwise(ends), strict=True)}


def _loc_scale(m: str, frame: pd.DataFrame, scaling: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
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
        expected = "standard, minmax, or mean of positive regions"
        raise InputError(f"modality {m!r}", got, expected, "use scaling: standard")
    return tuple(loc.tolist()), tuple(scale.tolist())
