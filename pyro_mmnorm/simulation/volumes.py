"""Volumes: the regions of the UK Biobank and ADNI cohort, and the distribution of their volumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.simulation.scenario import Scenario
from pyro_mmnorm.simulation.truth import Truth

__all__ = ["ADNI_SITES", "AGE", "CENTRES", "ICV", "SYSTEMS", "VolumeTruth", "factor_loadings", "region_table"]

AGE = (45.0, 91.0)
"""Lowest and highest age of both studies, in years."""

ICV = 1.53e6
"""Intracranial volume in mm3 for which the means of the table hold."""

CENTRES = {"ukb-cheadle": 11025, "ukb-reading": 11026, "ukb-newcastle": 11027}
"""Imaging centres of UK Biobank -> their codes in field 54."""

ADNI_SITES = tuple(f"adni-{k:03d}" for k in range(1, 31))
"""Sites of ADNI: fewer than in the study, so that every simulated site has some people."""

SYSTEMS = (
    "frontal", "parietal", "temporal", "medial", "occipital", "cingulate", "deep", "white", "cerebellum", "fluid",
    "hippocampus",
)  # fmt: skip
"""Groups of correlated neighbouring regions, with one factor each."""

# Shifts between scanners and software, in SD of a region: round numbers, from no publication.
STUDY_SHIFT, STUDY_SCALE = 0.35, 1.1
SITE_SHIFT, SITE_SCALE = {"ukb": 0.05, "adni": 0.15}, {"ukb": 0.02, "adni": 0.05}
AGE_GROWTH = 1.25
LEAST_NOISE = 0.05


@cache
def region_table() -> pd.DataFrame:
    """The 115 regions, [115, 19]: names, volumes, age curves, atrophy, field names; ukb_adni.csv lists the sources.

    The 35 of aseg are in both UK Biobank and ADNI. The whole hippocampus is excluded, since it is the sum of its
    subfields, which are a modality of their own; so are choroid plexus, vessels and fifth ventricle. The 8 subfields
    per side are those of ADNI's tables, including the fissure; UK Biobank's are sums over head and body.

    Examples:
        >>> region_table().groupby("modality", sort=False).size().to_dict()
        {'cortical': 64, 'subcortical': 35, 'hippocampal': 16}
    """
    text = files("pyro_mmnorm.simulation").joinpath("ukb_adni.csv")
    with text.open(encoding="utf-8") as file:
        return pd.read_csv(file, comment="#", dtype={"ukb": str}, keep_default_na=False)


def factor_loadings(table: pd.DataFrame) -> Floats:
    """Loadings on a factor per system, a factor per pair of sides, and the common factor as the last column, [d, K].

    The correlation of a pair is `twin`, within the limits of the other factors; the noise has at least 5 % of the
    variance.

    Examples:
        >>> w = factor_loadings(region_table())
        >>> left, right = (list(region_table()["region"]).index(f"{h}_precuneus_volume") for h in ("lh", "rh"))
        >>> round(float(w[left] @ w[right]), 2)
        0.75
    """
    common = _numbers(table, "common")
    shared = common**2 + _numbers(table, "system_loading") ** 2
    twin = np.clip(_numbers(table, "twin") - shared, 0.0, 1 - LEAST_NOISE - shared)
    system = _numbers(table, "system_loading")[:, None] * _members(table["system"], list(SYSTEMS))
    pairs = table.loc[table["side"] == "left", "structure"].to_list()
    pair = np.sqrt(twin)[:, None] * _members(table["structure"], pairs)
    return np.hstack([system, pair, common[:, None]])


def _members(labels: pd.Series, names: list[str]) -> NDArray[np.bool_]:
    """True where the label of a region is that name, [d, names]."""
    return labels.to_numpy(str)[:, None] == np.array(names)


@dataclass(frozen=True, kw_only=True)
class VolumeTruth(Truth):
    r"""The parameters of log volumes: those of `Truth`, in log mm3, and two more.

    .. math:: \log x_{ij} = m_j(c_i) + \theta_j \log(\mathrm{ICV}_i / 1.53\,10^6)
        + s_j\, r(c_i)\, (w_j^\top z_i + \psi_j \varepsilon_{ij} + e_{ij})

    Volumes are therefore positive, ventricles are skewed, head size acts as a power, and an effect of -1 in a region
    with s = 0.1 is a loss of a tenth.

    Args:
        site: Names of the sites, [S].
        icv: theta, [d].

    References:
        Liu, Johnson, Long, Magnotta & Paulsen (2014), The power-proportion method for intracranial volume correction,
        https://doi.org/10.3389/fnins.2014.00356
    """

    site: NDArray[np.str_]
    icv: Floats

    @classmethod
    def draw(cls, scenario: Scenario) -> Self:
        """The regions of the table, with shifts of studies and sites drawn by the seed of the scenario.

        Examples:
            >>> one, other = (VolumeTruth.draw(Scenario(healthy=n, seed=3)) for n in (10, 90))
            >>> bool((one.site_shift == other.site_shift).all()), one.site_shift.shape
            (True, (33, 115))
        """
        table, rng = region_table(), scenario.rng("truth")
        sites = [*CENTRES, *ADNI_SITES]
        of_adni = np.array([site.startswith("adni") for site in sites])
        spread = np.array([SITE_SHIFT[site[: site.index("-")]] for site in sites])
        ripple = np.array([SITE_SCALE[site[: site.index("-")]] for site in sites])
        study = STUDY_SHIFT * rng.standard_normal(len(table))
        loadings = factor_loadings(table)
        sd = _numbers(table, "sd")
        level, slope, bend = _age_curve(table)
        return cls(
            modality=table["modality"].to_numpy(str),
            region=table["region"].to_numpy(str),
            mean=level,
            sd=sd,
            loadings=loadings,
            noise_sd=np.sqrt(1 - (loadings**2).sum(axis=1)),
            age_slope=slope / sd,
            age_bend=bend / sd,
            sex=_numbers(table, "sex") / sd,
            site_shift=of_adni[:, None] * study + spread[:, None] * rng.standard_normal((len(sites), len(table))),
            site_scale=np.where(of_adni, STUDY_SCALE, 1.0) * np.exp(ripple * rng.standard_normal(len(sites))),
            age=AGE,
            age_growth=AGE_GROWTH,
            network=None,
            site=np.array(sites),
            icv=_numbers(table, "icv"),
        )

    @property
    def sites(self) -> list[str]:
        """Names of the sites."""
        return list(map(str, self.site))

    def norm(self, participants: pd.DataFrame) -> tuple[Floats, Floats]:
        """Mean and SD of every log volume for people of that age, sex, site and intracranial volume, [n, d] each.

        Raises:
            InputError: As `Truth.norm`.

        Examples:
            >>> truth = VolumeTruth.draw(Scenario())
            >>> old = pd.DataFrame({"age": [60.0, 80.0], "sex": "F", "site": "ukb-reading", "icv": 1.5e6})
            >>> mean, _ = truth.norm(old)
            >>> growth = dict(zip(truth.region, mean[1] - mean[0]))
            >>> bool(growth["left_CA1"] < -0.1 < 0.4 < growth["Left-Lateral-Ventricle"])
            True
        """
        mean, sd = super().norm(participants)
        head = np.log(participants["icv"].to_numpy(float) / ICV)[:, None]
        return mean + self.icv * head, sd

    def direction(self, weights: Sequence[tuple[str, float]]) -> Floats:
        """Latents of length 1 along the factors of some systems and the common factor, [K].

        Examples:
            >>> VolumeTruth.draw(Scenario()).direction([("fluid", 3.0), ("common", -4.0)])[[9, -1]].tolist()
            [0.6, -0.8]
        """
        latents = np.zeros(self.loadings.shape[1])
        for name, weight in weights:
            latents[-1 if name == "common" else SYSTEMS.index(name)] = weight
        return latents / np.linalg.norm(latents)


def _numbers(table: pd.DataFrame, column: str) -> Floats:
    return table[column].to_numpy(float)


def _age_curve(table: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Level, slope and curvature of the log volume in t, the age scaled to -1..1, with the slopes of the table."""
    middle, half = sum(AGE) / 2, (AGE[1] - AGE[0]) / 2
    early, late = _numbers(table, "slope_60") / 100, _numbers(table, "slope_75") / 100
    curve = (late - early) / 15
    slope = early + curve * (middle - 60)
    at_64 = np.log(_numbers(table, "young")) + _numbers(table, "to_64")
    bend = curve * half**2 / 2
    level = at_64 + slope * (middle - 64) - curve * (middle - 64) ** 2 / 2 + bend / 3
    return level, slope * half, bend
