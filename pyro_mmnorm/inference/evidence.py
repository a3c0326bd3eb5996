"""Held-out evidence and the information in each latent: figures for comparing and checking models."""

from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyro_mmnorm.config import DEVIATION_DEFAULTS
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.distributions.latent import DiagonalNormal, kl_per_latent
from pyro_mmnorm.inference.draws import latent_draws, log_mean_exp
from pyro_mmnorm.inference.refine import refined
from pyro_mmnorm.models.linear import LinearGaussian
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["ACTIVE_VARIANCE", "evidence", "latent_table", "log_evidence"]

ACTIVE_VARIANCE = 0.01
"""A latent is active if its posterior mean has a larger variance than this between people."""
BUDGET_CELLS = 2**21  # draws x members x subjects x regions in memory at once
PRIOR_DRAWS = 64  # for the moments of a prior


def log_evidence(
    model: MMVAE, cohort: Cohort, *, draws: int = DEVIATION_DEFAULTS.draws, refine: int = 0, seed: int = 0
) -> pd.Series:
    r"""Importance-weighted bound of each person's log evidence, for comparing models.

    .. math:: \log \frac1S \sum_s \frac{p(z_s \mid c)\, p(X \mid z_s, c)}{q(z_s \mid X, c)} \le \log p(X \mid c),
        \qquad z_s \sim q(z \mid X, c)

    in expectation, with equality for large S. Cells are in standardised units, all modalities have weight 1 (for any
    lambda and beta of training), and the densities of members are averaged.

    Args:
        model: Trained, with its preprocessing.
        cohort: Held-out people.
        draws: S.
        refine: Local steps on each q before it is sampled.
        seed: Seed of the draws.

    Returns:
        Nats per person, by id.

    Raises:
        InputError: For a model without preprocessing.

    References:
        Burda, Grosse & Salakhutdinov (2016), https://arxiv.org/abs/1509.00519

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
        >>> model = mm.MMVAE.for_cohort(cohort, latent_dim=2)
        >>> bool(log_evidence(model, cohort.test, draws=64).isna().any())
        False
    """
    if model.preprocess is None:
        raise InputError("log_evidence", "a model without preprocessing", "one of MMVAE.for_cohort", "use for_cohort")
    nats = evidence(model, model.preprocess(cohort), draws=draws, refine=refine, seed=seed)
    return pd.Series(nats, index=cohort.ids, name="log_evidence")


@singledispatch
def evidence(model: Any, batch: Batch, *, draws: int, refine: int, seed: int) -> Floats:
    """`log_evidence` of people in model units, [n] nats; exact for a `LinearGaussian`."""
    widest = max(x.shape[-1] for x in batch.values.values())
    size = max(1, BUDGET_CELLS // (draws * model.members * widest))
    with one_thread():
        parts = [
            _bound(model, batch[slice(begin, begin + size)], draws, refine, seed)
            for begin in bar(range(0, len(batch), size), "evidence")
        ]
    nats: Floats = torch.cat(parts).numpy()
    return nats


@evidence.register
def _(model: LinearGaussian, batch: Batch, **_: Any) -> Floats:
    nats: Floats = model.log_evidence(batch).numpy()
    return nats


def _bound(model: MMVAE, batch: Batch, draws: int, refine: int, seed: int) -> Tensor:
    q = refined(model, batch, refine, seed=seed) if refine else None
    with torch.no_grad():
        q = q or model.posterior(batch)
        z = latent_draws(q, draws, seed)
        log_ratio = model.prior_of(batch).log_prob(z) - q.log_prob(z)
        for m in model.likelihoods:
            x, values = model.observed_likelihood(m, z, batch)
            log_ratio = log_ratio + x.log_prob(values)
        bound = log_mean_exp(log_ratio, 0)
        return log_mean_exp(bound, 0) if model.members > 1 else bound


def latent_table(model: MMVAE, batch: Batch) -> pd.DataFrame:
    r"""Information in each latent among these people; one row per latent (and member).

    Columns: member, latent, block (`shared`, or the modality that a private latent belongs to), kl
    (:math:`\mathrm{KL}(q_l \| p_l)` in nats, of the moment-matched normals), variance of the posterior mean, active
    (variance above 0.01), share_prior and share_<expert>: mean share of the posterior's precision,
    :math:`T_m / (1 + \sum_m T_m)` as in `poe`, from the prior expert and each expert.

    Args:
        model: Trained.
        batch: At least two people.

    References:
        Burda, Grosse & Salakhutdinov (2016), https://arxiv.org/abs/1509.00519 (active units)
    """
    with torch.no_grad():
        q, p = model.posterior(batch), model.prior_of(batch)
        drawn = latent_draws(p, PRIOR_DRAWS, 0)
        prior = DiagonalNormal(drawn.mean(0), drawn.std(0))
        kl = kl_per_latent(DiagonalNormal(q.mean, q.variance.sqrt()), prior).mean(-2)
        _, scale, present = model.experts(batch)
        here = present.unsqueeze(-1)
        precision = torch.where(here, torch.where(here, scale, 1.0).pow(-2), 0.0)
        shares = _shares(model, precision)
        variance = q.mean.var(-2)
    k, members = model.latent_dim, model.members
    modalities = list(model.likelihoods)
    block = ["shared"] * model.shared_dim + [m for m in modalities for _ in range(model.private_dim)]
    table = {
        "member": np.repeat(np.arange(members), k),
        "latent": np.tile(np.arange(k), members),
        "block": np.tile(block, members),
        "kl": kl.reshape(-1).numpy(),
        "variance": variance.reshape(-1).numpy(),
        "active": (variance.reshape(-1) > ACTIVE_VARIANCE).numpy(),
    }
    return pd.DataFrame(table | {f"share_{name}": x.reshape(-1).numpy() for name, x in shares.items()})


def _shares(model: MMVAE, precision: Tensor) -> dict[str, Tensor]:
    """Mean share of precision of the prior expert and of each expert, [..., k] over all latents."""
    k = model.shared_dim
    shared, own = precision[..., :k], precision[..., k:]
    total = 1 + shared.sum(-2)
    names = list(model.encoders)
    prior_own = (1 / (1 + own)).mean(-3)  # [..., M, p]
    shares = {"prior": torch.cat([(1 / total).mean(-2), prior_own.flatten(-2)], -1)}
    for i, name in enumerate(names):
        private = torch.zeros_like(prior_own)
        private[..., i, :] = 1 - prior_own[..., i, :]
        shares[name] = torch.cat([(shared[..., i, :] / total).mean(-2), private.flatten(-2)], -1)
    return shares
