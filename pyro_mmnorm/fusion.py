"""Fusion rules: the experts of the modalities in, one posterior distribution out."""

from collections.abc import Callable

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

__all__ = ["FUSIONS", "Fusion", "poe"]

type Fusion = Callable[[Tensor, Tensor, Tensor], TorchDistributionMixin]
"""(loc [..., M, k], scale [..., M, k], present [..., M]) -> distribution with batch shape [...] and event shape [k]."""


def poe(loc: Tensor, scale: Tensor, present: Tensor) -> TorchDistributionMixin:
    r"""Product of Gaussian experts and a standard normal prior expert.

    .. math::
        q(z) \propto \mathcal{N}(z; 0, I) \prod_{m\ \mathrm{present}} \mathcal{N}(z; \mu_m, \sigma_m^2), \qquad
        T = 1 + \sum_m \sigma_m^{-2}, \quad \mu = \sum_m \sigma_m^{-2} \mu_m / T, \quad \sigma^2 = 1 / T

    Args:
        loc: Expert means, [..., M, k].
        scale: Expert standard deviations, [..., M, k].
        present: False removes an expert, whatever its numbers, [..., M]. With no expert left the prior is returned.

    Returns:
        Normal with batch shape [...] and event shape [k].

    References:
        Wu & Goodman (2018), Multimodal generative models for scalable weakly-supervised learning,
        https://arxiv.org/abs/1802.05335

    Examples:
        >>> loc, scale = torch.tensor([[2.0], [0.0]]), torch.ones(2, 1)
        >>> poe(loc, scale, torch.tensor([True, False])).mean
        tensor([1.])
    """
    here = present.unsqueeze(-1)
    loc, scale = torch.where(here, loc, 0.0), torch.where(here, scale, 1.0)
    precision = torch.where(here, scale.square().reciprocal(), 0.0)
    total = 1.0 + precision.sum(-2)
    return dist.Normal((precision * loc).sum(-2) / total, total.rsqrt()).to_event(1)


FUSIONS: dict[str, Fusion] = {"poe": poe}
"""Name in the configuration -> fusion rule."""
