"""Truth: the parameters of a simulated cohort, and the exact z-scores that follow from them."""

from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyro_mmnorm.core.errors import check_known
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.simulation.scenario import Scenario

__all__ = ["Network", "ReferenceKind", "Truth", "conditional_z"]


type ReferenceKind = Literal["normative", "reconstruction", "cross_modal"]
"""z given the covariates alone, also given all other regions, or also given the other modalities."""

MOMENT_DRAWS = 20_000
CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class Network:
    r"""Latents through random tanh units: :math:`f(z) = (\tanh(s (z A + b)) - t) V`, with mean 0.

    Args:
        steepness: s.
        inner: A, [k, h], columns of length 1.
        bias: b, [h].
        centre: t, the mean of the units, [h].
        outer: V, [h, d].
    """

    steepness: float
    inner: Floats
    bias: Floats
    centre: Floats
    outer: Floats

    def __call__(self, z: Floats) -> Floats:
        """[n, k] -> [n, d]."""
        hidden: Floats = np.tanh(self.steepness * (z @ self.inner + self.bias)) - self.centre
        return hidden @ self.outer


@dataclass(frozen=True, kw_only=True)
class Truth:
    r"""The parameters of a simulated cohort: d regions in the order of the modalities, K latents, S sites.

    .. math:: m_j(c) = \mu_j + s_j (\alpha_j t + \beta_j (t^2 - \tfrac13) + \gamma_j (\text{male} - \tfrac12)
        + \delta_{j, \text{site}}), \qquad r(c) = g^{t / 2}\, \rho_{\text{site}}

    with t the age, scaled to -1 for the lowest and 1 for the highest age.

    Args:
        modality, region: Names, [d] each.
        mean, sd: mu and s, in the unit of the tables (nominal mm^3), [d] each; s is a tenth of mu, so that negative
            values are very rare.
        loadings: w in units of s, [d, K]; the common factor, if there is one, is the last column. In a nonlinear
            scenario the others are the limit of the network at steepness 0.
        noise_sd: psi in units of s, [d].
        age_slope, age_bend, sex: alpha, beta and gamma in units of s, [d] each.
        site_shift: delta in units of s, [S, d].
        site_scale: rho, [S].
        age: Lowest and highest age, in years.
        age_growth: g.
        network: Transformation of the latents except the common factor; None: `loadings`.
    """

    modality: NDArray[np.str_]
    region: NDArray[np.str_]
    mean: Floats
    sd: Floats
    loadings: Floats
    noise_sd: Floats
    age_slope: Floats
    age_bend: Floats
    sex: Floats
    site_shift: Floats
    site_scale: Floats
    age: tuple[float, float]
    age_growth: float
    network: Network | None

    @classmethod
    def draw(cls, scenario: Scenario) -> Self:
        """Random parameters for a scenario.

        Examples:
            >>> truth = Truth.draw(Scenario(common_factor=0.2))
            >>> bool(np.allclose((truth.loadings**2).sum(1) + truth.noise_sd**2, 1))
            True
        """
        rng, k = scenario.rng("truth"), scenario.latents
        labels = [(m, name) for m, names in scenario.names.items() for name in names]
        modality, region = (np.array(column, dtype=str) for column in zip(*labels, strict=True))
        d, sites, common = len(labels), scenario.sites, scenario.common_factor
        inner, bias, outer = (rng.standard_normal(shape) for shape in ((k, 4 * k), 4 * k, (4 * k, d)))
        inner /= np.linalg.norm(inner, axis=0)
        communality = (1 - common) * rng.uniform(0.3, 0.7, d)
        loadings = (inner @ outer).T
        loadings *= (np.sqrt(communality) / np.linalg.norm(loadings, axis=1))[:, None]
        mean = np.exp(rng.uniform(np.log(500), np.log(10_000), d))
        slope, bend, sex = rng.normal(-0.5, 0.2, d), rng.normal(0, 0.15, d), rng.normal(0.4, 0.1, d)
        shift = rng.normal(0, scenario.site_shift, (sites, d))
        scale = rng.permutation(np.geomspace(*scenario.site_scale, sites))
        latents = rng.standard_normal((MOMENT_DRAWS, k))
        return cls(
            modality=modality,
            region=region,
            mean=mean,
            sd=0.1 * mean,
            loadings=np.hstack([loadings, np.full((d, 1), np.sqrt(common))]) if common else loadings,
            noise_sd=np.sqrt(1 - common - communality),
            age_slope=slope,
            age_bend=bend,
            sex=sex,
            site_shift=shift if sites > 1 else np.zeros((1, d)),
            site_scale=scale if sites > 1 else np.ones(1),
            age=scenario.age,
            age_growth=scenario.heteroscedastic,
            network=_network(scenario.nonlinear, inner, bias, outer, communality, latents)
            if scenario.nonlinear
            else None,
        )

    @property
    def names(self) -> list[str]:
        """`<modality>.<region>` of every region."""
        return [f"{m}.{name}" for m, name in zip(self.modality, self.region, strict=True)]

    @property
    def sites(self) -> list[str]:
        """Names of the sites."""
        return [f"site-{k + 1}" for k in range(len(self.site_scale))]

    def signal(self, z: Floats) -> Floats:
        """Contribution of the latents, [n, K], to every region, in marginal SD given the covariates, [n, d]."""
        if self.network is None:
            return z @ self.loadings.T
        k = len(self.network.inner)
        return self.network(z[:, :k]) + z[:, k:] @ self.loadings[:, k:].T

    def norm(self, participants: pd.DataFrame) -> tuple[Floats, Floats]:
        """Mean and SD of every region for people of that age, sex and site, in the unit of the tables, [n, d] each.

        Raises:
            InputError: On a sex other than F and M, or a site that is not among `sites`.

        Examples:
            >>> people = pd.DataFrame({"age": [45.0, 82.0], "sex": ["F", "M"], "site": "site-1"})
            >>> mean, sd = Truth.draw(Scenario(heteroscedastic=1.6)).norm(people)
            >>> round(float(sd[1, 0] / sd[0, 0]), 6)
            1.6
        """
        for column, known in (("sex", ["F", "M"]), ("site", self.sites)):
            for value in participants[column].unique():
                check_known(column, value, known)
        low, high = self.age
        age = (2 * (participants["age"].to_numpy(float) - low) / (high - low) - 1)[:, None]
        male = (participants["sex"] == "M").to_numpy(float)[:, None]
        site = pd.Index(self.sites).get_indexer(pd.Index(participants["site"]))
        shift = (
            self.age_slope * age + self.age_bend * (age**2 - 1 / 3) + self.sex * (male - 0.5) + self.site_shift[site]
        )
        scale = self.age_growth ** (age / 2) * self.site_scale[site, None]
        return self.mean + self.sd * shift, self.sd * scale

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All parameters by name; those of the network as `network_<name>`."""
        own = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self) if f.name != "network"}
        if self.network is None:
            return own
        return own | {f"network_{f.name}": np.asarray(getattr(self.network, f.name)) for f in fields(self.network)}


def _network(
    steepness: float, inner: Floats, bias: Floats, outer: Floats, communality: Floats, latents: Floats
) -> Network:
    """The network with output variances `communality`, from moments over draws of the latents."""
    hidden = np.tanh(steepness * (latents @ inner + bias))
    variance = np.einsum("hj,hg,gj->j", outer, np.cov(hidden, rowvar=False), outer)
    scaled = outer * np.sqrt(communality / variance)
    return Network(steepness=steepness, inner=inner, bias=bias, centre=hidden.mean(axis=0), outer=scaled)


def conditional_z(deviation: Floats, truth: Truth, kind: ReferenceKind) -> Floats:
    r"""Exact z of every cell under x = W z + noise, given some of the other observed cells of the person.

    With the observed block of the precision :math:`P = (W W^\top + \Psi)^{-1}`, `reconstruction` is
    :math:`(P x)_j / \sqrt{P_{jj}}`, which equals the z of region j given all other observed regions. `cross_modal` is
    the z given the observed regions of the other modalities, and `normative` given none. They are computed from the
    posterior of the latents, with precision :math:`I + W^\top \Psi^{-1} W` over the given cells, so that the missing
    cells may differ between people.

    Args:
        deviation: (x - mean) / SD given the covariates, NaN where not observed, [n, d].
        truth: Parameters; only the linear-Gaussian part is used.
        kind: Kind of z.

    Returns:
        z, NaN where not observed, [n, d].

    Examples:
        >>> truth = Truth.draw(Scenario(regions={"cortical": 2}, latents=1))
        >>> conditional_z(np.array([[2.0, np.nan]]), truth, "reconstruction")  # no other region was observed
        array([[ 2., nan]])
    """
    if kind == "normative":
        return deviation.copy()
    chunks = np.array_split(deviation, max(1, -(-len(deviation) // CHUNK)))
    score = _given_all_others if kind == "reconstruction" else _given_other_modalities
    return np.concatenate([score(chunk, truth) for chunk in chunks])


def _given_all_others(deviation: Floats, truth: Truth) -> Floats:
    given = np.isfinite(deviation)
    # Given all observed cells; the cell itself is then removed in closed form, (x - E) / sqrt(noise - variance of W z).
    expected, variance = _posterior_predictive(deviation, given, truth)
    z = np.full_like(deviation, np.nan)
    z[given] = (deviation - expected)[given] / np.sqrt((truth.noise_sd**2 - variance)[given])
    return z


def _given_other_modalities(deviation: Floats, truth: Truth) -> Floats:
    z = np.full_like(deviation, np.nan)
    for m in dict.fromkeys(truth.modality):
        own = truth.modality == m
        expected, variance = _posterior_predictive(deviation, np.isfinite(deviation) & ~own, truth)
        z[:, own] = ((deviation - expected) / np.sqrt(variance + truth.noise_sd**2))[:, own]
    return z


def _posterior_predictive(deviation: Floats, given: NDArray[np.bool_], truth: Truth) -> tuple[Floats, Floats]:
    """Mean and variance of W z given the cells where `given` is True, [n, d] each."""
    w, (d, k) = truth.loadings, truth.loadings.shape
    # Posterior covariance of the latents: (I + W' diag(weight) W)^-1, with weight 0 for cells that are not given.
    weight = given / truth.noise_sd**2
    squares = (w[:, :, None] * w[:, None, :]).reshape(d, k * k)
    covariance = np.linalg.inv(np.eye(k) + (weight @ squares).reshape(-1, k, k))
    # Posterior mean, then mean and variance of W z.
    loc = np.einsum("nkl,nl->nk", covariance, (weight * np.where(given, deviation, 0.0)) @ w)
    return loc @ w.T, covariance.reshape(-1, k * k) @ squares.T
