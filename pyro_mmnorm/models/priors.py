"""Priors: distributions over the latents, given covariates."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from pyro.distributions.util import broadcast_shape
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.distributions.latent import DiagonalMixture, DiagonalNormal
from pyro_mmnorm.models.networks import Network

__all__ = [
    "PRIORS",
    "ConditionalPrior",
    "FlowPrior",
    "MixturePrior",
    "Prior",
    "PseudoInputs",
    "StandardNormal",
    "VampPrior",
]

COMPONENTS = 10
LARGEST_LOG_SCALE = 2.0


class Prior(Protocol):
    """A prior: any callable of this signature, a `nn.Module` if it has parameters."""

    def __call__(self, covariates: Tensor, /) -> TorchDistributionMixin:
        """Covariates [..., n, c] -> a distribution of event shape [k], whose batch shape broadcasts to [..., n]."""


def _normal(shape: tuple[int, int], seed: int, members: int) -> Tensor:
    """Standard normal initial values of each member, [members, *shape]; [*shape] for a single model."""
    drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(seed + e)) for e in range(members)]
    return torch.stack(drawn) if members > 1 else drawn[0]


class StandardNormal(nn.Module):
    r""":math:`z \sim \mathcal{N}(0, I_k)`.

    Examples:
        >>> StandardNormal(3)(torch.zeros(5, 2)).event_shape
        torch.Size([3])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int, width: int = 0, members: int = 1) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    def forward(self, covariates: Tensor) -> DiagonalNormal:
        """The distribution, equal for all people."""
        return DiagonalNormal(self.loc, self.scale)


class MixturePrior(nn.Module):
    r"""A learned Gaussian mixture, :math:`p(z) = \sum_c w_c\, \mathcal{N}(z; \mu_c, \operatorname{diag} \sigma_c^2)`.

    Args:
        latent_dim: k.
        width: Number of covariate columns; not used.
        members: Ensemble members; each learns its own mixture.
        components: C.
        seed: Seed of the initial means, which have a standard deviation of 0.5.

    References:
        Dilokthanakul et al. (2016), Deep unsupervised clustering with Gaussian mixture VAEs,
        https://arxiv.org/abs/1611.02648
    """

    def __init__(
        self, latent_dim: int, width: int = 0, members: int = 1, *, components: int = COMPONENTS, seed: int = 0
    ) -> None:
        super().__init__()
        own = [members, 1] if members > 1 else []
        means = 0.5 * _normal((components, latent_dim), seed, members)
        self.logits = nn.Parameter(torch.zeros(*own, components))
        self.loc = nn.Parameter(means.reshape(*own, components, latent_dim))
        self.log_scale = nn.Parameter(torch.full_like(self.loc, -0.15))

    def forward(self, covariates: Tensor) -> DiagonalMixture:
        """The distribution, equal for all people."""
        return DiagonalMixture(self.logits, self.loc, self.log_scale.exp())


class PseudoInputs(nn.Module):
    """Learned inputs whose posteriors are the components of a `VampPrior`: values of every modality, and covariates.

    Args:
        sizes: modality -> number of regions.
        width: Number of covariate columns.
        members: Ensemble members.
        components: Number of pseudo-inputs.
        seed: Seed of the initial values, which are standard normal.
    """

    def __init__(
        self, sizes: dict[str, int], width: int, members: int = 1, components: int = COMPONENTS, seed: int = 0
    ) -> None:
        super().__init__()
        columns = [*sizes.values(), width]
        drawn = [nn.Parameter(_normal((components, d), seed + 7907 * i, members)) for i, d in enumerate(columns)]
        self.values, self.covariates = nn.ParameterDict(zip(sizes, drawn[:-1], strict=True)), drawn[-1]


class VampPrior(nn.Module):
    r"""Mixture with equal weights of the posteriors of pseudo-inputs: :math:`p(z) = \frac1C \sum_c q(z \mid u_c)`.

    It takes the model's posterior as a second argument, which `MMVAE.prior_of` supplies.

    Args:
        pseudo: The pseudo-inputs u.

    References:
        Tomczak & Welling (2018), VAE with a VampPrior, https://arxiv.org/abs/1705.07120
    """

    def __init__(self, pseudo: PseudoInputs) -> None:
        super().__init__()
        self.pseudo = pseudo

    def forward(self, covariates: Tensor, posterior: Callable[[dict[str, Tensor], Tensor], Any]) -> DiagonalMixture:
        """The distribution, equal for all people; `posterior` is the model's: (values, covariates), complete -> q."""
        q = posterior(dict(self.pseudo.values.items()), self.pseudo.covariates)
        if isinstance(q, DiagonalNormal):
            logits, loc, scale = torch.zeros_like(q.loc[..., 0]), q.loc, q.scale
        else:
            shape = broadcast_shape(q.log_weights.shape, q.loc.shape[:-1])
            logits = q.log_weights.expand(shape).flatten(-2)
            loc, scale = (x.expand(*shape, -1).flatten(-3, -2) for x in (q.loc, q.scale))
        if loc.dim() == 3:  # one mixture per member, equal for all of its subjects
            logits, loc, scale = (x.unsqueeze(1) for x in (logits, loc, scale))
        return DiagonalMixture(logits, loc, scale)


