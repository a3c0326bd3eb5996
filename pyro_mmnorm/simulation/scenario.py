"""Scenario: the description of a simulated cohort."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pyro_mmnorm.core.errors import InputError

__all__ = ["Effect", "Scenario", "check_values", "quotas"]

type Effect = Literal["one_region", "sparse", "dense", "latent"]
"""Effect in patients: on one region, strong on few, weak on many, or along a latent factor."""

STREAMS = ("truth", "people", "latents", "noise", "effects", "missing")
FILES = re.compile(r"participants|effect|reference_.*")  # names of other tables of a simulation


@dataclass(frozen=True, kw_only=True)
class Scenario:
    r"""The description of a simulated cohort; see `simulate`.

    Person i has the covariates age, sex and site, and in region j the value

    .. math:: x_{ij} = m_j(c_i) + s_j\, r(c_i)\, (w_j^\top z_i + \psi_j \varepsilon_{ij} + e_{ij}),
        \qquad \textstyle\sum_l w_{jl}^2 + \psi_j^2 = 1

    with latents z ~ N(0, I), noise of SD 1 and the planted effect e. So :math:`s_j r(c_i)` is the marginal SD of the
    region given the covariates, which is the unit of e. The scale r is 1 except for `heteroscedastic` and `sites`;
    both act on the whole deviation from the mean, as in Johnson, Li & Rabinovic (2007) for sites.

    Args:
        healthy, patients: Numbers of people.
        regions: modality -> number of regions, or their names.
        latents: Latent factors, shared by all modalities; they explain 30 to 70 % of the variance of a region that is
            not explained by the common factor.
        seed: The same seed gives the same cohort. The truth does not depend on the number of people.
        age: Lowest and highest age, in years.
        age_shape: `uniform`, or `normal` truncated at two SD, which are the limits of the range.
        patients_older: Mean age difference of patients in years, within the same range.
        sites: Number of sites; the size of site k is 1/k of that of the first.
        site_shift: SD over sites of a region's mean, in units of s_j, independent between sites and regions.
        site_scale: Smallest and largest r of a site; the others are evenly spaced between them on a log scale.
        common_factor: Share of the variance of every region due to one more factor, positive in all regions, such as
            head size. It is also the mean correlation of regions; 0.2 is typical of volumes.
        nonlinear: Steepness s of a random network of tanh units of the latents (not of the common factor), scaled to
            the same variance. 0 is its limit, linear and Gaussian; 3 is strongly nonlinear.
        heteroscedastic: Factor by which r increases from the lowest to the highest age, linearly on a log scale.
        tails: Degrees of freedom of t-distributed noise, above 2, scaled to SD 1; None: Gaussian noise.
        missing_modalities: Probability that a person lacks a modality; at least one modality is observed.
        missing_cells: Probability that any other cell is not observed.
        effect: `one_region`; `sparse`: 6 % of the regions; `dense`: half of them; `latent`: shift of a latent factor.
            Regions (or the factor) and signs are drawn for each patient.
        effect_size: Change of a region in SD, in units of s_j r, or shift of a latent in SD. None: 4 for `one_region`
            and `sparse`, 0.7 for `dense`, 3 for `latent`.
        subtypes: Number of subtypes, each with its own regions and signs; 0: every patient has their own.
        stages: Diagnosis -> share of the patients, mildest first. The effect of stage l of L is l/L of `effect_size`.

    Raises:
        InputError: On a value out of range.

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
        share, size, kinds = "a share of at least 0 and below 1", "a number of at least 0", get_args(Effect.__value__)
        rules = {
            "healthy": (_is_whole(self.healthy, 1), "a whole number of at least 1"),
            "patients": (_is_whole(self.patients, 0), "a whole number of at least 0"),
            "regions": (_are_regions(self.regions), "modality -> number of regions or their distinct names"),
            "latents": (_is_whole(self.latents, 1), "a whole number of at least 1"),
            "seed": (_is_whole(self.seed, 0), "a whole number of at least 0"),
            "age": (_is_pair(self.age) and self.age[0] < self.age[1], "years (lowest, highest)"),
            "age_shape": (self.age_shape in ("uniform", "normal"), "uniform or normal"),
            "patients_older": (
                _is_within(self.patients_older, 0, room),
                "years, 0 to below half the age range",
            ),
            "sites": (_is_whole(self.sites, 1), "a whole number of at least 1"),
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
            "subtypes": (_is_whole(self.subtypes, 0), "a whole number of at least 0"),
            "stages": (_are_stages(self.stages), "diagnosis (other than CN) -> positive share of the patients"),
        }
        check_values("scenario", {name: (getattr(self, name), *rule) for name, rule in rules.items()})

    @property
    def names(self) -> dict[str, list[str]]:
        """modality -> names of its regions."""
        return {
            m: list(of) if isinstance(of, Sequence) else [f"region{i + 1:0{len(str(of))}d}" for i in range(of)]
            for m, of in self.regions.items()
        }

    def rng(self, stream: str) -> np.random.Generator:
        """Random generator for one part of a cohort, so that a change in one part does not affect the others."""
        return np.random.default_rng([self.seed, STREAMS.index(stream)])


def check_values(where: str, rules: Mapping[str, tuple[object, bool, str]]) -> None:
    """Refuse a value that is out of range.

    Args:
        where: What the values describe.
        rules: name -> value, whether it is valid, and what is expected.

    Raises:
        InputError: For the first invalid value.
    """
    for name, (value, valid, expected) in rules.items():
        if not valid:
            raise InputError(f"{where}: {name}", repr(value), expected, f"correct {name}")


def quotas(shares: Iterable[float], n: int) -> NDArray[np.int_]:
    """Whole numbers with sum n in proportion to the shares, by rounding the cumulative quotas.

    Examples:
        >>> quotas([1.0, 1.0, 2.0], 10).tolist()
        [3, 2, 5]
    """
    cumulative = np.cumsum([0.0, *shares])
    return np.diff(np.floor(cumulative / cumulative[-1] * n + 0.5).astype(int))


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
