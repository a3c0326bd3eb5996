"""The tails of distributions in the log domain, so that z stays finite and in order however far out a region lies."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any

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
"""A `cdf` in float64 knows nothing nearer to 0 or 1 than this: |z| = 8.2."""


@singledispatch
def log_cdf(distribution: Any, x: Tensor) -> Tensor:
    r""":math:`\log P(X \le x)` per region in float64, accurate in the far tail where `log(cdf(x))` is not.

    Known in closed form for normal, Laplace, log-normal, Student's t and low-rank normal regions, and through
    `to_event`, `mask`, `expand` and every monotone transform of these. Of any other distribution its own `cdf` is used,
    which rounds to 1e-16: z is then right to |z| = 7 or so and stays at 8.2 beyond. Where the distribution knows
    which cells were observed (`observed`), the others give NaN.

    Register the tails of your own class, both of them, and they are used everywhere:

    .. code-block:: python

        @log_cdf.register
        def _(distribution: Logistic, x: Tensor) -> Tensor:
            return logsigmoid((x.double() - distribution.loc.double()) / distribution.scale.double())

    Args:
        distribution: With batch shape [..., n, d], or batch shape [..., n] and event shape [d].
        x: Values that broadcast to [..., n, d].

    Returns:
        [..., n, d]. Gradients are known except for Student's t.

    Raises:
        NotImplementedError: For a distribution of neither kind; `monte_carlo_tails` stands in.

    Examples:
        >>> log_cdf(dist.Normal(0.0, 1.0), torch.tensor(-40.0, dtype=torch.float64))
        tensor(-804.6084, dtype=torch.float64)
    """
    return _own_cdf(distribution, x).log()


@singledispatch
def log_sf(distribution: Any, x: Tensor) -> Tensor:
    r""":math:`\log P(X > x)` per region in float64; everything else as in `log_cdf`."""
    return torch.log1p(-_own_cdf(distribution, x))


def _own_cdf(distribution: Any, x: Tensor) -> Tensor:
    if not _has_cdf(distribution):
        raise NotImplementedError(
            f"no tail is known for {type(distribution).__name__}. "
            "Register its tails with @log_cdf.register and @log_sf.register, or use monte_carlo_tails."
        )
    p: Tensor = distribution.cdf(x.double())
    return p.double().clamp(ROUNDING, 1 - ROUNDING)


def _has_cdf(distribution: Any) -> bool:
    inherited = (Distribution.cdf, TransformedDistribution.cdf)
    return getattr(type(distribution), "cdf", Distribution.cdf) not in inherited


def has_tails(distribution: Any) -> bool:
    """Whether `log_cdf` and `log_sf` know the distribution; where not, `monte_carlo_tails` stands in.

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
    r"""Both tails from replicates, for a distribution whose tails nobody knows.

    .. math:: \hat F(x) = \frac{\#\{x^{rep} \le x\} + 1/2}{S + 1}

    so z stays within :math:`\Phi^{-1}(1 - \tfrac{1/2}{S+1})`, 3.3 at 1,024 replicates, and errs as a share does.

    Args:
        distribution: Anything that samples; with draws of z in its batch shape, replicates are drawn for each.
        x: Values that broadcast to a sample.
        samples: S.
        seed: Of the replicates; the global generator is left as it was.

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


def _unit(distribution: Any, x: Tensor) -> Tensor:
    """How many scales x lies above the location."""
    return (x.double() - distribution.loc.double()) / distribution.scale.double()


@log_cdf.register
def _(distribution: torch.distributions.Normal, x: Tensor) -> Tensor:
    return torch.special.log_ndtr(_unit(distribution, x))


@log_sf.register
def _(distribution: torch.distributions.Normal, x: Tensor) -> Tensor:
    return torch.special.log_ndtr(-_unit(distribution, x))


@log_cdf.register
def _(distribution: ObservedNormal, x: Tensor) -> Tensor:
    return torch.where(distribution.cells, log_cdf(distribution.normal, x), torch.nan)


@log_sf.register
def _(distribution: ObservedNormal, x: Tensor) -> Tensor:
    return torch.where(distribution.cells, log_sf(distribution.normal, x), torch.nan)


@log_cdf.register
def _(distribution: LowRankNormal, x: Tensor) -> Tensor:
    return torch.special.log_ndtr(distribution.double().standardised(x.double()))


@log_sf.register
def _(distribution: LowRankNormal, x: Tensor) -> Tensor:
    return torch.special.log_ndtr(-distribution.double().standardised(x.double()))


def _log_unit(distribution: RatioLogNormal, x: Tensor) -> Tensor:
    """The standard normal value of a ratio; minus infinity where the ratio is not positive."""
    ratio = (distribution.origin.double() + distribution.step.double() * x.double()).clamp(min=0.0)
    return (ratio.log() - distribution.loc.double()) * (-distribution.log_scale.double()).exp()


@log_cdf.register
def _(distribution: RatioLogNormal, x: Tensor) -> Tensor:
    return torch.special.log_ndtr(_log_unit(distribution, x))


@log_sf.register
def _(distribution: RatioLogNormal, x: Tensor) -> Tensor:
    return torch.special.log_ndtr(-_log_unit(distribution, x))


def _laplace(unit: Tensor) -> Tensor:
    tail = -unit.abs() - LOG_TWO
    return torch.where(unit < 0, tail, torch.log1p(-tail.exp()))


@log_cdf.register
def _(distribution: torch.distributions.Laplace, x: Tensor) -> Tensor:
    return _laplace(_unit(distribution, x))


@log_sf.register
def _(distribution: torch.distributions.Laplace, x: Tensor) -> Tensor:
    return _laplace(-_unit(distribution, x))


def _student_t(unit: Tensor, df: Tensor) -> Tensor:
    tail = student_t_log_sf(unit.detach().abs().cpu().numpy(), df.detach().double().cpu().numpy())
    far = torch.from_numpy(tail).to(unit.device)
    return torch.where(unit < 0, far, torch.log1p(-far.exp()))


@log_cdf.register
def _(distribution: torch.distributions.StudentT, x: Tensor) -> Tensor:
    return _student_t(_unit(distribution, x), distribution.df)


@log_sf.register
def _(distribution: torch.distributions.StudentT, x: Tensor) -> Tensor:
    return _student_t(-_unit(distribution, x), distribution.df)


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
    """Whether x of a region is a monotone function of one base variable."""
    return all(
        t.bijective and t.domain.event_dim == t.codomain.event_dim == 0 and type(t).sign is not Transform.sign
        for t in distribution.transforms
    )


def _transformed(distribution: TransformedDistribution, x: Tensor, tail: Tail, opposite: Tail) -> Tensor:
    """The tail of the base at the inverse of x; the opposite one where the transform falls."""
    x, sign = x.double(), torch.ones((), dtype=torch.float64, device=x.device)
    for transform in reversed([p for t in distribution.transforms for p in _parts(t)]):
        low, high = (getattr(transform.codomain, name, None) for name in ("lower_bound", "upper_bound"))
        x = x if low is None else x.clamp(min=low)
        x = x if high is None else x.clamp(max=high)
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
