"""Tail probabilities in the log domain, so that z is finite and monotone far in the tails."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import ComposeTransform, Distribution, TransformedDistribution
from torch.distributions.transforms import Transform

from pyro_mmnorm.distributions.regional import LowRankNormal, ObservedNormal, RatioLogNormal
from pyro_mmnorm.stats.student_t import student_t_log_sf

__all__ = ["has_tails", "log_cdf", "log_sf", "monte_carlo_tails"]

type Tail = Callable[[Any, Tensor], Tensor]

LOG_TWO = 0.6931471805599453
ROUNDING = 2.0**-53
"""The nearest that a `cdf` in float64 comes to 1: |z| = 8.2."""


@runtime_checkable
class BoundedBelow(Protocol):
    """A constraint of PyTorch with a lower bound."""

    lower_bound: Any


@runtime_checkable
class BoundedAbove(Protocol):
    """A constraint of PyTorch with an upper bound."""

    upper_bound: Any


@singledispatch
def log_cdf(distribution: Any, x: Tensor) -> Tensor:
    r""":math:`\log P(X \le x)` per region in float64, accurate in the far tail where `log(cdf(x))` is not.

    In closed form for normal, Laplace, log-normal, Student's t and low-rank normal regions, and for these after
    `to_event`, `mask`, `expand` and any monotone transform. Any other distribution contributes its own `cdf`, which is
    rounded to 1e-16: z is accurate up to about |z| = 7 and constant at 8.2 beyond. Unobserved cells of an
    `ObservedMarginal` give NaN.

    To add a class, register both of its tails:

    .. code-block:: python

        @log_cdf.register
        def _(distribution: Logistic, x: Tensor) -> Tensor:
            return logsigmoid((x.double() - distribution.loc.double()) / distribution.scale.double())

    Args:
        distribution: With batch shape [..., n, d], or batch shape [..., n] and event shape [d].
        x: Values that broadcast to [..., n, d].

    Returns:
        [..., n, d], differentiable except for Student's t.

    Raises:
        NotImplementedError: For a distribution of neither kind; use `monte_carlo_tails`.

    Examples:
        >>> log_cdf(dist.Normal(0.0, 1.0), torch.tensor(-40.0, dtype=torch.float64))
        tensor(-804.6084, dtype=torch.float64)
    """
    return _own_cdf(distribution, x).log()


@singledispatch
def log_sf(distribution: Any, x: Tensor) -> Tensor:
    r""":math:`\log P(X > x)` per region in float64; otherwise as `log_cdf`."""
    return torch.log1p(-_own_cdf(distribution, x))


def _own_cdf(distribution: Any, x: Tensor) -> Tensor:
    if not _has_cdf(distribution):
        raise NotImplementedError(
            f"no tail is registered for {type(distribution).__name__}. "
            "Register its tails with @log_cdf.register and @log_sf.register, or use monte_carlo_tails."
        )
    p: Tensor = distribution.cdf(x.double())
    return p.double().clamp(ROUNDING, 1 - ROUNDING)


def _has_cdf(distribution: Any) -> bool:
    """Whether its class defines a `cdf` of its own."""
    inherited = (Distribution.cdf, TransformedDistribution.cdf)
    return isinstance(distribution, Distribution) and type(distribution).cdf not in inherited


def has_tails(distribution: Any) -> bool:
    """Whether `log_cdf` and `log_sf` are available for the distribution; if not, use `monte_carlo_tails`.

    Examples:
        >>> has_tails(dist.LogNormal(0.0, 1.0).to_event(0)), has_tails(dist.VonMises(0.0, 1.0))
        (True, False)
    """
    tail = log_cdf.dispatch(type(distribution))
    if tail is _wrapped_cdf:
        return has_tails(distribution.base_dist)
    if tail is _transformed_cdf:
        return (_is_monotone(distribution) and has_tails(distribution.base_dist)) or _has_cdf(distribution)
    return tail is not log_cdf.dispatch(object) or _has_cdf(distribution)


def monte_carlo_tails(distribution: Any, x: Tensor, samples: int = 1024, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Both tails from replicates, for a distribution without `log_cdf` and `log_sf`.

    .. math:: \hat F(x) = \frac{\#\{x^{rep} \le x\} + 1/2}{S + 1}

    so |z| is at most :math:`\Phi^{-1}(1 - \tfrac{1/2}{S+1})`, 3.3 at 1,024 replicates.

    Args:
        distribution: Any distribution with `sample`; replicates are drawn for each element of its batch shape.
        x: Values that broadcast to a sample.
        samples: S.
        seed: Seed of the replicates; the state of the global generator is restored.

    Returns:
        log P(X <= x) and log P(X > x), in float64.

    Examples:
        >>> low, high = monte_carlo_tails(dist.VonMises(0.0, 1.0), torch.tensor([0.0]))
        >>> bool(abs(low.exp() - 0.5) < 0.05)
        True
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        count = sum((distribution.sample() <= x).double() for _ in range(samples))
    below = (count + 0.5) / (samples + 1)
    return below.log(), torch.log1p(-below)


def _register(kind: type, unit: Tail, log_cdf_of_unit: Tail) -> None:
    """Register both tails of a family whose standardised values, `unit`, have a symmetric distribution."""
    log_cdf.register(kind, lambda distribution, x: log_cdf_of_unit(distribution, unit(distribution, x)))
    log_sf.register(kind, lambda distribution, x: log_cdf_of_unit(distribution, -unit(distribution, x)))


def _unit(distribution: Any, x: Tensor) -> Tensor:
    """(x - location) / scale."""
    return (x.double() - distribution.loc.double()) / distribution.scale.double()


def _unit_low_rank(distribution: LowRankNormal, x: Tensor) -> Tensor:
    return distribution.double().standardised(x.double())


def _unit_log_ratio(distribution: RatioLogNormal, x: Tensor) -> Tensor:
    """The standard normal value of the log ratio; minus infinity where the ratio is not positive."""
    ratio = (distribution.origin.double() + distribution.step.double() * x.double()).clamp(min=0.0)
    return (ratio.log() - distribution.loc.double()) * (-distribution.log_scale.double()).exp()


def _normal(_: Any, unit: Tensor) -> Tensor:
    return torch.special.log_ndtr(unit)


def _laplace(_: Any, unit: Tensor) -> Tensor:
    tail = -unit.abs() - LOG_TWO
    return torch.where(unit < 0, tail, torch.log1p(-tail.exp()))


def _student_t(distribution: Any, unit: Tensor) -> Tensor:
    df = distribution.df.detach().double().cpu().numpy()
    tail = torch.from_numpy(student_t_log_sf(unit.detach().abs().cpu().numpy(), df)).to(unit.device)
    return torch.where(unit < 0, tail, torch.log1p(-tail.exp()))


_register(torch.distributions.Normal, _unit, _normal)
_register(LowRankNormal, _unit_low_rank, _normal)
_register(RatioLogNormal, _unit_log_ratio, _normal)
_register(torch.distributions.Laplace, _unit, _laplace)
_register(torch.distributions.StudentT, _unit, _student_t)


@log_cdf.register
def _(distribution: ObservedNormal, x: Tensor) -> Tensor:
    return torch.where(distribution.cells, log_cdf(distribution.normal, x), torch.nan)


@log_sf.register
def _(distribution: ObservedNormal, x: Tensor) -> Tensor:
    return torch.where(distribution.cells, log_sf(distribution.normal, x), torch.nan)


def _wrapped_cdf(distribution: Any, x: Tensor) -> Tensor:
    return log_cdf(distribution.base_dist, x)


def _wrapped_sf(distribution: Any, x: Tensor) -> Tensor:
    return log_sf(distribution.base_dist, x)


for _kind in (torch.distributions.Independent, dist.MaskedDistribution, ExpandedDistribution):
    log_cdf.register(_kind, _wrapped_cdf)
    log_sf.register(_kind, _wrapped_sf)


def _parts(transform: Transform) -> list[Transform]:
    if isinstance(transform, ComposeTransform):
        return [inner for part in transform.parts for inner in _parts(part)]
    return [transform]


def _is_monotone(distribution: TransformedDistribution) -> bool:
    """Whether each region is a monotone function of one base variable."""
    return all(
        t.bijective and t.domain.event_dim == t.codomain.event_dim == 0 and type(t).sign is not Transform.sign
        for t in distribution.transforms
    )


def _transformed(distribution: TransformedDistribution, x: Tensor, tail: Tail, opposite: Tail) -> Tensor:
    """The tail of the base at the inverse of x; the opposite tail where the transform decreases."""
    x, sign = x.double(), torch.ones((), dtype=torch.float64, device=x.device)
    for transform in reversed([p for t in distribution.transforms for p in _parts(t)]):
        codomain = transform.codomain
        x = x.clamp(min=codomain.lower_bound) if isinstance(codomain, BoundedBelow) else x
        x = x.clamp(max=codomain.upper_bound) if isinstance(codomain, BoundedAbove) else x
        x, sign = transform.inv(x), sign * transform.sign
    if (sign > 0).all():
        return tail(distribution.base_dist, x)
    return torch.where(sign > 0, tail(distribution.base_dist, x), opposite(distribution.base_dist, x))


@log_cdf.register(TransformedDistribution)
def _transformed_cdf(distribution: Any, x: Tensor) -> Tensor:
    if _is_monotone(distribution):
        return _transformed(distribution, x, log_cdf, log_sf)
    return _own_cdf(distribution, x).log()


@log_sf.register(TransformedDistribution)
def _transformed_sf(distribution: Any, x: Tensor) -> Tensor:
    if _is_monotone(distribution):
        return _transformed(distribution, x, log_sf, log_cdf)
    return torch.log1p(-_own_cdf(distribution, x))
