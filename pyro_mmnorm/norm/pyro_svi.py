"""Draws of any Pyro model and guide as an ArviZ DataTree; ArviZ itself reads those of NumPyro only."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import arviz as az
import numpy as np
import pyro
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.nn import Parameter

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.progress import bar

__all__ = ["from_pyro_svi"]

type Program = Callable[..., Any]
type Sites = dict[str, Any]
type Drawn = dict[str, dict[str, Tensor]]


def from_pyro_svi(
    model: Program,
    guide: Program,
    *model_args: Any,
    model_kwargs: Mapping[str, Any] | None = None,
    prior: Mapping[str, Any] | None = None,
    posterior_predictive: Mapping[str, Any] | None = None,
    predictions: Mapping[str, Any] | None = None,
    constant_data: Mapping[str, Any] | None = None,
    predictions_constant_data: Mapping[str, Any] | None = None,
    log_likelihood: bool = True,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    pred_dims: Mapping[str, Sequence[str]] | None = None,
    num_samples: int = 1000,
    seed: int = 0,
) -> xr.DataTree:
    """What a model and a guide say after training with `pyro.infer.SVI`; the sister of ArviZ's `from_numpyro_svi`.

    Keywords and groups are those of `arviz_base.from_numpyro_svi`. It needs no `svi_result`: Pyro keeps what was
    learned in modules or in its parameter store, from which it is read and which stays as it was. A fit inside a scope
    of the store is read inside that scope. What was left to the caller there, draws of the prior and replicates, is
    drawn here. Plates name the axes of a site; what no plate names is called `<site>_dim_<i>`, unless `dims`, or
    `infer={"event_dims": [...]}` of the site, says otherwise.

    Args:
        model: Any Pyro model, called with all its data: no plate may draw a sub-sample.
        guide: With a value for each latent site of the model; an autoguide serves too.
        *model_args: Of model and guide.
        model_kwargs: Of model and guide, by name.
        prior: site -> draws in place of those drawn here, as `pyro.infer.Predictive(model, num_samples=S)` gives them,
            of latent and observed sites; `{}` for none.
        posterior_predictive: The same of replicates of the data.
        predictions: site -> draws for other people than those of `model_args`.
        constant_data: name -> array, such as covariates.
        predictions_constant_data: The same of the people of `predictions`.
        log_likelihood: Whether it is wanted.
        coords: dimension -> its labels.
        dims: site (or name of constant data) -> names of its last axes, or of all of them.
        pred_dims: The same of `predictions` and their constant data: other people want another name of their axis.
        num_samples: Draws of the guide, and of the prior.
        seed: Of the draws; the caller's random state stays as it was.

    Returns:
        Groups prior, prior_predictive, posterior, posterior_predictive, log_likelihood (of each event, unscaled, 0
        where masked), predictions, observed_data, constant_data and predictions_constant_data; dims chain (of length
        1, which ArviZ's plots ask for), draw and those of the sites.

    Raises:
        InputError: For a latent site that the guide does not give, a parameter that was never learned, a plate that
            draws a sub-sample, or more names than a site has axes.

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
    wanted = _Wanted(prior is None, posterior_predictive is None, log_likelihood)
    store = pyro.get_param_store()
    with torch.no_grad(), torch.random.fork_rng(), store.scope(store.get_state()):
        torch.manual_seed(seed)
        known = _known(model, guide, set(store))
        draws = [_draw(model, guide, wanted) for _ in bar(range(num_samples), "draws", unit="draw")]
    drawn = {
        group: {name: torch.stack([draw[group][name] for draw in draws]) for name in content}
        for group, content in draws[0].items()
    }
    given = dict(prior or {})
    latent = {name: given.pop(name) for name in list(given) if name in drawn["posterior"]}
    drawn = {
        "prior": latent, "prior_predictive": given, "posterior_predictive": dict(posterior_predictive or {}),
        "predictions": dict(predictions or {}),
    } | drawn  # fmt: skip
    groups = {group: {name: _draws(x, known.get(name)) for name, x in sites.items()} for group, sites in drawn.items()}
    groups["observed_data"] = {name: _array(site["value"]) for name, site in known.items() if _is_data(site)}
    groups["constant_data"] = {name: _array(x) for name, x in (constant_data or {}).items()}
    groups["predictions_constant_data"] = {n: _array(x) for n, x in (predictions_constant_data or {}).items()}
    tree: xr.DataTree = az.from_dict(
        {group: content for group, content in groups.items() if content},
        coords=coords, pred_coords=coords, dims=_axes(known, dims), pred_dims=_axes(known, pred_dims),
    )  # fmt: skip
    return tree


class _Wanted(NamedTuple):
    """What is drawn beside the posterior."""

    prior: bool
    replicates: bool
    log_likelihood: bool


def _known(model: Program, guide: Program, stored: set[str]) -> Sites:
    """The sites of the model under one draw of the guide, whose parameters have all been learned.

    A parameter of the store that is made only now was never trained, or in a scope that has been left; those of
    modules hold what they learned.
    """
    given = _whole(guide)
    whole = _whole(poutine.replay(model, trace=given))
    nodes: dict[str, Any] = {**given.nodes, **whole.nodes}
    for name, site in nodes.items():
        start = site["args"][1:] if site["type"] == "param" else ()  # of PyroModules: none
        if start and name not in stored and not isinstance(start[0], Parameter):
            todo = "train first, and call this within the scope of Pyro's parameter store that the training was in"
            raise InputError(f"parameter {name!r}", "not in Pyro's parameter store", "what training gave it", todo)
    return _only_sites(whole)


def _draw(model: Program, guide: Program, wanted: _Wanted) -> Drawn:
    """One draw of the guide, and of the prior, with what follows from each."""
    given = _whole(guide)
    fitted = _only_sites(_whole(poutine.replay(model, trace=given)))
    data = {name: site for name, site in fitted.items() if _is_data(site)}
    latent = {name: site for name, site in fitted.items() if name not in data}
    if missing := [name for name, site in latent.items() if not site["is_observed"] and name not in given.nodes]:
        raise InputError("guide", f"no site for {missing}", "each latent site of the model", "sample them in the guide")
    drawn = {"posterior": {name: site["value"] for name, site in latent.items()}}
    if wanted.replicates:
        replicate = _only_sites(_whole(poutine.replay(poutine.uncondition(model), trace=given)))
        drawn["posterior_predictive"] = {name: replicate[name]["value"] for name in data}
    if wanted.prior:
        prior = _only_sites(_whole(poutine.uncondition(model)))
        drawn["prior"] = {name: prior[name]["value"] for name in latent}
        drawn["prior_predictive"] = {name: prior[name]["value"] for name in data}
    if wanted.log_likelihood:
        drawn["log_likelihood"] = {
            name: scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"]) for name, site in data.items()
        }
    return drawn


def _whole(program: Program) -> poutine.Trace:
    """One run, in which no plate drew a sub-sample: draws of different people could not be told apart."""
    trace = poutine.trace(program).get_trace()
    nodes: dict[str, Any] = dict(trace.nodes)
    for name, site in nodes.items():
        if site["type"] == "sample" and poutine.util.site_is_subsample(site) and len(site["value"]) < site["fn"].size:
            got = f"{len(site['value'])} of {site['fn'].size} rows drawn"
            raise InputError(f"plate {name!r}", got, "all of them", "call model and guide with the whole data")
    return trace


def _only_sites(trace: poutine.Trace) -> Sites:
    """The sample sites of one run, without those that only draw the rows of a plate."""
    nodes = trace.nodes.items()
    return {n: s for n, s in nodes if s["type"] == "sample" and not poutine.util.site_is_subsample(s)}


def _is_data(site: Any) -> bool:
    return bool(site["is_observed"]) and not site["infer"].get("_deterministic")


def _axes(known: Sites, given: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """Names of the axes of each site: of its plates, then by number; `given` names the last ones."""
    axes = {name: list(names) for name, names in (given or {}).items()}
    for name, site in known.items():
        batch, ndim = len(site["fn"].batch_shape), site["value"].dim()
        last = axes.get(name, list(site["infer"].get("event_dims", ())))
        if len(last) > ndim:
            raise InputError(f"dims[{name!r}]", f"{last}", f"at most {ndim} names", "leave some out")
        plates = {batch + frame.dim: frame.name for frame in site["cond_indep_stack"] if frame.vectorized}
        found = [plates.get(axis, f"{name}_dim_{axis - len(plates)}") for axis in range(ndim)]
        axes[name] = [*found[: ndim - len(last)], *last]
    return axes


def _draws(x: Any, site: Any) -> NDArray[Any]:
    """Draws with a chain axis before them, without the axes of length 1 that a vectorised `Predictive` puts in."""
    draws = _array(x)
    extra = 0 if site is None else draws.ndim - 1 - site["value"].dim()
    return draws.squeeze(tuple(range(1, 1 + extra)))[None] if extra > 0 else draws[None]


def _array(x: Any) -> NDArray[Any]:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
