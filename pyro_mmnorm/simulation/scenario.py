"""Scenario: what a simulated cohort is like."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np

from pyro_mmnorm.core.errors import InputError

__all__ = ["Effect", "Scenario"]

type Effect = Literal["one_region", "sparse", "dense", "latent"]
"""What is wrong with patients: in one region, in few strongly, in many weakly, or along a latent factor."""

STREAMS = ("truth", "people", "latents", "noise", "effects", "missing")
FILES = re.compile(r"participants|effect|reference_.*")  # names of other tables that a simulation writes


@dataclass(frozen=True, kw_only=True)
class Scenario:
    r"""What a simulated cohort is like; `simulate` makes it.

    Person i has the covariates age, sex and site, and in region j the value

    .. math:: x_{ij} = m_j(c_i) + s_j\, r(c_i)\, (w_j^\top z_i + \psi_j \varepsilon_{ij} + e_{ij}),
        \qquad \textstyle\sum_l w_{jl}^2 + \psi_j^2 = 1

    with latents z ~ N(0, I), noise of SD 1 and the planted effect e. So :math:`s_j r(c_i)` is the marginal SD of the
    region given the covariates, and e is told in units of it. The scale r is 1 but for `heteroscedastic` and `sites`;
    both act on the whole deviation from the mean, as in Johnson, Li & Rabinovic (2007) for sites.

    Args:
        healthy, patients: Numbers of people.
        regions: modality -> number of regions, or their names.
        latents: Latent factors, shared by all modalities; together 30 to 70 % of the variance of a region that the
            common factor leaves.
        seed: The same seed gives the same cohort. The truth does not depend on the number of people.
        age: Youngest and oldest, in years.
        age_shape: `uniform`, or `normal` cut off at two SD, which are the ends of the range.
        patients_older: Years by which patients are older on average, within the same range.
        sites: Number of sites; site k is 1/k times as large as the first.
        site_shift: SD over sites of a region's mean, in units of s_j; each site and region has its own.
        site_scale: Smallest and largest r of a site; the others lie between, evenly on a log scale.
        common_factor: Share of every region's variance that belongs to one more factor, positive in all regions, as
            the size of the head. It is also the mean correlation of regions; 0.2 is usual for volumes.
        nonlinear: Steepness s of a random network of tanh units, scaled to the same variance, that the latents (not
            the common factor) go through. 0 is its limit, linear and Gaussian; 3 is strongly curved.
        heteroscedastic: Factor by which r grows from the youngest to the oldest, evenly on a log scale.
        tails: Degrees of freedom of t-distributed noise, above 2, scaled to SD 1; None: Gaussian noise.
        missing_modalities: Chance that a person lacks a modality; one modality is always left.
        missing_cells: Chance that a cell was not observed, beside these.
        effect: `one_region`; `sparse`: 6 % of the regions; `dense`: half of them; `latent`: a latent factor moves.
            Regions (or the factor) and signs are drawn for each patient.
        effect_size: SD by which a region changes, in units of s_j r, or by which a latent moves. None: 4 for
            `one_region` and `sparse`, 0.7 for `dense`, 3 for `latent`.
        subtypes: 0: every patient is different; else the number of subtypes, each with its own regions and signs.
        stages: Diagnosis -> share of the patients, mildest first. The effect of stage l of L is l/L of `effect_size`.

    Raises:
        InputError: On a value out of range; the message names it.

    References:
        Johnson, Li & Rabinovic (2007), Adjusting batch effects, https://doi.org/10.1093/biostatistics/kxj037

    Examples:
        >>> Scenario(sites=3, regions={"cortical": 2, "hippocampal": ["CA1", "CA3"]}).names
        {'cortical': ['region1', 'region2'], 'hippocampal': ['CA1', 'CA3']}
    """

    healthy: int = 600
    patients: int = 60
    regions: Mapping[str, int | Sequence[str]] = field(
        default_factory=lambda: {"cortical": 24, "subcortical": 12, "hippocampal": 6}
    )
    latents: int = 5
    seed: int = 1
    age: tuple[float, float] = (45.0, 82.0)
    age_shape: Literal["uniform", "normal"] = "uniform"
    patients_older: float = 0.0
    sites: int = 1
    site_shift: float = 0.5
    site_scale: tuple[float, float] = (0.8, 1.25)
    common_factor: float = 0.0
    nonlinear: float = 0.0
    heteroscedastic: float = 1.0
    tails: float | None = None
    missing_modalities: float = 0.0
    missing_cells: float = 0.0
    effect: Effect = "sparse"
    effect_size: float | None = None
    subtypes: int = 0
    stages: Mapping[str, float] = field(default_factory=lambda: {"AD": 1.0})

    def __post_init__(self) -> None:
        room = (self.age[1] - self.age[0]) / 2 if _is_pair(self.age) else 0.0
        share, size, kinds = "a share from 0 to below 1", "a number from 0 on", get_args(Effect.__value__)
        rules = {
            "healthy": (_is_whole(self.healthy, 1), "a whole number from 1 on"),
            "patients": (_is_whole(self.patients, 0), "a whole number from 0 on"),
            "regions": (_are_regions(self.regions), "modality -> number of regions or their distinct names"),
            "latents": (_is_whole(self.latents, 1), "a whole number from 1 on"),
            "seed": (_is_whole(self.seed, 0), "a whole number from 0 on"),
            "age": (_is_pair(self.age) and self.age[0] < self.age[1], "years (youngest, oldest)"),
            "age_shape": (self.age_shape in ("uniform", "normal"), "uniform or normal"),
            "patients_older": (_is_within(self.patients_older, 0, room), "years from 0 to below half the range of age"),
            "sites": (_is_whole(self.sites, 1), "a whole number from 1 on"),
            "site_shift": (_is_within(self.site_shift, 0), size),
            "site_scale": (_is_pair(self.site_scale), "positive factors (smallest, largest)"),
            "common_factor": (_is_within(self.common_factor, 0, 1), share),
            "nonlinear": (_is_within(self.nonlinear, 0), size),
            "heteroscedastic": (_is_within(self.heteroscedastic, 1e-3), "a positive factor, 1 for none"),
            "tails": (self.tails is None or _is_within(self.tails, 2 + 1e-9), "degrees of freedom above 2, or None"),
            "missing_modalities": (_is_within(self.missing_modalities, 0, 1), share),
            "missing_cells": (_is_within(self.missing_cells, 0, 1), share),
            "effect": (self.effect in kinds, f"one of {', '.join(kinds)}"),
            "effect_size": (self.effect_size is None or _is_within(self.effect_size, 0), f"{size}, or None"),
            "subtypes": (_is_whole(self.subtypes, 0), "a whole number from 0 on"),
            "stages": (_are_stages(self.stages), "diagnosis (other than CN) -> positive share of the patients"),
        }
        for name, (fine, expected) in rules.items():
            if not fine:
                raise InputError(f"scenario: {name}", repr(getattr(self, name)), expected, f"mend {name}")

    @property
    def names(self) -> dict[str, list[str]]:
        """Names of the regions of each modality."""
        return {
            m: list(of) if isinstance(of, Sequence) else [f"region{i + 1:0{len(str(of))}d}" for i in range(of)]
            for m, of in self.regions.items()
        }

    def rng(self, stream: str) -> np.random.Generator:
        """Random numbers of one purpose, so that a change in one part of a cohort leaves the others as they are."""
        return np.random.default_rng([self.seed, STREAMS.index(stream)])


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, Integral) and int(value) >= least


def _is_within(value: object, low: float, below: float = np.inf) -> bool:
    return isinstance(value, Real) and low <= float(value) < below


def _is_pair(value: object) -> bool:
    """Two positive numbers in order."""
    if not isinstance(value, Sequence) or len(value) != 2:
        return False
    return all(_is_within(number, 1e-9) for number in value) and value[0] <= value[1]


def _are_regions(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    named = all(re.fullmatch(r"[A-Za-z][\w-]*", str(m)) and not FILES.fullmatch(str(m)) for m in value)
    return named and all(_is_whole(of, 1) or _are_names(of) for of in value.values())


def _are_names(value: object) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    return 0 < len(value) == len(set(value)) and all(isinstance(name, str) and name for name in value)


def _are_stages(value: object) -> bool:
    if not isinstance(value, Mapping) or not value or "CN" in value:
        return False
    return all(isinstance(name, str) and name and _is_within(share, 1e-9) for name, share in value.items())
