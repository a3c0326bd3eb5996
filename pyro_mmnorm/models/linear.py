"""Linear baselines: regression on covariates, with or without factors, as one model with exact z-scores."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from pyro_mmnorm.config import MODEL_DEFAULTS
from pyro_mmnorm.core.errors import InputError, check_known
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.preprocess import Preprocess, Scaling
from pyro_mmnorm.distributions.latent import DiagonalNormal
from pyro_mmnorm.stats.factor_analysis import FactorAnalysis, shrunk_covariance
from pyro_mmnorm.stats.regression import ShrunkRegression

__all__ = ["BASELINES", "LinearGaussian"]

BASELINES = ("regression", "factor_analysis", "hippocampal_volume")
"""Names in the configuration; only factor analysis has latents."""


class LinearGaussian(nn.Module):
    r"""Regression on covariates, and a factor analysis of its residuals.

    .. math:: x = B^\top b(c) + W^\top z + \varepsilon, \qquad z \sim \mathcal{N}(0, I_k), \quad
        \varepsilon \sim \mathcal{N}(0, \operatorname{diag} \psi)

    with k = 0 for per-region regression, whose z is the w-score. B is shrunk (`ShrunkRegression`), and so are the
    correlations from which W is estimated (`shrunk_covariance`). The networks are initialised at this model (`start:
    linear`), so the gain of a network over it is what training added. Unlike that of scikit-learn, this factor analysis
    is fitted to incomplete people too.

    Args:
        preprocess: From tables to model units; defines regions and covariates.
        baseline: One of `BASELINES`.
        latent_dim: k.

    Attributes:
        coef: B, [1 + c, d]; loadings: W, [k, d]; noise: psi, [d]; in model units.

    References:
        Joereskog (1967), https://doi.org/10.1007/BF02289658; La Joie et al. (2012), Region-specific hierarchy between
        atrophy, hypometabolism, and beta-amyloid load, https://doi.org/10.1523/JNEUROSCI.2170-12.2012 (w-score)

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> model = LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=4)
        >>> norm = mm.NormativeModel(model).calibrate(cohort.calibrate)
        >>> norm.deviations(cohort.target)["z"].shape
        (20, 42)
    """

    members = 1
    coef: Tensor
    loadings: Tensor
    noise: Tensor

    def __init__(self, preprocess: Preprocess, *, baseline: str, latent_dim: int) -> None:
        super().__init__()
        d = len(preprocess.names)
        self.preprocess = preprocess
        self.record: dict[str, Any] = {"baseline": baseline, "latent_dim": latent_dim}
        for name, shape in {"coef": (1 + preprocess.width, d), "loadings": (latent_dim, d), "noise": (d,)}.items():
            self.register_buffer(name, torch.ones(shape, dtype=torch.float64))

    @classmethod
    def for_cohort(
        cls,
        cohort: Cohort,
        baseline: str,
        *,
        latent_dim: int = MODEL_DEFAULTS.latent_dim,
        scaling: Scaling = "standard",
    ) -> Self:
        """Fit to the training controls of a cohort.

        Args:
            cohort: With training controls; for `hippocampal_volume`, the result of `select_baseline_regions`.
            baseline: One of `BASELINES`.
            latent_dim: Number of factors of `factor_analysis`.
            scaling: See `Preprocess.fit`.

        Raises:
            InputError: For an unknown baseline, or a factor analysis without factors.
        """
        check_known("baseline", baseline, BASELINES)
        k = latent_dim if baseline == "factor_analysis" else 0
        if baseline == "factor_analysis" and not k:
            raise InputError("baseline factor_analysis", "latent_dim 0", "at least 1", "set model.latent_dim")
        train = cohort.train
        preprocess = Preprocess.fit(train, scaling=scaling)
        self, batch = cls(preprocess, baseline=baseline, latent_dim=k), preprocess(train)
        seen, x = self._cells(batch)
        values = torch.where(seen, x, torch.nan).numpy()
        design = batch.covariates.double().numpy()
        covariates = ShrunkRegression.fit(design, values, preprocess.groups)
        self.coef.copy_(torch.from_numpy(covariates.coef))
        residual_covariance = shrunk_covariance(values - covariates.predict(design)[0])
        self.noise.copy_(torch.from_numpy(np.diag(residual_covariance).copy()))
        if k:
            factors = FactorAnalysis.of_covariance(residual_covariance, k)
            self.loadings.copy_(torch.from_numpy(factors.loadings))
            self.noise.copy_(torch.from_numpy(factors.noise))
        return self

    def _cells(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Observed cells and values of all modalities, concatenated; [n, d] each."""
        names = self.preprocess.regions
        return torch.cat([batch.observed[m] for m in names], 1), torch.cat([batch.values[m] for m in names], 1).double()

    def expected(self, batch: Batch) -> Tensor:
        """Mean given the covariates, [n, d]."""
        c = batch.covariates.double()
        return self.coef[0] + c @ self.coef[1:]

    def residuals(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Observed cells, and values minus `expected` with 0 in unobserved cells; [n, d] each."""
        seen, x = self._cells(batch)
        return seen, torch.where(seen, x - self.expected(batch), 0.0)

    def factors(self, residual: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        r"""Mean [n, k] and covariance [n, k, k] of z given the visible cells.

        .. math:: A = I + W_V \psi_V^{-1} W_V^\top, \qquad
            z \mid x_V \sim \mathcal{N}(A^{-1} W_V \psi_V^{-1} r_V,\ A^{-1})
        """
        weight, w = visible.double() / self.noise, self.loadings
        precision = (weight @ self._squares().T).reshape(len(weight), len(w), len(w)) + torch.eye(len(w), dtype=w.dtype)
        covariance = torch.linalg.inv(precision)
        return (covariance @ ((weight * residual) @ w.T).unsqueeze(-1)).squeeze(-1), covariance

    def _squares(self) -> Tensor:
        """w_j w_j' of every region, [k k, d]."""
        return (self.loadings[:, None] * self.loadings).flatten(0, 1)

    def given(self, residual: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        r"""Mean and variance of every cell given the other visible cells of the person, [n, d] each; exact.

        For a cell j that is not visible: :math:`w_j^\top m` and :math:`\psi_j + w_j^\top A^{-1} w_j`. For a visible
        cell, with P the precision of the visible block, :math:`r_j - (P r)_j / P_{jj}` and :math:`1 / P_{jj}`, where
        :math:`(P r)_j = (r_j - w_j^\top m) / \psi_j` and
        :math:`P_{jj} = 1 / \psi_j - w_j^\top A^{-1} w_j / \psi_j^2`.
        """
        mean, covariance = self.factors(residual, visible)
        loc = mean @ self.loadings
        variance = covariance.flatten(1) @ self._squares()
        own = self.noise - variance  # psi_j^2 P_jj
        left_out = residual - (residual - loc) * self.noise / own
        return torch.where(visible, left_out, loc), torch.where(visible, self.noise**2 / own, self.noise + variance)

    def posterior(self, batch: Batch) -> DiagonalNormal:
        """Means and SDs of the factors given all observed cells, [n, k]; their correlations are omitted."""
        seen, residual = self.residuals(batch)
        mean, covariance = self.factors(residual, seen)
        return DiagonalNormal(mean, covariance.diagonal(dim1=-2, dim2=-1).sqrt())

    def check_support(self, batch: Batch) -> None:
        """Accept any value: the support of a normal distribution has no bounds."""

    def log_evidence(self, batch: Batch) -> Tensor:
        r"""Log density of the observed cells, in model units, [n] nats; exact, by Woodbury's identity.

        .. math:: -\tfrac12 \big[ d_o \log 2\pi + \textstyle\sum_o \log \psi_o + \log |A| + \sum_o r_o^2 / \psi_o
            - m^\top A\, m \big]
        """
        seen, r = self.residuals(batch)
        mean, covariance = self.factors(r, seen)
        logs = torch.where(seen, (2 * torch.pi * self.noise).log() + r**2 / self.noise, 0.0).sum(1)
        projected = ((seen.double() / self.noise * r) @ self.loadings.T * mean).sum(1)
        return -0.5 * (logs - torch.linalg.slogdet(covariance).logabsdet - projected)
