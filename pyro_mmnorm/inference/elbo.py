"""Training objective: a fast mean-field ELBO, free bits, sub-sampled modalities, and one generator per member."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import TraceMeanField_ELBO
from pyro.poutine.messenger import Messenger
from torch import Generator, Tensor

from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.distributions.latent import (
    DiagonalNormal,
    base_sample_dim,
    kl_or_estimate,
    kl_per_latent,
    rsample_from_base_samples,
)
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["MeanFieldELBO", "OwnNoise", "elbo_terms", "hide_cells", "subsampled"]

type Program = Callable[..., None]


class MeanFieldELBO(TraceMeanField_ELBO):
    r"""Equal to Pyro's `TraceMeanField_ELBO`, in two thirds of the time.

    It sums scaled and masked log-probabilities and the analytic KL, or a one-draw estimate where no analytic KL is
    registered. For models and guides whose latent sites are independent given the data.

    Args:
        free_bits: Nats per latent below which its KL, averaged over the batch, is not reduced further:
            :math:`\sum_l \max(\overline{\mathrm{KL}}_l, \text{free bits})`. For posteriors and priors that are
            diagonal normal; 0 is the plain ELBO.

    References:
        Kingma et al. (2016), Improved variational inference with inverse autoregressive flow,
        https://arxiv.org/abs/1606.04934 (free bits)
    """

    def __init__(self, free_bits: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.free_bits = free_bits

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Negative ELBO of one draw."""
        guided = poutine.trace(guide).get_trace(*args, **kwargs)
        nodes = poutine.trace(poutine.replay(model, trace=guided)).get_trace(*args, **kwargs).nodes
        loss = torch.zeros(())
        for name, site in nodes.items():
            if site["type"] != "sample" or poutine.util.site_is_subsample(site):
                continue
            loss = loss - _log_prob(site) if site["is_observed"] else loss + self._divergence(guided.nodes[name], site)
        return loss

    def _divergence(self, q: Any, p: Any) -> Tensor:
        """KL of the guide's site to the model's; a one-draw estimate where no closed form is registered."""
        normal = isinstance(q["fn"], DiagonalNormal) and isinstance(p["fn"], DiagonalNormal)
        if self.free_bits and normal:
            # a latent whose mean KL is below the floor contributes a constant, without a gradient
            kl = kl_per_latent(q["fn"], p["fn"])
            kl = torch.where(kl.mean(-2, keepdim=True) < self.free_bits, self.free_bits, kl)
            return _scaled(kl.sum(-1), q)
        try:
            return _scaled(torch.distributions.kl_divergence(q["fn"], p["fn"]), q)
        except NotImplementedError:
            return _scaled(q["fn"].log_prob(q["value"]), q) - _scaled(p["fn"].log_prob(q["value"]), p)


def _scaled(x: Tensor, site: Any) -> Tensor:
    return scale_and_mask(x, site["scale"], site["mask"]).sum()


def _log_prob(site: Any) -> Tensor:
    return _scaled(site["fn"].log_prob(site["value"]), site)


class OwnNoise(Messenger):
    """Effect handler that draws latents with one generator per ensemble member.

    Members trained together then draw the same values as each would alone. A distribution that is not a function of
    base samples (see `latent.rsample_from_base_samples`) is sampled by Pyro.

    Args:
        generators: One per member.
    """

    def __init__(self, generators: Sequence[Generator]) -> None:
        super().__init__()
        self.generators = generators

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or poutine.util.site_is_subsample(msg):
            return
        fn = msg["fn"]
        shape = (*fn.batch_shape[-1:], base_sample_dim(fn))
        z = rsample_from_base_samples(fn, _drawn(torch.randn, shape, self.generators))
        if z is not None:
            msg["value"], msg["done"] = z, True


def _drawn(draw: Callable[..., Tensor], shape: Sequence[int], generators: Sequence[Generator]) -> Tensor:
    """Random numbers by torch.rand or torch.randn, [*shape] for one generator and [members, *shape] for more."""
    drawn = [draw(shape, generator=g, device=g.device) for g in generators]
    return torch.stack(drawn) if len(drawn) > 1 else drawn[0]


def hide_cells(batch: Batch, share: float, generators: Sequence[Generator]) -> Batch:
    """The batch with a random share of its cells masked from the encoders, but kept in the likelihood."""
    sizes = [x.shape[-1] for x in batch.values.values()]
    hidden = _drawn(torch.rand, (len(batch), sum(sizes)), generators) < share
    return batch.with_hidden(dict(zip(batch.values, hidden.split(sizes, -1), strict=True)))


def subsampled(batch: Batch, subsets: int, generators: Sequence[Generator]) -> Batch:
    r"""The batch, and again with each single modality, and again with random subsets: (1 + M + r) n subjects.

    Its ELBO per subject is the mean over these views, in which the other modalities are unobserved, so that posteriors
    of incomplete people are trained too. It is not recommended for mixtures of experts, whose bound is not tight for
    subsets (Daunhawer et al. 2022).

    Args:
        batch: n subjects.
        subsets: r.
        generators: One per member; each member has its own subsets.

    References:
        Wu & Goodman (2018), https://arxiv.org/abs/1802.05335; Daunhawer et al. (2022),
        https://arxiv.org/abs/2110.04121
    """
    names, n = list(batch.values), len(batch)
    size = len(names)
    keys = _drawn(torch.rand, (subsets, size), generators)
    # each modality with probability 1/2, and the one with the smallest key always
    drawn = (keys < 0.5) | (keys == keys.amin(-1, keepdim=True))
    fixed = torch.cat([torch.ones(1, size), torch.eye(size)]).bool().to(drawn.device)
    views = torch.cat([fixed.expand(*drawn.shape[:-2], -1, -1), drawn], -2)  # [..., views, M]
    count, vector = views.shape[-2], batch.covariates.dim() - 1  # an index has one axis less

    def again(x: Tensor) -> Tensor:
        return x.repeat(*[1] * (vector - 1), count, *[1] * (x.dim() - vector))

    whole = batch.map(again)
    kept = views.repeat_interleave(n, -2)
    observed = {m: whole.observed[m] & kept[..., i : i + 1] for i, m in enumerate(names)}
    return whole.with_observed(observed)


def elbo_terms(model: MMVAE, batch: Batch, draws: int) -> tuple[dict[str, Tensor], Tensor]:
    """Log-likelihood per modality and KL, [n] or [members, n], from draws with a fixed seed."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        posterior, prior = model.posterior(batch), model.prior_of(batch)
        noise = torch.randn(draws, len(batch), base_sample_dim(posterior)).to(batch.covariates)
        if len(posterior.batch_shape) > 1:
            noise = noise.unsqueeze(1).expand(-1, model.members, -1, -1)
        z = rsample_from_base_samples(posterior, noise)
        z = posterior.rsample((draws,)) if z is None else z
        logs = {}
        for m in model.likelihoods:
            x, values = model.observed_likelihood(m, z, batch)
            logs[m] = x.log_prob(values).mean(0)
        kl = kl_or_estimate(posterior, prior, z)
    return logs, kl
