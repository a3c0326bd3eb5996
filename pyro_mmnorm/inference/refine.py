"""Refinement: local steps on each person's own posterior, which close what an encoder leaves open."""

import torch
from torch import Tensor

from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.distributions.latent import DiagonalNormal
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["refined"]

BACK = 0.3
SETTLED = 1e-14
"""Nats that nobody's next step would gain more than: the posteriors are right to 1e-7 of their scale."""


def refined(model: MMVAE, batch: Batch, steps: int, *, seed: int = 0) -> DiagonalNormal:
    r"""Posterior of each person after some steps up his or her own ELBO, from the encoders' answer on.

    .. math:: (\mu_i, \sigma_i) = \arg\max_{\mu, \sigma}\;
        E_{\mathcal{N}(\mu, \sigma^2)} \Big[ \sum_m \lambda_m \log p(x_{im} \mid z, c_i) \Big]
        - \beta\, \mathrm{KL}(\mathcal{N}(\mu, \sigma^2) \| p(z \mid c_i))

    over the visible cells of the person. A product of experts cannot let one modality's certainty depend on another,
    nor know which cells of a modality were missing; the person's own steps can. The steps are Newton's with the
    curvature at the encoders' answer, :math:`H = I + [-\partial^2 \log p(x_i \mid z) / \partial z^2]_+`, from which the
    scale also starts when that is better: in a linear Gaussian model the first step is the last. A step that does not
    raise the person's ELBO is taken back and shortened, so the answer is never worse than the encoders', and where no
    step has anything to gain, there are no more. All people share one set of noise, so that nobody's answer depends on
    another.

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
    noise = _noise(first, seed)
    turn, curvature = _curvature(model, seen, first.loc)
    at = torch.stack([first.loc, first.scale.log()])
    narrow = torch.stack([first.loc, -0.5 * _diagonal(turn, curvature).log()])
    best, slope = _loss(model, seen, at, noise)
    length = torch.ones_like(best)
    for step in range(steps):
        rise = torch.stack([_solve(turn, curvature, slope[0]), slope[1] / 2])
        if step and float((slope * rise).sum((0, -1)).max()) < SETTLED:
            break
        proposal = narrow if step == 0 else at - length.unsqueeze(-1) * rise
        loss, new_slope = _loss(model, seen, proposal, noise)
        better = loss < best
        best = torch.where(better, loss, best)
        at, slope = (torch.where(better.unsqueeze(-1), a, b) for a, b in ((proposal, at), (new_slope, slope)))
        if step:
            length = torch.where(better, torch.clamp(2 * length, max=1.0), BACK * length)
    return DiagonalNormal(at[0], at[1].exp(), validate_args=False)


def _noise(q: DiagonalNormal, seed: int) -> Tensor:
    """2k points on a sphere, rotated at random, with the mean and covariance of standard normal noise, [2k, 1.., k].

    Expectations of quadratics are exact with them (the spherical-radial rule of Arasaratnam & Haykin, 2009,
    https://doi.org/10.1109/TAC.2009.2019800).
    """
    k = q.event_shape[0]
    drawn = torch.randn(k, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    half = torch.linalg.qr(drawn).Q * k**0.5
    return torch.cat([half, -half]).to(q.loc).reshape(2 * k, *[1] * len(q.batch_shape), -1)


def _curvature(model: MMVAE, batch: Batch, loc: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors and eigenvalues (at least 1, the prior's) of each person's H at `loc`."""
    with torch.enable_grad():
        z = loc.clone().requires_grad_()
        (slope,) = torch.autograd.grad(_misfit(model, batch, z).sum(), z, create_graph=True)
        rows = [torch.autograd.grad(part.sum(), z, retain_graph=True)[0] for part in slope.unbind(-1)]
    values, vectors = torch.linalg.eigh(torch.stack(rows, -2))
    return vectors, 1 + values.clamp(min=0)


def _solve(turn: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """H^{-1} x."""
    return (turn @ ((turn.mT @ x.unsqueeze(-1)) / values.unsqueeze(-1))).squeeze(-1)


def _diagonal(turn: Tensor, values: Tensor) -> Tensor:
    """diag(H)."""
    return (turn.square() * values.unsqueeze(-2)).sum(-1)


def _misfit(model: MMVAE, batch: Batch, z: Tensor) -> Tensor:
    """-sum_m lambda_m log p(x_m | z) of each person."""
    total = torch.zeros(())
    for m, weight in model.weights.items():
        x, values = model.observed_likelihood(m, z, batch)
        total = total - weight * x.log_prob(values)
    return total


def _loss(model: MMVAE, batch: Batch, at: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Each person's negative ELBO at (loc, log scale), [...], and its gradient, as `at`."""
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        q = DiagonalNormal(at[0], at[1].exp(), validate_args=False)
        z, prior = q.rsample_from_base_samples(noise), model.prior_of(batch)
        try:
            kl = torch.distributions.kl_divergence(q, prior.expand(q.batch_shape))
        except NotImplementedError:
            kl = (q.log_prob(z) - prior.log_prob(z)).mean(0)
        loss = model.beta * kl + _misfit(model, batch, z).mean(0)
        (slope,) = torch.autograd.grad(loss.sum(), at)
    return loss.detach(), slope
