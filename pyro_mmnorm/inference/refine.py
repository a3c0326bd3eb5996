"""Refinement: local steps on the posterior of each person, which reduce the amortisation gap of the encoders."""

import torch
from torch import Tensor

from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.distributions.latent import DiagonalNormal, kl_or_estimate
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["refined"]

BACK = 0.3  # factor on the step length after a step that does not raise the ELBO
SETTLED = 1e-14  # nats; a smaller expected gain of every person ends the steps: an error of 1e-7 posterior SDs


def refined(model: MMVAE, batch: Batch, steps: int, *, seed: int = 0) -> DiagonalNormal:
    r"""Posterior of each person after local steps that maximise the person's ELBO, from the encoders' output on.

    .. math:: (\mu_i, \sigma_i) = \arg\max_{\mu, \sigma}\;
        E_{\mathcal{N}(\mu, \sigma^2)} \Big[ \sum_m \lambda_m \log p(x_{im} \mid z, c_i) \Big]
        - \beta\, \mathrm{KL}(\mathcal{N}(\mu, \sigma^2) \| p(z \mid c_i))

    over the visible cells of the person. In a product of experts the precision of one modality does not depend on the
    others, nor on which cells of the modality are missing; the local steps account for both. They are Newton steps with
    the curvature at the encoders' output, :math:`H = I + [-\partial^2 \log p(x_i \mid z) / \partial z^2]_+`, which also
    gives the initial scale where that raises the ELBO: in a linear Gaussian model one step suffices. A step that does
    not raise the person's ELBO is undone and shortened, so the result is never worse than that of the encoders. Steps
    end when no person has anything to gain. All people share one set of base samples, so the result of a person does
    not depend on the others.

    Args:
        model: Trained; its posterior must be diagonal normal.
        batch: n people.
        steps: Number of steps; with 0 the result is that of the encoders.
        seed: Seed of the base samples.

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
    seen = batch.with_observed({m: batch.visible(m) for m in batch.values})
    noise = _noise(first, seed)
    vectors, curvature = _curvature(model, seen, first.loc)
    at = torch.stack([first.loc, first.scale.log()])
    laplace = torch.stack([first.loc, -0.5 * _diagonal(vectors, curvature).log()])
    best, slope = _loss(model, seen, at, noise)
    length = torch.ones_like(best)
    for step in range(steps):
        # Newton direction: H^{-1} for the location; the curvature in log scale is 2 at the optimum
        rise = torch.stack([_solve(vectors, curvature, slope[0]), slope[1] / 2])
        if step and float((slope * rise).sum((0, -1)).max()) < SETTLED:
            break
        # the first step only proposes the scale of the Laplace approximation, diag(H)^{-1/2}
        proposal = laplace if step == 0 else at - length.unsqueeze(-1) * rise
        loss, new_slope = _loss(model, seen, proposal, noise)
        # accept by person; lengthen the step after a success, shorten it after a failure
        better = loss < best
        best = torch.where(better, loss, best)
        at, slope = (torch.where(better.unsqueeze(-1), a, b) for a, b in ((proposal, at), (new_slope, slope)))
        if step:
            length = torch.where(better, torch.clamp(2 * length, max=1.0), BACK * length)
    return DiagonalNormal(at[0], at[1].exp(), validate_args=False)


def _noise(q: DiagonalNormal, seed: int) -> Tensor:
    """2k points on a sphere in a random rotation, with mean 0 and covariance I, [2k, 1.., k].

    Expectations of quadratic functions are exact with them (spherical-radial rule of Arasaratnam & Haykin, 2009,
    https://doi.org/10.1109/TAC.2009.2019800).
    """
    k = q.event_shape[0]
    drawn = torch.randn(k, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    half = torch.linalg.qr(drawn).Q * k**0.5
    return torch.cat([half, -half]).to(q.loc).reshape(2 * k, *[1] * len(q.batch_shape), -1)


def _curvature(model: MMVAE, batch: Batch, loc: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors and eigenvalues (at least 1, that of the prior) of each person's H at `loc`."""
    with torch.enable_grad():
        z = loc.clone().requires_grad_()
        (slope,) = torch.autograd.grad(_misfit(model, batch, z).sum(), z, create_graph=True)
        rows = [torch.autograd.grad(part.sum(), z, retain_graph=True)[0] for part in slope.unbind(-1)]
    values, vectors = torch.linalg.eigh(torch.stack(rows, -2))
    return vectors, 1 + values.clamp(min=0)


def _solve(vectors: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """H^{-1} x."""
    return (vectors @ ((vectors.mT @ x.unsqueeze(-1)) / values.unsqueeze(-1))).squeeze(-1)


def _diagonal(vectors: Tensor, values: Tensor) -> Tensor:
    """diag(H)."""
    return (vectors.square() * values.unsqueeze(-2)).sum(-1)


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
        loss = model.beta * kl_or_estimate(q, prior, z) + _misfit(model, batch, z).mean(0)
        (slope,) = torch.autograd.grad(loss.sum(), at)
    return loss.detach(), slope
