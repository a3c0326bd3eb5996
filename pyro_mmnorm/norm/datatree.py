"""Posterior and predictive draws as an ArviZ DataTree with named dims."""

from typing import Any

import arviz as az
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.inference.draws import latent_draws
from pyro_mmnorm.models.vae import MMVAE
from pyro_mmnorm.norm.normative_model import NormativeModel

__all__ = ["per_region", "to_datatree"]

REGIONAL = ("prior_predictive", "posterior_predictive", "log_likelihood", "observed_data")
"""Groups whose variables are modalities."""


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
        NaN where not observed; log-likelihoods are of standardised units. With ensemble members, a coordinate `member`
        stands along `draw`. A likelihood of whole people (`mvn_lowrank`) has a log-likelihood per person, not per
        region. Draws of a variational posterior are independent: R-hat and effective sample size say nothing about
        them.

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
        z = _draws(model, model.posterior(batch), draws, seed)
        prior = _draws(model, _prior(model, batch), draws, seed + 1)
        posterior_predictive = _replicates(norm, model, z, batch, cohort)
        prior_predictive = _replicates(norm, model, prior, batch, cohort)
        scored = bar(norm.preprocess.regions, "log-likelihood", unit="modality")
        log_likelihood = {m: _log_likelihood(model, m, z, batch) for m in scored}
    observed = {m: _in_units(norm, m, batch.values[m], batch.observed[m], cohort) for m in norm.preprocess.regions}
    groups: dict[str, dict[str, NDArray[Any]]] = {
        "prior": {"z": prior.numpy()[None]},
        "prior_predictive": prior_predictive,
        "posterior": {"z": z.numpy()[None]},
        "posterior_predictive": posterior_predictive,
        "log_likelihood": log_likelihood,
        "observed_data": observed,
        "constant_data": {name: _plain(cohort, name) for name in cohort.kinds},
    }
    tree = _named(norm, cohort, {name: content for name, content in groups.items() if content})
    return _with_members(tree, np.arange(draws) % model.members) if model.members > 1 else tree


def per_region(dt: xr.DataTree, modality: str | None = None) -> xr.DataTree:
    """The tree with one variable a region, `<modality>.<region>`, for plots that know one dimension only.

    Args:
        dt: From `to_datatree`.
        modality: Only its regions; those of all when None.

    Returns:
        Groups as before. In prior_predictive, posterior_predictive, log_likelihood and observed_data the variables
        have dims (chain, draw, subject) or (subject); the others are unchanged.

    Raises:
        InputError: For a modality that is not in the tree.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=4))
        >>> dt = per_region(to_datatree(norm, cohort.test, draws=10), "hippocampal")
        >>> dt["observed_data"]["hippocampal.region1"].dims
        ('subject',)
    """
    known = list(dt["observed_data"].data_vars)
    if modality is not None and modality not in known:
        raise InputError("modality", repr(modality), f"one of {known}", "use one of these")
    chosen = known if modality is None else [modality]
    parts = {name: node.to_dataset() for name, node in dt.children.items()}
    return xr.DataTree.from_dict(
        {name: _apart(part, chosen) if name in REGIONAL else part for name, part in parts.items()}
    )


def _apart(part: xr.Dataset, modalities: list[str]) -> xr.Dataset:
    """The variables of these modalities, a variable a region."""
    apart = {}
    for m in modalities:
        along = f"region_{m}"
        if along not in part[m].dims:
            apart[m] = part[m]
            continue
        for region in part[along].to_numpy():
            apart[f"{m}.{region}"] = part[m].sel({along: region}, drop=True)
    return xr.Dataset(apart)


