"""Priors: covariates -> a distribution over the latents."""

from collections.abc import Callable

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

__all__ = ["PRIORS", "Prior", "StandardNormal"]

type Prior = Callable[[Tensor], TorchDistributionMixin]
"""covariates [..., n, c] -> distribution whose batch shape broadcasts to [..., n], with event shape [k]."""


class StandardNormal(nn.Module):
    r""":math:`z \sim \mathcal{N}(0, I_k)`.

    Examples:
        >>> import torch
        >>> StandardNormal(3)(torch.zeros(5, 2)).event_shape
        torch.Size([3])
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, covariates: Tensor) -> TorchDistributionMixin:
        """The same for everybody."""
        return dist.Normal(covariates.new_zeros(self.latent_dim), covariates.new_ones(self.latent_dim)).to_event(1)


PRIORS: dict[str, type[StandardNormal]] = {"normal": StandardNormal}
"""Name in the configuration -> prior, built as (latent_dim)."""
