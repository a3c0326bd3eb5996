"""Posterior and predictive draws as an ArviZ DataTree with named dimensions."""

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
    """Draws of prior and posterior, predictive draws, log-likelihood and data of people, for ArviZ.

    Args:
        norm: Draws are taken from its model; calibration is not used.
        cohort: People.
        draws: Draws per person. With ensemble members, draw s belongs to member s modulo their number.
        seed: Seed of the random draws.

    Returns:
        Groups prior, prior_predictive, posterior, posterior_predictive, log_likelihood, observed_data, constant_data;
        dims chain (of length 1), draw, subject, latent and region_<modality>. Regions are in the units of the tables,
        NaN where not observed. Log-likelihoods are of standardised values: per region, or per person for a multivariate
        likelihood (`mvn_lowrank`). With ensemble members, `draw` has a coordinate `member`. Draws of a variational
        posterior are independent, so that R-hat and effective sample size are uninformative.

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
        raise InputError("to_datatree", "a linear baseline", "a norm of an MMVAE", todo)
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
        "constant_data": {name: _covariate(cohort, name) for name in cohort.kinds},
    }
    tree = _with_names(norm, cohort, {name: content for name, content in groups.items() if content})
    return _with_members(tree, np.arange(draws) % model.members) if model.members > 1 else tree


def per_region(dt: xr.DataTree, modality: str | None = None) -> xr.DataTree:
    """The tree with one variable per region, `<modality>.<region>`, for plots that need variables of one dimension.

    Args:
        dt: Result of `to_datatree`.
        modality: Keep only its regions; None: those of all modalities.

    Returns:
        The same groups. In prior_predictive, posterior_predictive, log_likelihood and observed_data the variables have
        dims (chain, draw, subject) or (subject); other groups are unchanged.

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
        {name: _split_regions(part, chosen) if name in REGIONAL else part for name, part in parts.items()}
    )


def _split_regions(part: xr.Dataset, modalities: list[str]) -> xr.Dataset:
    """The variables of these modalities, one per region."""
    variables = {}
    for m in modalities:
        along = f"region_{m}"
        if along not in part[m].dims:
            variables[m] = part[m]
            continue
        for region in part[along].to_numpy():
            variables[f"{m}.{region}"] = part[m].sel({along: region}, drop=True)
    return xr.Dataset(variables)


def _with_names(norm: NormativeModel, cohort: Cohort, groups: dict[str, dict[str, NDArray[Any]]]) -> xr.DataTree:
    """The arrays as a tree with names of people, regions and latents."""
    coords = {"subject": cohort.ids.astype(str).tolist(), "latent": list(range(len(groups["posterior"]["z"][0, 0, 0])))}
    dims = {"z": ["subject", "latent"]} | {name: ["subject"] for name in cohort.kinds}
    for m, regions in norm.preprocess.regions.items():
        coords[f"region_{m}"], dims[m] = list(regions), ["subject", f"region_{m}"]
    # log-likelihoods per person, not per region, are added afterwards
    per_person = {m: x for m, x in groups["log_likelihood"].items() if x.ndim == 3}
    groups["log_likelihood"] = {m: x for m, x in groups["log_likelihood"].items() if m not in per_person}
    tree: xr.DataTree = az.from_dict(groups, coords=coords, dims=dims)
    sample = {dim: tree["posterior"][dim] for dim in ("chain", "draw")}
    added = {m: xr.DataArray(x, {**sample, "subject": coords["subject"]}) for m, x in per_person.items()}
    tree["log_likelihood"] = xr.DataTree(tree["log_likelihood"].to_dataset().assign(added))
    return tree


def _with_members(tree: xr.DataTree, member: NDArray[np.int64]) -> xr.DataTree:
    """The tree with a coordinate `member` along `draw` in every group with draws."""
    for name, node in tree.children.items():
        if "draw" in node.dims:
            tree[name] = xr.DataTree(node.to_dataset().assign_coords(member=("draw", member)))
    return tree


def _prior(model: MMVAE, batch: Batch) -> TorchDistributionMixin:
    """The prior of the latents, expanded to members and people."""
    shape = (model.members, len(batch)) if model.members > 1 else (len(batch),)
    prior: TorchDistributionMixin = model.prior_of(batch).expand(shape)
    return prior


def _draws(model: MMVAE, distribution: TorchDistributionMixin, draws: int, seed: int) -> Tensor:
    """Draws [draws, n, k], draw s from member s modulo their number, independent between people.

    The common set of draws is shuffled for each person. Otherwise all people of a replicated table would share their
    noise, and tables would vary much more between draws than tables of independent people do.
    """
    z = latent_draws(distribution, draws, seed)
    order = torch.rand(draws, z.shape[-2], generator=torch.Generator().manual_seed(seed)).argsort(0)
    z = z.gather(0, order.reshape(draws, *[1] * (z.dim() - 3), -1, 1).expand_as(z))
    if model.members == 1:
        return z
    s = torch.arange(draws)
    return z[s, s % model.members]


def _likelihood(model: MMVAE, modality: str, z: Tensor, batch: Batch) -> tuple[TorchDistributionMixin, Tensor | None]:
    """The likelihood of each draw, and the member of each draw."""
    if model.members == 1:
        return model.likelihood(modality, z, batch), None
    return model.likelihood(modality, z.unsqueeze(1), batch), torch.arange(len(z)) % model.members


def _of_member(x: Tensor, member: Tensor | None) -> Tensor:
    """Each draw from its own member."""
    return x if member is None else x[torch.arange(len(x)), member]


def _replicates(norm: NormativeModel, model: MMVAE, z: Tensor, batch: Batch, cohort: Cohort) -> dict[str, NDArray[Any]]:
    """Replicated tables, modality -> [1, draws, n, d]."""
    replicates = {}
    for m in bar(norm.preprocess.regions, "replicates", unit="modality"):
        predictive, member = _likelihood(model, m, z, batch)
        x = _of_member(predictive.sample(), member)
        replicates[m] = _in_units(norm, m, x, batch.observed[m].expand(x.shape), cohort)[None]
    return replicates


def _log_likelihood(model: MMVAE, modality: str, z: Tensor, batch: Batch) -> NDArray[Any]:
    """Log-likelihood, [1, draws, n, d], NaN where not observed; [1, draws, n] for a multivariate likelihood."""
    predictive, member = _likelihood(model, modality, z, batch)
    seen = batch.observed[modality]
    if predictive.event_shape:
        logs = _of_member(predictive.observed(seen).log_prob(batch.values[modality]), member)
        return torch.where(seen.any(-1), logs, torch.nan).numpy()[None]
    logs = _of_member(predictive.log_prob(batch.values[modality]), member)
    return torch.where(seen, logs, torch.nan).numpy()[None]


def _in_units(norm: NormativeModel, modality: str, x: Tensor, observed: Tensor, cohort: Cohort) -> NDArray[Any]:
    """Values in the units of the tables, NaN where not observed."""
    units = norm.preprocess.to_units(modality, x.numpy(), cohort)
    return np.where(observed.numpy(), units, np.nan).astype(np.float32)


def _covariate(cohort: Cohort, name: str) -> NDArray[Any]:
    """A covariate as text or numbers."""
    column = cohort.covariates[name]
    return column.to_numpy(str) if cohort.kinds[name] == "category" else column.to_numpy(float)
