"""Distributions of the regions of one modality; constants per region are computed once, not once per person."""

import math
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyro_mmnorm.distributions.latent import HALF_LOG_2PI

__all__ = [
    "ConditionalZ",
    "LowRankNormal",
    "ObservedMarginal",
    "ObservedNormal",
    "RatioLogNormal",
    "RegionNormal",
    "RegionStudentT",
    "inside_support",
    "observed_marginal",
]

NO_SHAPE = torch.Size()

type Shape = torch.Size | list[int] | tuple[int, ...]


@runtime_checkable
class ObservedMarginal(Protocol):
    """A distribution of regions with an exact marginal over the observed cells."""

    def observed(self, mask: Tensor) -> dist.TorchDistribution:
        """The marginal over the cells where `mask` [..., n, d] is True: batch shape [..., n], event shape [d].

        Its `log_prob` does not depend on the values of unobserved cells.
        """


@runtime_checkable
class ConditionalZ(ObservedMarginal, Protocol):
    """A joint distribution of regions whose z-scores can be stated given the other observed regions of the person.

    Z-scores of every other distribution are marginal.
    """

    given_others: bool
    """Whether z-scores are stated given the other observed regions, or marginally."""

    def marginal(self) -> Self:
        """The same joint distribution with marginal z-scores."""


def observed_marginal(distribution: Any, mask: Tensor, values: Tensor) -> tuple[dist.TorchDistribution, Tensor]:
    """The distribution of the observed cells, event shape [d], and the values to score it at.

    Args:
        distribution: An `ObservedMarginal`, or one of batch shape [..., n, d], whose regions are independent: the
            unobserved ones are masked.
        mask: Observed cells, [..., n, d].
        values: [..., n, d]; unobserved cells are replaced by a value within the support where they are masked.
    """
    if isinstance(distribution, ObservedMarginal):
        return distribution.observed(mask), values
    return distribution.mask(mask).to_event(1), torch.where(mask, values, inside_support(distribution))


def inside_support(distribution: Any) -> Tensor | float:
    """A value within the support: 0 where possible, as in all distributions of this package."""
    support = distribution.support
    zero = torch.zeros([1] * support.event_dim)
    value: Tensor | float = 0.0 if bool(support.check(zero).all()) else biject_to(support)(zero)
    return value


def _filled(loc: Tensor, *others: Tensor) -> Tensor:
    """loc expanded to the shape that all tensors broadcast to."""
    shape = broadcast_shape(loc.shape, *(x.shape for x in others))  # five times as fast as that of PyTorch
    return loc if loc.shape == shape else loc.expand(shape)


def _noise(like: Tensor, shape: Shape) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device)


