"""Likelihoods: (z, covariates) -> a distribution per region, and the tails of distributions in the log domain."""

from collections.abc import Callable
from functools import singledispatch

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

__all__ = ["LIKELIHOODS", "Gaussian", "Likelihood", "log_cdf", "log_sf"]

type Likelihood = Callable[[Tensor, Tensor], TorchDistributionMixin]
"""(z [..., n, k], covariates [..., n, c]) -> distribution with batch shape [..., n, d]."""


class Gaussian(nn.Module):
    r""":math:`x \mid z, c \sim \mathcal{N}(f(z, c), \operatorname{diag} \sigma^2)`, one learned sigma per region.

    A fixed variance makes the posterior collapse on standardised data; a learned one does not.

    Args:
        net: [..., n, k + c] -> [..., n, d].
        regions: d.
        members: Number of ensemble members; their axis is left out when 1.

    Examples:
        >>> likelihood = Gaussian(nn.Linear(3, 4), regions=4)
        >>> likelihood(torch.zeros(5, 2), torch.zeros(5, 1)).batch_shape
        torch.Size([5, 4])
    """

    def __init__(self, net: nn.Module, regions: int, members: int = 1) -> None:
        super().__init__()
        self.net = net
        self.log_scale = nn.Parameter(torch.zeros(members, 1, regions) if members > 1 else torch.zeros(1, regions))

    def forward(self, z: Tensor, c: Tensor) -> TorchDistributionMixin:
        """The distribution of the regions given latents and covariates."""
        loc = self.net(torch.cat([z, c.expand(*z.shape[:-1], -1)], -1))
        return dist.Normal(loc, self.log_scale.exp())

    @torch.no_grad()
    def start(self, loadings: Tensor, effects: Tensor, noise: Tensor, member: int) -> None:
        """Begin as N(z loadings + c effects, noise); row 0 of the effects is the intercept."""
        self.net.set_linear(torch.cat([loadings, effects[1:]]), effects[0], member)
        own = self.log_scale[member] if self.log_scale.dim() == 3 else self.log_scale
        own.copy_(0.5 * noise.log())


LIKELIHOODS: dict[str, type[Gaussian]] = {"normal": Gaussian}
"""Name in the configuration -> likelihood, built as (net, regions, members)."""


@singledispatch
def log_cdf(distribution: object, x: Tensor) -> Tensor:
    r""":math:`\log P(X \le x)` per region, accurate in the far tail (finite where `log(cdf(x))` is not).

    Args:
        distribution: With batch shape [..., d].
        x: Values that broadcast to [..., d].

    Raises:
        NotImplementedError: For a distribution without a registered tail; register one with `log_cdf.register`.

    Examples:
        >>> log_cdf(dist.Normal(0.0, 1.0), torch.tensor(-40.0, dtype=torch.float64))
        tensor(-804.6084, dtype=torch.float64)
    """
    raise NotImplementedError(
        f"log_cdf: no tail is known for {type(distribution).__name__}; expected one of "
        f"{[kind.__name__ for kind in log_cdf.registry if kind is not object]}. Register one with @log_cdf.register."
    )


@singledispatch
def log_sf(distribution: object, x: Tensor) -> Tensor:
    r""":math:`\log P(X > x)` per region, accurate in the far tail; see `log_cdf`."""
    raise NotImplementedError(
        f"log_sf: no tail is known for {type(distribution).__name__}; expected one of "
        f"{[kind.__name__ for kind in log_sf.registry if kind is not object]}. Register one with @log_sf.register."
    )


def _standardised(d: dist.Normal, x: Tensor) -> Tensor:
    return (x.double() - d.loc.double()) / d.scale.double()


@log_cdf.register
def _(distribution: dist.Normal, x: Tensor) -> Tensor:
    return torch.special.log_ndtr(_standardised(distribution, x))


@log_sf.register
def _(distribution: dist.Normal, x: Tensor) -> Tensor:
    return torch.special.log_ndtr(-_standardised(distribution, x))