def _named(norm: NormativeModel, cohort: Cohort, groups: dict[str, dict[str, NDArray[Any]]]) -> xr.DataTree:
    """Arrays under the names of people, regions and latents."""
    coords = {"subject": cohort.ids.astype(str).tolist(), "latent": list(range(len(groups["posterior"]["z"][0, 0, 0])))}
    dims = {"z": ["subject", "latent"]} | {name: ["subject"] for name in cohort.kinds}
    for m, regions in norm.preprocess.regions.items():
        coords[f"region_{m}"], dims[m] = list(regions), ["subject", f"region_{m}"]
    whole = {m: x for m, x in groups["log_likelihood"].items() if x.ndim == 3}  # of people, not of regions
    groups["log_likelihood"] = {m: x for m, x in groups["log_likelihood"].items() if m not in whole}
    tree: xr.DataTree = az.from_dict(groups, coords=coords, dims=dims)
    sample = {dim: tree["posterior"][dim] for dim in ("chain", "draw")}
    of_people = {m: xr.DataArray(x, {**sample, "subject": coords["subject"]}) for m, x in whole.items()}
    tree["log_likelihood"] = xr.DataTree(tree["log_likelihood"].to_dataset().assign(of_people))
    return tree


def _with_members(tree: xr.DataTree, member: NDArray[np.int64]) -> xr.DataTree:
    """The coordinate `member` wherever there are draws."""
    for name, node in tree.children.items():
        if "draw" in node.dims:
            tree[name] = xr.DataTree(node.to_dataset().assign_coords(member=("draw", member)))
    return tree


def _prior(model: MMVAE, batch: Batch) -> TorchDistributionMixin:
    shape = (model.members, len(batch)) if model.members > 1 else (len(batch),)
    prior: TorchDistributionMixin = model.prior_of(batch).expand(shape)
    return prior


def _draws(model: MMVAE, distribution: TorchDistributionMixin, draws: int, seed: int) -> Tensor:
    """[draws, n, k], draw s from member s modulo their number; people are drawn independently of one another.

    The common set of draws is shuffled for each person: a replicated table in which all people share their noise would
    vary far more from draw to draw than tables of people do.
    """
    z = latent_draws(distribution, draws, seed)
    order = torch.rand(draws, z.shape[-2], generator=torch.Generator().manual_seed(seed)).argsort(0)
    z = z.gather(0, order.reshape(draws, *[1] * (z.dim() - 3), -1, 1).expand_as(z))
    if model.members == 1:
        return z
    s = torch.arange(draws)
    return z[s, s % model.members]


def _likelihood(model: MMVAE, modality: str, z: Tensor, batch: Batch) -> tuple[TorchDistributionMixin, Tensor | None]:
    """The likelihood of each draw, and which member each draw belongs to."""
    if model.members == 1:
        return model.likelihood(modality, z, batch), None
    return model.likelihood(modality, z.unsqueeze(1), batch), torch.arange(len(z)) % model.members


def _pick(x: Tensor, member: Tensor | None) -> Tensor:
    return x if member is None else x[torch.arange(len(x)), member]


def _replicates(norm: NormativeModel, model: MMVAE, z: Tensor, batch: Batch, cohort: Cohort) -> dict[str, NDArray[Any]]:
    replicates = {}
    for m in bar(norm.preprocess.regions, "replicates", unit="modality"):
        predictive, member = _likelihood(model, m, z, batch)
        x = _pick(predictive.sample(), member)
        replicates[m] = _in_units(norm, m, x, batch.observed[m].expand(x.shape), cohort)[None]
    return replicates


def _log_likelihood(model: MMVAE, modality: str, z: Tensor, batch: Batch) -> NDArray[Any]:
    """[1, draws, n, d], NaN where not observed; [1, draws, n] for a likelihood of whole people."""
    predictive, member = _likelihood(model, modality, z, batch)
    seen = batch.observed[modality]
    if predictive.event_shape:
        logs = _pick(predictive.observed(seen).log_prob(batch.values[modality]), member)
        return torch.where(seen.any(-1), logs, torch.nan).numpy()[None]
    logs = _pick(predictive.log_prob(batch.values[modality]), member)
    return torch.where(seen, logs, torch.nan).numpy()[None]


def _in_units(norm: NormativeModel, modality: str, x: Tensor, observed: Tensor, cohort: Cohort) -> NDArray[Any]:
    units = norm.preprocess.to_units(modality, x.numpy(), cohort)
    return np.where(observed.numpy(), units, np.nan).astype(np.float32)


def _plain(cohort: Cohort, name: str) -> NDArray[Any]:
    column = cohort.covariates[name]
    return column.to_numpy(str) if cohort.kinds[name] == "category" else column.to_numpy(float)
