"""Fusion rules: they combine the experts of the modalities into one posterior distribution."""

import itertools
from collections.abc import Callable
from typing import Protocol

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_mmnorm.distributions.latent import DiagonalMixture, DiagonalNormal

__all__ = ["FUSIONS", "Fusion", "GeneralisedPoE", "MixtureOfProducts", "moe", "poe"]

ALL_SUBSETS = 5
"""Largest number of experts for which `mopoe` uses every subset; above it, a sample of 31 subsets."""


class Fusion(Protocol):
    """A fusion rule: any callable of this signature, a `nn.Module` if it has parameters."""

    def __call__(self, loc: Tensor, scale: Tensor, present: Tensor, /) -> TorchDistributionMixin:
        """Posterior with batch shape [...] and event shape [k].

        Args:
            loc: Expert means, [..., M, k].
            scale: Expert standard deviations, [..., M, k].
            present: False excludes an expert, [..., M]; its mean and scale may be any number.
        """


def poe(loc: Tensor, scale: Tensor, present: Tensor) -> DiagonalNormal:
    r"""Product of Gaussian experts and a standard normal prior expert.

    .. math::
        q(z) \propto \mathcal{N}(z; 0, I) \prod_{m\ \mathrm{present}} \mathcal{N}(z; \mu_m, \sigma_m^2), \qquad
        T = 1 + \sum_m \sigma_m^{-2}, \quad \mu = \sum_m \sigma_m^{-2} \mu_m / T, \quad \sigma^2 = 1 / T

    Args:
        loc: Expert means, [..., M, k].
        scale: Expert standard deviations, [..., M, k].
        present: False excludes an expert, [..., M]. Without any expert the prior is returned.

    Returns:
        Diagonal normal with batch shape [...] and event shape [k].

    References:
        Wu & Goodman (2018), Multimodal generative models for scalable weakly-supervised learning,
        https://arxiv.org/abs/1802.05335

    Examples:
        >>> loc, scale = torch.tensor([[2.0], [0.0]]), torch.ones(2, 1)
        >>> poe(loc, scale, torch.tensor([True, False])).mean
        tensor([1.])
    """
    loc, precision = _natural(loc, scale, present)
    return _product((precision * loc).sum(-2), precision.sum(-2))


class GeneralisedPoE(nn.Module):
    r"""Product of experts raised to learned powers, and a standard normal prior expert.

    .. math::
        q(z) \propto \mathcal{N}(z; 0, I) \prod_{m\ \mathrm{present}} \mathcal{N}(z; \mu_m, \sigma_m^2)^{\alpha_m},
        \qquad \alpha_{ml} = \frac{e^{a_{ml}}}{\sum_{m'\ \mathrm{present}} e^{a_{m'l}}}

    so that evidence common to several experts is counted once. The powers of the present experts sum to 1 for every
    latent.

    Args:
        experts: M.
        latent_dim: k.
        members: Ensemble members; each has its own powers.

    References:
        Cao & Fleet (2014), Generalized product of experts, https://arxiv.org/abs/1410.7827

    Examples:
        >>> fuse = GeneralisedPoE(2, 1)
        >>> fuse(torch.tensor([[2.0], [0.0]]), torch.ones(2, 1), torch.tensor([True, True])).mean
        tensor([0.5000], grad_fn=<DivBackward0>)
    """

    def __init__(self, experts: int, latent_dim: int, members: int = 1) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(*([members, 1] if members > 1 else []), experts, latent_dim))

    def forward(self, loc: Tensor, scale: Tensor, present: Tensor) -> DiagonalNormal:
        """As `poe`."""
        loc, precision = _natural(loc, scale, present)
        logits = torch.where(present.unsqueeze(-1), self.logits, -torch.inf)
        precision = precision * logits.softmax(-2).nan_to_num(0.0)
        return _product((precision * loc).sum(-2), precision.sum(-2))