class RegionNormal(dist.Normal):
    """Independent normal regions, parameterised by the logarithm of their scale; an `ObservedMarginal`.

    Args:
        loc: [..., n, d].
        log_scale: Broadcasts to loc; with n = 1 where it is common to all people.

    Examples:
        >>> normal = RegionNormal(torch.zeros(5, 3), torch.zeros(1, 3))
        >>> normal.observed(torch.tensor([True, True, False])).log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc = _filled(loc, log_scale)
        self.log_scale = log_scale
        torch.distributions.Distribution.__init__(self, self.loc.shape, validate_args=validate_args)

    @property
    def scale(self) -> Tensor:  # type: ignore[override]  # an attribute in the parent
        """Standard deviations, computed on access."""
        return self.log_scale.exp().expand(self.loc.shape)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> "RegionNormal":
        """The distribution with a larger batch shape."""
        return RegionNormal(self.loc.expand(batch_shape), self.log_scale, validate_args=self._validate_args)

    def observed(self, mask: Tensor) -> "ObservedNormal":
        """The marginal over the cells where `mask` [..., n, d] is True, with event shape [d]."""
        return ObservedNormal(self, mask, self._validate_args)


class ObservedNormal(dist.TorchDistribution):
    r"""Independent normal regions, some of them unobserved; event shape [d].

    .. math:: \log p(x) = \sum_{j\ \mathrm{observed}} \log \mathcal{N}(x_j; \mu_j, \sigma_j^2)

    Equal to `normal.mask(mask).to_event(1)` in two thirds of the time. Value and gradient do not depend on unobserved
    cells, which may hold NaN. Samples, mean and variance are those of all cells.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, normal: RegionNormal, mask: Tensor, validate_args: bool | None = None) -> None:
        self.normal, self.cells = normal, mask
        shape = _filled(normal.loc, mask).shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the observed cells, [..., n]."""
        if self._validate_args:
            self._validate_sample(torch.where(self.cells, value, 0.0))
        log_scale = self.normal.log_scale
        residual = value - self.normal.loc
        if self.cells.device.type == "cpu" and bool(self.cells.all()):  # on the CPU this check costs less than masking
            unit = residual * (-log_scale).exp()
            constant = (log_scale + HALF_LOG_2PI).sum(-1)
        else:
            unit = torch.where(self.cells, residual, 0.0) * (-log_scale).exp()
            constant = torch.linalg.vecdot(self.cells.to(unit.dtype), log_scale + HALF_LOG_2PI)
        return -0.5 * torch.linalg.vecdot(unit, unit) - constant

    @property
    def _all_cells(self) -> RegionNormal:
        return self.normal.expand(self.batch_shape + self.event_shape)

    def rsample(self, sample_shape: Shape = NO_SHAPE) -> Tensor:
        """A draw of all cells."""
        return self._all_cells.rsample(sample_shape)

    @property
    def mean(self) -> Tensor:
        """[..., n, d]."""
        return self._all_cells.mean

    @property
    def variance(self) -> Tensor:
        """[..., n, d]."""
        return self._all_cells.variance

    def expand(self, batch_shape: Shape, _instance: Any = None) -> "ObservedNormal":
        """The distribution with a larger batch shape."""
        normal = self.normal.expand(torch.Size(batch_shape) + self.event_shape)
        return ObservedNormal(normal, self.cells, validate_args=self._validate_args)


class RegionStudentT(dist.StudentT):  # type: ignore[misc]  # Pyro makes the class at import
    """Independent Student's t regions; degrees of freedom and log scale, [..., 1, d], are common to all people."""

    def __init__(self, df: Tensor, loc: Tensor, log_scale: Tensor, validate_args: bool | None = None) -> None:
        self._shared = df, log_scale
        super().__init__(df, loc, log_scale.exp(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, [..., n, d]."""
        if self._validate_args:
            self._validate_sample(value)
        df, log_scale = self._shared
        half = 0.5 * (df + 1)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * df) - 0.5 * (math.pi * df).log() - log_scale
        unit = (value - self.loc) * (-log_scale).exp()
        return constant - half * torch.log1p(unit.square() / df)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> "RegionStudentT":
        """The distribution with a larger batch shape."""
        df, log_scale = self._shared
        return RegionStudentT(df, self.loc.expand(batch_shape), log_scale, validate_args=self._validate_args)


class RatioLogNormal(dist.TorchDistribution):
    r"""Exact distribution of standardised volumes x whose ratio r to the training mean is log-normal.

    .. math::
        r = a + b x, \quad \log r \sim \mathcal{N}(\mu, \sigma^2), \qquad
        p(x) = \frac{b}{r}\, \mathcal{N}(\log r; \mu, \sigma^2) \quad \text{for } r > 0

    Args:
        loc: mu, [..., n, d].
        log_scale: log sigma, [..., 1, d].
        origin: a, ratio at x = 0, [d].
        step: b, change of the ratio per unit of x, [d].
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real}
    has_rsample = True

    def __init__(
        self, loc: Tensor, log_scale: Tensor, origin: Tensor, step: Tensor, validate_args: bool | None = None
    ) -> None:
        self.loc = _filled(loc, log_scale)
        self.log_scale, self.origin, self.step = log_scale, origin, step
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """Values x with a positive ratio."""
        return constraints.greater_than(-self.origin / self.step)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in x, [..., n, d]."""
        if self._validate_args:
            self._validate_sample(value)
        log_ratio = (self.origin + self.step * value).log()
        unit = (log_ratio - self.loc) * (-self.log_scale).exp()
        return self.step.log() - self.log_scale - HALF_LOG_2PI - log_ratio - 0.5 * unit.square()

    def rsample(self, sample_shape: Shape = NO_SHAPE) -> Tensor:
        """A draw of x."""
        noise = _noise(self.loc, self._extended_shape(sample_shape))
        return ((self.loc + self.log_scale.exp() * noise).exp() - self.origin) / self.step

    @property
    def mean(self) -> Tensor:
        """[..., n, d]."""
        return ((self.loc + 0.5 * (2 * self.log_scale).exp()).exp() - self.origin) / self.step

    @property
    def variance(self) -> Tensor:
        """[..., n, d]."""
        square = (2 * self.log_scale).exp()
        return torch.expm1(square) * (2 * self.loc + square).exp() / self.step.square()

    def expand(self, batch_shape: Shape, _instance: Any = None) -> "RatioLogNormal":
        """The distribution with a larger batch shape."""
        loc = self.loc.expand(batch_shape)
        return RatioLogNormal(loc, self.log_scale, self.origin, self.step, validate_args=self._validate_args)


class LowRankNormal(dist.TorchDistribution):
    r"""Regions with correlated residuals, :math:`\mathcal{N}(\mu, \operatorname{diag} \sigma^2 + W^\top W)`.

    With :math:`C = I + W \operatorname{diag}(\sigma^{-2}) W^\top` over the observed cells,

    .. math::
        \log |\Sigma| = \sum_j \log \sigma_j^2 + \log |C|, \qquad
        \Sigma^{-1} r = \sigma^{-2} \big( r - W^\top C^{-1} W \sigma^{-2} r \big)

    so the marginal over any set of cells costs one Cholesky factor of rank x rank per person.

    Args:
        loc: [..., n, d].
        log_scale: log sigma, [..., 1, d].
        factor: W, [..., rank, d], with the leading axes of log_scale.
        given_others: Whether z-scores are stated given the other observed regions of the person, or marginally.
        mask: Observed cells, [..., n, d]; all when None.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        log_scale: Tensor,
        factor: Tensor,
        *,
        given_others: bool = False,
        mask: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.cells = torch.ones_like(log_scale, dtype=torch.bool) if mask is None else mask
        self.loc = _filled(loc, log_scale, self.cells)
        self.log_scale, self.factor, self.given_others = log_scale, factor, given_others
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=validate_args)

    def observed(self, mask: Tensor) -> "LowRankNormal":
        """The exact marginal over the cells where `mask` [..., n, d] is True."""
        return self._with(mask=mask)

    def marginal(self) -> "LowRankNormal":
        """The same joint distribution with marginal z-scores."""
        return self._with(given_others=False)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> "LowRankNormal":
        """The distribution with a larger batch shape."""
        return self._with(loc=self.loc.expand(torch.Size(batch_shape) + self.event_shape))

    def _with(self, **changed: Any) -> "LowRankNormal":
        parts = {"loc": self.loc, "log_scale": self.log_scale, "factor": self.factor, "mask": self.cells}
        return LowRankNormal(
            **{**parts, "given_others": self.given_others, "validate_args": self._validate_args, **changed}
        )

    def double(self) -> "LowRankNormal":
        """The distribution in float64."""
        return self._with(loc=self.loc.double(), log_scale=self.log_scale.double(), factor=self.factor.double())

    def _core(self) -> tuple[Tensor, Tensor]:
        """The Cholesky factor of C, [..., n, rank, rank], and W / sigma^2, [..., rank, d]."""
        weighted = self.factor * (-2 * self.log_scale).exp()
        rank = self.factor.shape[-2]
        pairs = (self.factor.unsqueeze(-2) * weighted.unsqueeze(-3)).flatten(-3, -2)
        core = self.cells.to(pairs.dtype) @ pairs.mT
        core = core.view(*core.shape[:-1], rank, rank) + torch.eye(rank, dtype=core.dtype, device=core.device)
        chol: Tensor = torch.linalg.cholesky(core)
        return chol, weighted

    def _residual(self, value: Tensor) -> Tensor:
        return torch.where(self.cells, value - self.loc, 0.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the observed cells, [..., n]."""
        if self._validate_args:
            self._validate_sample(torch.where(self.cells, value, 0.0))
        residual, (chol, weighted) = self._residual(value), self._core()
        shared = torch.linalg.solve_triangular(chol, (residual @ weighted.mT).unsqueeze(-1), upper=False).squeeze(-1)
        unit = residual * (-self.log_scale).exp()
        square = torch.linalg.vecdot(unit, unit) - torch.linalg.vecdot(shared, shared)
        constant = torch.linalg.vecdot(self.cells.to(unit.dtype), self.log_scale + HALF_LOG_2PI)
        return -0.5 * square - constant - chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def standardised(self, value: Tensor) -> Tensor:
        """The z-score of each region, marginal or given the others, [..., n, d]; NaN in unobserved cells."""
        if not self.given_others:
            return torch.where(self.cells, (value - self.loc) / self.variance.sqrt(), torch.nan)
        # z_j = (P r)_j / sqrt(P_jj), with P the precision of the observed cells, by Woodbury's identity
        residual, (chol, weighted) = self._residual(value), self._core()
        shared = torch.cholesky_solve((residual @ weighted.mT).unsqueeze(-1), chol).squeeze(-1)
        inverse = torch.cholesky_inverse(chol).flatten(-2)
        pairs = (weighted.unsqueeze(-2) * weighted.unsqueeze(-3)).flatten(-3, -2)
        precision = (-2 * self.log_scale).exp()
        weight = precision - inverse @ pairs
        return torch.where(self.cells, (precision * residual - shared @ weighted) / weight.sqrt(), torch.nan)

    def rsample(self, sample_shape: Shape = NO_SHAPE) -> Tensor:
        """A draw of all cells."""
        own = _noise(self.loc, self._extended_shape(sample_shape))
        shared = _noise(self.loc, (*own.shape[:-1], self.factor.shape[-2]))
        return self.loc + self.log_scale.exp() * own + shared @ self.factor

    @property
    def mean(self) -> Tensor:
        """[..., n, d]."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Marginal variance of each region, [..., n, d]."""
        total = (2 * self.log_scale).exp() + self.factor.square().sum(-2, keepdim=True)
        return total.expand(self.loc.shape)
