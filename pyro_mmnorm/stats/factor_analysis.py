"""Maximum-likelihood factor analysis, and covariances shrunk for few people (numpy and scipy)."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh

from pyro_mmnorm.core.typing import Floats

__all__ = ["FactorAnalysis", "shrunk_covariance"]


NOISE_FLOOR = 5e-3


def shrunk_covariance(x: ArrayLike) -> Floats:
    r"""Covariance with its correlations shrunk towards 0, in proportion to their sampling error.

    .. math:: \tilde r_{ij} = (1 - \lambda) r_{ij}, \qquad
        \lambda = \min\Big(1, \frac{\sum_{i \ne j} (1 - r_{ij}^2)^2 / n_{ij}}{\sum_{i \ne j} r_{ij}^2}\Big)

    Args:
        x: [n, d], NaN where not observed (left out pairwise).

    Returns:
        [d, d].

    References:
        Schaefer & Strimmer (2005), A shrinkage approach to large-scale covariance matrix estimation,
        https://doi.org/10.2202/1544-6115.1175

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(50, 30))
        >>> bool(abs(shrunk_covariance(x)[0, 1]) < 0.05)
        True
    """
    x = np.asarray(x, float)
    seen = np.isfinite(x)
    # covariance over the people observed in both regions
    count = seen.T.astype(float) @ seen
    centred = np.where(seen, x - np.nanmean(x, axis=0), 0.0)
    s = centred.T @ centred / np.maximum(count, 1)
    scale = np.sqrt(np.diag(s))
    r = s / np.outer(scale, scale)
    # shrinkage intensity: estimated variance of the correlations over their sum of squares
    off = ~np.eye(len(s), dtype=bool)
    error = ((1 - np.minimum(r[off] ** 2, 1)) ** 2 / np.maximum(count[off], 1)).sum()
    keep = 1 - min(1.0, error / max((r[off] ** 2).sum(), 1e-300))
    return np.where(off, keep * s, s)


@dataclass(frozen=True, kw_only=True)
class FactorAnalysis:
    r"""Maximum-likelihood factor analysis of a covariance matrix.

    .. math:: \Sigma = W^\top W + \operatorname{diag} \psi

    Rows of W are rotated so that :math:`W \operatorname{diag}(\psi)^{-1} W^\top` is diagonal, largest first: then the
    posterior of the factors has a diagonal covariance.

    Args:
        loadings: W, [k, d].
        noise: psi, [d].

    References:
        Joereskog (1967), Some contributions to maximum likelihood factor analysis, https://doi.org/10.1007/BF02289658

    Examples:
        >>> w = np.array([[1.0, 1.0, 1.0, 1.0]])
        >>> fit = FactorAnalysis.of_covariance(w.T @ w + np.eye(4), 1)
        >>> np.allclose(np.abs(fit.loadings), 1, atol=1e-3)
        True
    """

    loadings: Floats
    noise: Floats

    @classmethod
    def of_covariance(
        cls, covariance: ArrayLike, factors: int, *, iterations: int = 100, tolerance: float = 1e-4
    ) -> Self:
        """Alternate between the best loadings given the noise and the residual noise, until the noise converges.

        Args:
            covariance: [d, d], positive variances.
            factors: k; at most d - 1 are used, the rest have zero loadings.
            iterations: Maximum number of iterations.
            tolerance: Largest change of a noise variance at convergence, relative to the largest variance.
        """
        s = np.asarray(covariance, float)
        d, k = len(s), min(factors, len(s) - 1)
        total = np.diag(s)
        noise = total / 2
        for _ in range(iterations):
            # loadings: leading eigenvectors of the covariance in units of the noise
            root = np.sqrt(noise)
            values, vectors = eigh(s / np.outer(root, root), subset_by_index=(d - k, d - 1))
            w = np.sqrt(np.maximum(values[::-1] - 1, 0))[:, None] * vectors.T[::-1] * root
            # noise: the rest of the variance
            updated = np.maximum(total - (w**2).sum(0), NOISE_FLOOR * total)
            change, noise = np.abs(updated - noise).max() / total.max(), updated
            if change < tolerance:
                break
        _, rotation = np.linalg.eigh(w / noise @ w.T)
        return cls(loadings=np.concatenate([rotation.T[::-1] @ w, np.zeros((factors - k, d))]), noise=noise)