def moe(loc: Tensor, scale: Tensor, present: Tensor) -> DiagonalMixture:
    r"""Mixture of the present experts with equal weights, each a posterior by itself; the prior without experts.

    .. math:: q(z) = \frac{1}{|P|} \sum_{m \in P} \mathcal{N}(z; \mu_m, \sigma_m^2), \qquad P = \{m\ \mathrm{present}\}

    References:
        Shi, Siddharth, Paige & Torr (2019), Variational mixture-of-experts autoencoders,
        https://arxiv.org/abs/1911.03393

    Examples:
        >>> moe(torch.tensor([[2.0], [0.0]]), torch.ones(2, 1), torch.tensor([True, True])).mean
        tensor([1.])
    """
    here = present.unsqueeze(-1)
    loc, scale = torch.where(here, loc, 0.0), torch.where(here, scale, 1.0)
    none_present = ~present.any(-1, keepdim=True)
    weights = torch.cat([present, none_present], -1).to(loc).log()
    rest = torch.zeros_like(loc[..., :1, :])
    return DiagonalMixture(weights, torch.cat([loc, rest], -2), torch.cat([scale, rest + 1], -2))


class MixtureOfProducts(nn.Module):
    r"""Mixture with equal weights of the products of experts (`poe`) of all non-empty subsets of the present experts.

    .. math:: q(z) = \frac{1}{2^{|P|} - 1} \sum_{\emptyset \ne S \subseteq P}
        q_S(z), \qquad q_S(z) \propto \mathcal{N}(z; 0, I) \prod_{m \in S} \mathcal{N}(z; \mu_m, \sigma_m^2)

    Every subset of all experts is intersected with the present ones. Empty intersections are dropped and all others
    occur equally often, so this is exact for up to 5 experts. Above that, 31 subsets are used: all experts, each expert
    alone, and a fixed random sample. Without experts it is the prior.

    Args:
        experts: M.
        latent_dim: k; not used.
        members: Ensemble members; not used, as there are no parameters.
        seed: Seed of the sample of subsets above 5 experts.

    References:
        Sutter, Daunhawer & Vogt (2021), Generalized multimodal ELBO, https://arxiv.org/abs/2105.02470
    """

    subsets: Tensor

    def __init__(self, experts: int, latent_dim: int = 0, members: int = 1, *, seed: int = 0) -> None:  # noqa: ARG002
        super().__init__()
        if experts <= ALL_SUBSETS:
            chosen = [s for s in itertools.product((0.0, 1.0), repeat=experts) if any(s)]
        else:
            whole = [[1.0] * experts, *torch.eye(experts).tolist()]
            drawn = torch.rand(200, experts, generator=torch.Generator().manual_seed(seed)).round().tolist()
            chosen = list(dict.fromkeys(tuple(s) for s in [*whole, *drawn] if any(s)))
            chosen = chosen[: max(2**ALL_SUBSETS - 1, experts + 1)]
        self.register_buffer("subsets", torch.tensor(chosen), persistent=False)

    def forward(self, loc: Tensor, scale: Tensor, present: Tensor) -> DiagonalMixture:
        """As `poe`; a mixture with 2^M components, the last of which is the prior."""
        loc, precision = _natural(loc, scale, present)
        products = _product(self.subsets @ (precision * loc), self.subsets @ precision)
        counts = present.to(self.subsets) @ self.subsets.T > 0
        weights = torch.cat([counts, ~present.any(-1, keepdim=True)], -1).to(loc).log()
        rest = torch.zeros_like(products.loc[..., :1, :])
        return DiagonalMixture(weights, torch.cat([products.loc, rest], -2), torch.cat([products.scale, rest + 1], -2))


def _natural(loc: Tensor, scale: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Means and precisions, 0 for absent experts."""
    if present.device.type == "cpu" and bool(present.all()):  # on the CPU this check costs less than masking
        return loc, scale.square().reciprocal()
    here = present.unsqueeze(-1)
    return torch.where(here, loc, 0.0), torch.where(here, scale, torch.inf).square().reciprocal()


def _product(weighted: Tensor, precision: Tensor) -> DiagonalNormal:
    """The product with the prior expert: precision 1 + T, mean weighted / (1 + T)."""
    total = 1.0 + precision
    return DiagonalNormal(weighted / total, total.rsqrt())


FUSIONS: dict[str, Callable[[int, int, int], Fusion]] = {
    "poe": lambda *_: poe,
    "gpoe": GeneralisedPoE,
    "moe": lambda *_: moe,
    "mopoe": MixtureOfProducts,
}
"""Name in the configuration -> fusion rule, built as (experts, latent_dim, members)."""