class ConditionalPrior(nn.Module):
    r"""A prior that depends on covariates, :math:`z \mid c \sim \mathcal{N}(\mu(c), \operatorname{diag} \sigma^2(c))`.

    It is initialised as the standard normal.

    Args:
        latent_dim: k.
        width: Number of covariate columns.
        members: Ensemble members.
        hidden: Widths of the hidden layers.
        seed: Seed of the hidden layers.

    References:
        Sohn, Lee & Yan (2015), Learning structured output representation using deep conditional generative models,
        https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html
    """

    def __init__(
        self, latent_dim: int, width: int, members: int = 1, *, hidden: tuple[int, ...] = (16,), seed: int = 0
    ) -> None:
        super().__init__()
        self.net = Network(width, 2 * latent_dim, hidden, [seed + e for e in range(members)]).at_zero()

    def forward(self, covariates: Tensor) -> DiagonalNormal:
        """[..., n, c] -> batch shape [..., n]."""
        loc, log_scale = self.net(covariates).chunk(2, -1)
        return DiagonalNormal(loc, log_scale.clamp(-7.0, LARGEST_LOG_SCALE).exp())


class Coupled(TorchDistribution):
    r"""A standard normal pushed through affine couplings of alternating halves of the latents.

    Each coupling keeps one half a and maps the other, :math:`b \mapsto b\, e^{s(a)} + t(a)`, so that inverse and
    density are exact. Nothing is cached, so a density always belongs to the current parameters. The flows of zuko have
    neither ensemble members nor common base samples, which is why this one is kept.

    Args:
        nets: (half -> shift and log scale of the other half), one per coupling.
        latent_dim: k.
        like: A tensor with the dtype and device of the draws.
        batch_shape: Batch shape.
    """

    arg_constraints = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, nets: nn.ModuleList, latent_dim: int, like: Tensor, batch_shape: Any = ()) -> None:
        self.nets, self.like, self.base_sample_dim = nets, like, latent_dim
        super().__init__(torch.Size(batch_shape), torch.Size([latent_dim]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Coupled":
        """The distribution with a larger batch shape."""
        return Coupled(self.nets, self.event_shape[0], self.like, batch_shape)

    def _halves(self, z: Tensor, i: int) -> tuple[Tensor, Tensor]:
        half = self.event_shape[0] // 2
        first, second = z[..., :half], z[..., half:]
        return (first, second) if i % 2 == 0 else (second, first)

    def _shift(self, i: int, a: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.nets[i](a).chunk(2, -1)
        return shift, LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE)

    def rsample_from_base_samples(self, base_samples: Tensor) -> Tensor:
        """Standard normal base samples [..., k] that broadcast to the batch shape -> draws."""
        shape = torch.broadcast_shapes(base_samples.shape, self.batch_shape + self.event_shape)
        z = base_samples.to(self.like).expand(shape)
        for i in range(len(self.nets)):
            a, b = self._halves(z, i)
            shift, log_scale = self._shift(i, a)
            b = b * log_scale.exp() + shift
            z = torch.cat([a, b] if i % 2 == 0 else [b, a], -1)
        return z

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws, [*sample_shape, ..., k]."""
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        return self.rsample_from_base_samples(torch.randn(shape, dtype=self.like.dtype, device=self.like.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """[..., k] -> [...]."""
        z, log_det = value, torch.zeros_like(value[..., 0])
        for i in reversed(range(len(self.nets))):
            a, b = self._halves(z, i)
            shift, log_scale = self._shift(i, a)
            b = (b - shift) * (-log_scale).exp()
            log_det = log_det - log_scale.sum(-1)
            z = torch.cat([a, b] if i % 2 == 0 else [b, a], -1)
        noise = DiagonalNormal(torch.zeros_like(z), torch.ones_like(z), validate_args=False)
        return noise.log_prob(z) + log_det


class FlowPrior(nn.Module):
    """A normalising flow (`Coupled`) of learned affine couplings, initialised as the standard normal.

    Args:
        latent_dim: k, at least 2.
        width: Number of covariate columns; not used.
        members: Ensemble members.
        couplings: Number of couplings.
        hidden: Width of the hidden layer of each coupling.
        seed: Seed of the hidden layers.

    References:
        Dinh, Sohl-Dickstein & Bengio (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803
    """

    like: Tensor

    def __init__(
        self, latent_dim: int, width: int = 0, members: int = 1, *, couplings: int = 4, hidden: int = 32, seed: int = 0
    ) -> None:
        super().__init__()
        if latent_dim < 2:
            raise InputError("model.prior", f"a flow over {latent_dim} latent", "at least 2", "raise latent_dim")
        self.latent_dim, half = latent_dim, latent_dim // 2
        sizes = [(half, latent_dim - half) if i % 2 == 0 else (latent_dim - half, half) for i in range(couplings)]
        self.members = members
        self.nets = nn.ModuleList(
            Network(a, 2 * b, (hidden,), [seed + e + 6007 * i for e in range(members)]).at_zero()
            for i, (a, b) in enumerate(sizes)
        )
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, covariates: Tensor) -> Coupled:
        """The distribution, equal for all people."""
        return Coupled(self.nets, self.latent_dim, self.like, (self.members, 1) if self.members > 1 else ())


PRIORS: dict[str, Callable[..., nn.Module]] = {
    "normal": StandardNormal,
    "mixture": MixturePrior,
    "vamp": VampPrior,
    "flow": FlowPrior,
    "conditional": ConditionalPrior,
}
"""Name in the configuration -> prior, built as (latent_dim, covariate columns, members); `vamp` as (PseudoInputs)."""
