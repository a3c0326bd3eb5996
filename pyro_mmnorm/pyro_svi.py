"""Draws of any Pyro model and guide as an ArviZ DataTree; ArviZ itself reads those of NumPyro only."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import arviz as az
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyro_mmnorm.errors import InputError

__all__ = ["from_pyro_svi"]

type Program = Callable[..., Any]
type Sites = dict[str, Any]
type Drawn = dict[str, dict[str, Tensor]]


def from_pyro_svi(
    model: Program,
    guide: Program,
    *model_args: Any,
    model_kwargs: Mapping[str, Any] | None = None,
    constant_data: Mapping[str, Any] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    num_samples: int = 1000,
    seed: int = 0,
) -> xr.DataTree:
    """What a model and a guide say after training with `pyro.infer.SVI`; the sister of ArviZ's `from_numpyro_svi`.

    Plates name the axes of a site. What no plate names is called `<site>_dim_<i>`, unless `dims` says otherwise.

    Args:
        model: Any Pyro model, called with all its data: no plate may draw a sub-sample.
        guide: With a value for each latent site of the model; an autoguide serves too.
        *model_args: Of model and guide.
        model_kwargs: Of model and guide, by name.
        constant_data: name -> array, such as covariates.
        coords: dimension -> its labels.
        dims: site (or name of constant data) -> names of its last axes, or of all of them.
        num_samples: Draws of the guide, and of the prior.
        seed: Of the draws; the caller's random state stays as it was.

    Returns:
        Groups prior, prior_predictive, posterior, posterior_predictive, log_likelihood (of each event, unscaled, 0
        where masked), observed_data and constant_data; dims chain (of length 1), draw and those of the sites.

    Raises:
        InputError: For a latent site that the guide does not give, a plate that draws a sub-sample, or more names than
            a site has axes.

    References:
        Kumar, Carroll, Hartikainen & Martin (2019), ArviZ, https://doi.org/10.21105/joss.01143

    Examples:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("people", len(x)):
        ...         pyro.sample("x", dist.Normal(loc, 1.0), obs=x)
        >>> def guide(x):
        ...     pyro.sample("loc", dist.Normal(x.mean(), 0.1))
        >>> from_pyro_svi(model, guide, torch.zeros(5), num_samples=20)["log_likelihood"]["x"].dims
        ('chain', 'draw', 'people')
    """
    model, guide = (partial(program, *model_args, **(model_kwargs or {})) for program in (model, guide))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        known = _sites(poutine.replay(model, trace=_whole(guide)))
        draws = [_draw(model, guide) for _ in range(num_samples)]
    groups = {
        group: {name: _array(torch.stack([draw[group][name] for draw in draws]))[None] for name in content}
        for group, content in draws[0].items()
    }
    groups["observed_data"] = {name: _array(site["value"]) for name, site in known.items() if _is_data(site)}
    groups["constant_data"] = {name: _array(x) for name, x in (constant_data or {}).items()}
    named = dict(dims or {})
    axes = {name: _axes(name, site, named.pop(name, ())) for name, site in known.items()}
    of_batch = {name: axes[name][: len(site["fn"].batch_shape)] for name, site in known.items()}
    log_likelihood = {"log_likelihood": groups.pop("log_likelihood")}
    tree = _tree(groups, coords, axes | named)
    return xr.DataTree.from_dict({**_datasets(tree), **_datasets(_tree(log_likelihood, coords, of_batch))})


def _draw(model: Program, guide: Program) -> Drawn:
    """One draw of the guide and one of the prior, with what follows from each."""
    given = _whole(guide)
    fitted = _sites(poutine.replay(model, trace=given))
    data = {name: site for name, site in fitted.items() if _is_data(site)}
    latent = {name: site for name, site in fitted.items() if name not in data}
    if missing := [name for name, site in latent.items() if not site["is_observed"] and name not in given.nodes]:
        raise InputError("guide", f"no site for {missing}", "each latent site of the model", "sample them in the guide")
    replicate = _sites(poutine.replay(poutine.uncondition(model), trace=given))
    prior = _sites(poutine.uncondition(model))
    return {
        "prior": {name: prior[name]["value"] for name in latent},
        "prior_predictive": {name: prior[name]["value"] for name in data},
        "posterior": {name: site["value"] for name, site in latent.items()},
        "posterior_predictive": {name: replicate[name]["value"] for name in data},
        "log_likelihood": {
            name: scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"]) for name, site in data.items()
        },
    }


def _whole(program: Program) -> poutine.Trace:
    """One run, in which no plate drew a sub-sample: draws of different people could not be told apart."""
    trace = poutine.trace(program).get_trace()
    nodes: dict[str, Any] = dict(trace.nodes)
    for name, site in nodes.items():
        if site["type"] == "sample" and poutine.util.site_is_subsample(site) and len(site["value"]) < site["fn"].size:
            got = f"{len(site['value'])} of {site['fn'].size} rows drawn"
            raise InputError(f"plate {name!r}", got, "all of them", "call model and guide with the whole data")
    return trace


def _sites(program: Program) -> Sites:
    """The sample sites of one run, without those that only draw the rows of a plate."""
    nodes = _whole(program).nodes.items()
    return {n: s for n, s in nodes if s["type"] == "sample" and not poutine.util.site_is_subsample(s)}


def _is_data(site: Any) -> bool:
    return bool(site["is_observed"]) and not site["infer"].get("_deterministic")


def _axes(name: str, site: Any, given: Sequence[str]) -> list[str]:
    """Names of the axes of a site: of its plates, then by number; `given` names the last ones."""
    batch, ndim = len(site["fn"].batch_shape), site["value"].dim()
    if len(given) > ndim:
        raise InputError(f"dims[{name!r}]", f"{list(given)}", f"at most {ndim} names", "leave some out")
    plates = {batch + frame.dim: frame.name for frame in site["cond_indep_stack"] if frame.vectorized}
    found = [plates.get(axis, f"{name}_dim_{axis - len(plates)}") for axis in range(ndim)]
    return [*found[: ndim - len(given)], *given]


def _array(x: Any) -> NDArray[Any]:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _tree(groups: dict[str, dict[str, NDArray[Any]]], coords: Any, dims: Mapping[str, Sequence[str]]) -> xr.DataTree:
    filled = {group: content for group, content in groups.items() if content}
    tree: xr.DataTree = az.from_dict(filled, coords=coords, dims={name: list(axes) for name, axes in dims.items()})
    return tree


def _datasets(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    return {name: node.to_dataset() for name, node in tree.children.items()}
