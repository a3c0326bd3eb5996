"""Refinement: local steps on each person's own posterior, which close what an encoder leaves open."""

import torch
from torch import Tensor

from pyro_mmnorm.cohort import Batch
from pyro_mmnorm.draws import sobol_normal
from pyro_mmnorm.latents import DiagonalNormal
from pyro_mmnorm.vae import MMVAE

__all__ = ["refined"]

DRAWS = 8
RATE = 0.15
DECAYS = (0.9, 0.99)


def refined(model: MMVAE, batch: Batch, steps: int, *, seed: int = 0) -> DiagonalNormal:
    r"""Posterior of each person after some steps up his or her own ELBO, from the encoders' answer on.

    .. math:: (\mu_i, \sigma_i) = \arg\max_{\mu, \sigma}\;
        E_{\mathcal{N}(\mu, \sigma^2)} \Big[ \sum_m \lambda_m \log p(x_{im} \mid z, c_i) \Big]
        - \beta\, \mathrm{KL}(\mathcal{N}(\mu, \sigma^2) \| p(z \mid c_i))

    over the visible cells of the person, by Adam in units of the first posterior's scale, with one Sobol set of noise
    for everybody, so that the answer depends on nobody else. A product of experts cannot let one modality's certainty
    depend on another, nor know which cells of a modality were missing; the person's own steps can.

    Args:
        model: Trained; its posterior must be diagonal normal.
        batch: n people.
        steps: Number of steps; 0 gives the encoders' answer.
        seed: Of the noise.

    Returns:
        Batch shape [n] or [members, n].

    Raises:
        TypeError: For a fusion whose posterior is not diagonal normal.

    References:
        Kim, Wiseman, Miller, Sontag & Rush (2018), Semi-amortized variational autoencoders,
        https://arxiv.org/abs/1802.02550

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=60, patients=5, seed=1).to_cohort()
        >>> model = mm.MMVAE.for_cohort(cohort, latent_dim=2)
        >>> refined(model, model.preprocess(cohort.target), steps=2).batch_shape
        torch.Size([5])
    """
    with torch.no_grad():
        first = model.posterior(batch)
    if not isinstance(first, DiagonalNormal):
        raise TypeError(
            f"refine: a posterior of type {type(first).__name__}; expected DiagonalNormal, as of poe and gpoe. "
            "Set deviations.refine to 0."
        )
    if not steps:
        return first
    seen = batch.seeing({m: batch.visible(m) for m in batch.values})
    noise = sobol_normal(DRAWS, model.latent_dim, seed).to(first.loc)
    noise = noise.reshape(DRAWS, *[1] * len(first.batch_shape), -1)
    offset = torch.zeros_like(first.loc).requires_grad_()
    log_ratio = torch.zeros_like(first.loc).requires_grad_()
    moments = [[torch.zeros_like(first.loc) for _ in range(2)] for _ in range(2)]
    for step in range(1, steps + 1):
        with torch.enable_grad():
            q = DiagonalNormal(first.loc + first.scale * offset, first.scale * log_ratio.exp(), validate_args=False)
            gradients = torch.autograd.grad(_negative_elbo(model, seen, q, noise), [offset, log_ratio])
        with torch.no_grad():
            rate = RATE * (1 - (step - 1) / steps)
            for parameter, gradient, (mean, square) in zip((offset, log_ratio), gradients, moments, strict=True):
                mean.lerp_(gradient, 1 - DECAYS[0])
                square.lerp_(gradient.square(), 1 - DECAYS[1])
                unbiased = mean / (1 - DECAYS[0] ** step), square / (1 - DECAYS[1] ** step)
                parameter -= rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    with torch.no_grad():
        return DiagonalNormal(first.loc + first.scale * offset, first.scale * log_ratio.exp(), validate_args=False)


def _negative_elbo(model: MMVAE, batch: Batch, q: DiagonalNormal, noise: Tensor) -> Tensor:
    """Summed over people, so that each person's gradient is his or her own."""
    z, prior = q.moved(noise), model.prior_of(batch)
    try:
        kl = torch.distributions.kl_divergence(q, prior.expand(q.batch_shape))
    except NotImplementedError:
        kl = (q.log_prob(z) - prior.log_prob(z)).mean(0)
    loss = model.beta * kl
    for m, weight in model.weights.items():
        x, values = model.observed_likelihood(m, z, batch)
        loss = loss - weight * x.log_prob(values).mean(0)
    return loss.sum()
