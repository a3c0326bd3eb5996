"""Ridge regression of many regions on covariates, with leverage and leave-one-out residuals (numpy and scipy)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from pyro_mmnorm.core.typing import Floats

__all__ = ["ShrunkRegression"]


TUNING_ROWS = 2000
LOG_RATIO_RANGE = (-12.0, 6.0)


@dataclass(frozen=True, kw_only=True)
class ShrunkRegression:
    r"""Ridge regression of every region on the same covariates, with one penalty per covariate.

    .. math::
        y_{ij} = b(c_i)^\top w_j + \sigma_j \varepsilon_{ij}, \quad w_{jg} \sim \mathcal{N}(0, \sigma_j^2 \tau_g^2 I),
        \qquad A_j = B_j^\top B_j + \Lambda, \quad h_j(c) = b(c)^\top A_j^{-1} b(c)

    with b = (1, encoded covariates), B_j its rows where region j was observed, Lambda = diag(1 / tau_g^2) and one
    tau_g per covariate g (and one for the intercept), pooled over regions. A new person's value has variance
    :math:`\sigma_j^2 (1 + h_j(c))`; a person of the fit, left out, has the residual :math:`r_{ij} / (1 - h_j(c_i))`
    with variance :math:`\sigma_j^2 / (1 - h_j(c_i))`. The tau_g maximise the leave-one-out Gaussian log score.

    Args:
        groups: covariate -> its columns in the design.
        log_ratio: log tau_g^2 of the intercept and then of each group.
        coef: w, [1 + c, d].
        inverse: A^{-1} of each distinct set of people in whom a region was observed, [P, 1 + c, 1 + c].
        pattern: Number of that set for each region, [d].
        variance: sigma_j^2, [d].
        count: Number of observed people per region, [d].

    References:
        Hoerl & Kennard (1970), Ridge regression, https://doi.org/10.1080/00401706.1970.10488634;
        Allen (1974), PRESS, https://doi.org/10.1080/00401706.1974.10489157

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> c = rng.normal(size=(200, 1)); y = c @ [[2.0, 0.0]] + rng.normal(size=(200, 2))
        >>> fit = ShrunkRegression.fit(c, y, {"age": slice(0, 1)})
        >>> np.round(fit.coef[1], 1)
        array([1.9, 0.1])
    """

    groups: Mapping[str, slice]
    log_ratio: Floats
    coef: Floats
    inverse: Floats
    pattern: NDArray[np.int64] = field(repr=False)
    variance: Floats
    count: NDArray[np.int64] = field(repr=False)

    @classmethod
    def fit(cls, design: ArrayLike, y: ArrayLike, groups: Mapping[str, slice]) -> Self:
        """Fit `y`, [n, d] with NaN where not observed, on `design`, [n, c]; `groups` assigns columns to covariates."""
        b, y = _rows(design, 1.0), np.asarray(y, float)
        gram = _Gram.of(b[:TUNING_ROWS], y[:TUNING_ROWS])
        start = np.full(1 + len(groups), -3.0)
        options: Any = {"xatol": 0.1, "fatol": 1e-5, "maxfev": 60 * len(start)}

        def loss(log_ratio: Floats) -> float:
            return gram.loss(_penalty(log_ratio, groups, b.shape[1]))

        best = minimize(
            loss,
            start,
            method="Nelder-Mead",
            bounds=[LOG_RATIO_RANGE] * len(start),
            options=options,
        )
        return cls._at(best.x, b, y, groups)

    def refit(self, design: ArrayLike, y: ArrayLike, scale: Floats | float = 1.0) -> Self:
        """Fit other people with the same penalties; their noise has SD sigma_j times `scale`, [n, 1]."""
        return self._at(self.log_ratio, _rows(design, scale), np.asarray(y, float) / scale, self.groups)

    @classmethod
    def _at(cls, log_ratio: Floats, b: Floats, y: Floats, groups: Mapping[str, slice]) -> Self:
        gram = _Gram.of(b, y)
        inverse, coef, variance, _, _ = gram.solve(_penalty(log_ratio, groups, b.shape[1]))
        return cls(
            groups=dict(groups),
            log_ratio=log_ratio,
            coef=coef,
            inverse=inverse,
            pattern=gram.pattern,
            variance=variance,
            count=gram.count,
        )

    def predict(self, design: ArrayLike, scale: Floats | float = 1.0) -> tuple[Floats, Floats]:
        """Mean [n, d] and leverage h [n, d] of new people; the variance of a value is (scale sigma_j)^2 (1 + h)."""
        b = _rows(design, scale)
        return _rows(design, 1.0) @ self.coef, _leverage(b, self.inverse)[:, self.pattern]

    def left_out(self, design: ArrayLike, y: ArrayLike, scale: Floats | float = 1.0) -> tuple[Floats, Floats, Floats]:
        """Leave-one-out mean, variance factor 1 + h and sigma_j^2 for each person of the fit; [n, d] each."""
        b, y = _rows(design, scale), np.asarray(y, float)
        h = _leverage(b, self.inverse)[:, self.pattern]
        residual = y / scale - b @ self.coef
        n = self.count
        # leave-one-out variance in closed form: the person's part of the penalised sum of squares is removed
        variance = np.maximum(n * self.variance - residual**2 / (1 - h), 0) / (n - 1)
        return y - scale * residual / (1 - h), 1 / (1 - h), variance


@dataclass(frozen=True)
class _Gram:
    """Sufficient statistics of the data, independent of the penalty."""

    b: Floats
    y: Floats
    seen: NDArray[np.bool_]
    pattern: NDArray[np.int64]
    count: NDArray[np.int64]
    products: Floats
    cross: Floats

    @classmethod
    def of(cls, b: Floats, y: Floats) -> Self:
        # regions observed in the same people share one inverse
        seen = np.isfinite(y)
        complete = (seen[:, :1], np.zeros(seen.shape[1], np.int64))
        same = bool((seen == seen[:, :1]).all())
        sets, pattern = complete if same else np.unique(seen, axis=1, return_inverse=True)
        y = np.where(seen, y, 0.0)
        products = np.stack([b[s].T @ b[s] for s in sets.T])
        return cls(b, y, seen, pattern.ravel(), seen.sum(0), products, b.T @ y)

    def solve(self, penalty: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Inverse, coefficients, variance, residuals and leverages under a penalty."""
        inverse = np.linalg.inv(self.products + np.diag(penalty))
        if len(inverse) == 1:
            coef = inverse[0] @ self.cross
        else:
            coef = (inverse[self.pattern] @ self.cross.T[:, :, None])[:, :, 0].T
        residual = np.where(self.seen, self.y - self.b @ coef, 0.0)
        variance = np.maximum((self.y * residual).sum(0), 1e-12) / np.maximum(self.count, 1)
        return inverse, coef, variance, residual, _leverage(self.b, inverse)[:, self.pattern]

    def loss(self, penalty: Floats) -> float:
        """Negative mean of the leave-one-out Gaussian log score."""
        _, _, variance, residual, h = self.solve(penalty)
        out = np.maximum(self.count * variance - residual**2 / (1 - h), 1e-12) / np.maximum(self.count - 1, 1)
        score = np.log(out / (1 - h)) + residual**2 / ((1 - h) * out)
        return float(score[self.seen].mean()) / 2


def _leverage(b: Floats, inverse: Floats) -> Floats:
    """b' A^{-1} b of each person for each inverse, [n, P]."""
    return np.stack([((b @ a) * b).sum(1) for a in inverse], 1)


def _rows(design: ArrayLike, scale: Floats | float) -> Floats:
    """(1, covariates) of each person divided by the scale, which makes the SD of the noise constant; [n, 1 + c]."""
    c = np.asarray(design, float)
    rows: Floats = np.column_stack([np.ones(len(c)), c]) / scale
    return rows


def _penalty(log_ratio: Floats, groups: Mapping[str, slice], width: int) -> Floats:
    """Diagonal of Lambda, [1 + c]."""
    penalty = np.full(width, np.exp(-log_ratio[0]))
    for t, columns in zip(log_ratio[1:], groups.values(), strict=True):
        penalty[1:][columns] = np.exp(-t)
    return penalty
