"""Posterior and predictive draws as an ArviZ DataTree with named dims."""

from typing import Any

import arviz as az
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_mmnorm.cohort import Batch, Cohort
from pyro_mmnorm.deviations import NormativeModel
from pyro_mmnorm.draws import latent_draws
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.vae import MMVAE

__all__ = ["to_datatree"]


def to_datatree(norm: NormativeModel, cohort: Cohort, *, draws: int = 500, seed: int = 0) -> xr.DataTree:
    """Posterior, posterior predictive, prior predictive, log-likelihood and data of some people, for ArviZ.

    Args:
        norm: Its model is drawn from; calibration plays no part.
        cohort: The people.
        draws: Draws per person. With ensemble members, draw s belongs to member s modulo their number.
        seed: Of the draws.

    Returns:
        Groups prior, prior_predictive, posterior, posterior_predictive, log_likelihood, observed_data, constant_data;
        dims chain (of length 1), draw, subject, latent and region_<modality>. Regions are in the units of the tables,
        NaN where not observed. Draws of a variational posterior are independent: R-hat and effective sample size say
        nothing about them.

    Raises:
        InputError: For a linear baseline, which has no draws.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=4))
        >>> to_datatree(norm, cohort.target, draws=10)["posterior"]["z"].dims
        ('chain', 'draw', 'subject', 'latent')
    """
    if not isinstance(norm.model, MMVAE):
        todo = "use norm.deviations"
        raise InputError("to_datatree", "a linear baseline", "a norm whose model is drawn from, an MMVAE", todo)
    model, batch = norm.model.eval(), norm.preprocess(cohort)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        z = _one_member(latent_draws(model.posterior(batch), draws, seed), model.members)
        prior = _prior_draws(model, batch, draws, seed)
        posterior_predictive = _replicates(norm, model, z, batch)
        prior_predictive = _replicates(norm, model, prior, batch)
        log_likelihood = {m: _log_likelihood(model, m, z, batch) for m in norm.preprocess.regions}
    observed = {m: _in_units(norm, m, batch.values[m], batch.observed[m]) for m in norm.preprocess.regions}
    groups: dict[str, dict[str, NDArray[Any]]] = {
        "prior": {"z": prior.numpy()[None]},
        "prior_predictive": prior_predictive,
        "posterior": {"z": z.numpy()[None]},
        "posterior_predictive": posterior_predictive,
        "log_likelihood": log_likelihood,
        "observed_data": observed,
        "constant_data": {name: _plain(cohort, name) for name in cohort.kinds},
    }
    groups = {name: content for name, content in groups.items() if content}
    coords = {"subject": cohort.ids.astype(str).tolist(), "latent": list(range(model.latent_dim))}
    dims = {"z": ["subject", "latent"]} | {name: ["subject"] for name in cohort.kinds}
    for m, regions in norm.preprocess.regions.items():
        coords[f"region_{m}"], dims[m] = list(regions), ["subject", f"region_{m}"]
    tree: xr.DataTree = az.from_dict(groups, coords=coords, dims=dims)
    return tree


def _prior_draws(model: MMVAE, batch: Batch, draws: int, seed: int) -> Tensor:
    """[draws, n, k], draw s from member s modulo their number."""
    shape = (model.members, len(batch)) if model.members > 1 else (len(batch),)
    return _one_member(latent_draws(model.prior_of(batch).expand(shape), draws, seed), model.members)


def _one_member(z: Tensor, members: int) -> Tensor:
    """[draws, members, n, k] -> [draws, n, k], draw s from member s modulo their number."""
    if members == 1:
        return z
    s = torch.arange(len(z))
    return z[s, s % members]


def _likelihood(model: MMVAE, modality: str, z: Tensor, batch: Batch) -> tuple[TorchDistributionMixin, Tensor | None]:
    """The likelihood of each draw, and which member each draw belongs to."""
    if model.members == 1:
        return model.likelihood(modality, z, batch), None
    return model.likelihood(modality, z.unsqueeze(1), batch), torch.arange(len(z)) % model.members


def _pick(x: Tensor, member: Tensor | None) -> Tensor:
    return x if member is None else x[torch.arange(len(x)), member]


def _replicates(norm: NormativeModel, model: MMVAE, z: Tensor, batch: Batch) -> dict[str, NDArray[Any]]:
    replicates = {}
    for m in norm.preprocess.regions:
        predictive, member = _likelihood(model, m, z, batch)
        x = _pick(predictive.sample(), member)
        replicates[m] = _in_units(norm, m, x, batch.observed[m].expand(x.shape))[None]
    return replicates


def _log_likelihood(model: MMVAE, modality: str, z: Tensor, batch: Batch) -> NDArray[Any]:
    predictive, member = _likelihood(model, modality, z, batch)
    logs = _pick(predictive.log_prob(batch.values[modality]), member)
    return torch.where(batch.observed[modality], logs, torch.nan).numpy()[None]


def _in_units(norm: NormativeModel, modality: str, x: Tensor, observed: Tensor) -> NDArray[Any]:
    units = norm.preprocess.to_units(modality, x.numpy())
    return np.where(observed.numpy(), units, np.nan).astype(np.float32)


def _plain(cohort: Cohort, name: str) -> NDArray[Any]:
    column = cohort.covariates[name]
    return column.to_numpy(str) if cohort.kinds[name] == "category" else column.to_numpy(float)
