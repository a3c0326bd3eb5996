"""Distributions over the latents: a diagonal normal and a mixture of them, drawn from common base samples."""

import math
from typing import Any, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

__all__ = [
    "BaseSampled",
    "DiagonalMixture",
    "DiagonalNormal",
    "base_sample_dim",
    "kl_or_estimate",
    "kl_per_latent",
    "rsample_from_base_samples",
]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@runtime_checkable
class BaseSampled(Protocol):
    """A distribution over the latents, event shape [k], whose draws are a function of standard normal base samples.

    With it, all people share one quasi-random set of base samples, and each ensemble member uses its own generator.
    Independent normals of Pyro's need no such methods. Every other distribution is sampled independently.
    """

    base_sample_dim: int
    """Standard normal numbers that one draw takes: k, or more."""

    def rsample_from_base_samples(self, base_samples: Tensor) -> Tensor:
        """Base samples [..., base_sample_dim] of any float dtype -> draws [..., k] of the dtype of the parameters."""


class DiagonalNormal(TorchDistribution):
    r""":math:`\mathcal{N}(\mu, \operatorname{diag} \sigma^2)` with event shape [k].

    Equal to `Normal(loc, scale).to_event(1)`, with fewer tensor operations in a training step.

    Args:
        loc, scale: [..., k] each, of equal shape.

    Examples:
        >>> DiagonalNormal(torch.zeros(5, 3), torch.ones(5, 3)).event_shape
        torch.Size([3])
    """

    arg_constraints = {  # noqa: RUF012  (torch's own way)
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.base_sample_dim = loc, scale, loc.shape[-1]
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "DiagonalNormal":
        """The distribution with a larger batch shape."""
        shape = (*batch_shape, *self.event_shape)
        return DiagonalNormal(self.loc.expand(shape), self.scale.expand(shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """[..., k]."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """[..., k]."""
        return self.scale.square()

    def rsample_from_base_samples(self, base_samples: Tensor) -> Tensor:
        """Standard normal base samples [..., k] -> draws."""
        return self.loc + self.scale * base_samples.to(self.loc)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws, [*sample_shape, ..., k]."""
        return self.rsample_from_base_samples(
            torch.randn((*sample_shape, *self.loc.shape), dtype=self.loc.dtype, device=self.loc.device)
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """[..., k] -> [...]."""
        if self._validate_args:
            self._validate_sample(value)
        unit = (value - self.loc) / self.scale
        return -(0.5 * unit.square() + self.scale.log() + HALF_LOG_2PI).sum(-1)


class DiagonalMixture(TorchDistribution):
    r""":math:`\sum_c w_c\, \mathcal{N}(\mu_c, \operatorname{diag} \sigma_c^2)` with event shape [k].

    Draws are differentiable: a component is drawn, then z from it, and every component receives gradients weighted by
    its responsibility for z,

    .. math:: \partial z / \partial \mu_c = r_c, \qquad \partial z / \partial \sigma_c = r_c\, (z - \mu_c) / \sigma_c,
        \qquad r_c \propto w_c\, \mathcal{N}(z; \mu_c, \sigma_c^2)

    which is unbiased for fixed weights (implicit reparameterisation along one of several paths). Weights receive
    gradients from `log_prob` only, not from draws.

    Args:
        logits: Unnormalised log weights, [..., C]; -inf excludes a component.
        loc, scale: [..., C, k], finite and positive for absent components too.

    References:
        Graves (2016), Stochastic backpropagation through mixture density distributions,
        https://arxiv.org/abs/1607.05690; Figurnov, Mohamed & Mnih (2018), https://arxiv.org/abs/1805.08498

    Examples:
        >>> even = DiagonalMixture(torch.zeros(2), torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1))
        >>> even.mean, even.variance
        (tensor([0.]), tensor([2.]))
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.log_weights, self.loc, self.scale = logits.log_softmax(-1), loc, scale
        self.base_sample_dim = loc.shape[-1] + 1
        batch = broadcast_shape(logits.shape[:-1], loc.shape[:-2])
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "DiagonalMixture":
        """The distribution with a larger batch shape."""
        shape = torch.Size(batch_shape)
        c, k = self.loc.shape[-2:]
        return DiagonalMixture(
            self.log_weights.expand(*shape, c),
            self.loc.expand(*shape, c, k),
            self.scale.expand(*shape, c, k),
            validate_args=False,
        )

    @property
    def mean(self) -> Tensor:
        """[..., k]."""
        return (self.log_weights.exp().unsqueeze(-1) * self.loc).sum(-2)

    @property
    def variance(self) -> Tensor:
        """[..., k]."""
        second = self.scale.square() + (self.loc - self.mean.unsqueeze(-2)).square()
        return (self.log_weights.exp().unsqueeze(-1) * second).sum(-2)

    def _log_joint(self, value: Tensor) -> Tensor:
        """log w_c N(value; loc_c, scale_c), [..., C]."""
        unit = (value.unsqueeze(-2) - self.loc) / self.scale
        return self.log_weights - (0.5 * unit.square() + self.scale.log() + HALF_LOG_2PI).sum(-1)

    def rsample_from_base_samples(self, base_samples: Tensor) -> Tensor:
        """Standard normal base samples [..., k + 1] -> draws: the last number selects the component."""
        base_samples = base_samples.to(self.loc)
        with torch.no_grad():
            # component: the first whose cumulative weight reaches the uniform number of the last base sample
            cumulative = self.log_weights.exp().cumsum(-1)
            cumulative = cumulative / cumulative[..., -1:]
            component = (torch.special.ndtr(base_samples[..., -1:]) > cumulative).sum(-1)
            chosen = torch.nn.functional.one_hot(component, self.loc.shape[-2]).to(self.loc).unsqueeze(-1)
            z = (chosen * self.loc).sum(-2) + (chosen * self.scale).sum(-2) * base_samples[..., :-1]
            if not (self.loc.requires_grad or self.scale.requires_grad):
                return z
            unit = (z.unsqueeze(-2) - self.loc) / self.scale
            responsibility = self._log_joint(z).softmax(-1).unsqueeze(-1)
        # terms of value 0 that carry the gradient: dz/dloc_c = r_c and dz/dscale_c = r_c (z - loc_c) / scale_c
        step = (self.loc - self.loc.detach()) + unit * (self.scale - self.scale.detach())
        return z + (responsibility * step).sum(-2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws with gradients, [*sample_shape, ..., k]."""
        shape = (*sample_shape, *self.batch_shape, self.base_sample_dim)
        return self.rsample_from_base_samples(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """[..., k] -> [...]."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_joint(value).logsumexp(-1)


def kl_per_latent(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    r""":math:`\mathrm{KL}(q_l \| p_l)` of each latent, [..., k].

    .. math:: \tfrac12 \big(\rho - 1 - \log \rho + (\mu_q - \mu_p)^2 / \sigma_p^2\big),
        \qquad \rho = \sigma_q^2 / \sigma_p^2
    """
    ratio = (q.scale / p.scale).square()
    return 0.5 * (ratio - ratio.log() + ((q.loc - p.loc) / p.scale).square() - 1)


@register_kl(DiagonalNormal, DiagonalNormal)  # type: ignore[untyped-decorator]
def _(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    return kl_per_latent(q, p).sum(-1)


def kl_or_estimate(q: Any, p: Any, z: Tensor) -> Tensor:
    """KL(q || p), [...], by its closed form; if none is registered, by draws z of q, [draws, ..., k]."""
    try:
        kl: Tensor = torch.distributions.kl_divergence(q, p.expand(q.batch_shape))
    except NotImplementedError:
        kl = (q.log_prob(z) - p.log_prob(z)).mean(0)
    return kl


def base_sample_dim(distribution: Any) -> int:
    """Standard normal numbers that one draw takes: of a `BaseSampled` its own, else k."""
    return distribution.base_sample_dim if isinstance(distribution, BaseSampled) else int(distribution.event_shape[-1])


def rsample_from_base_samples(distribution: Any, base_samples: Tensor) -> Tensor | None:
    """Draws [..., k] from standard normal base samples [..., base_sample_dim].

    Args:
        distribution: A `BaseSampled`, or an independent normal of Pyro's.
        base_samples: Standard normal, of any float dtype.

    Returns:
        None for every other distribution, which must be sampled independently.
    """
    if isinstance(distribution, BaseSampled):
        return distribution.rsample_from_base_samples(base_samples)
    base = distribution
    while isinstance(base, dist.Independent):
        base = base.base_dist
    return base.loc + base.scale * base_samples.to(base.loc) if isinstance(base, dist.Normal) else None
