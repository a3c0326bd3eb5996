"""Draws of any Pyro model and guide as an ArviZ DataTree; ArviZ itself converts those of NumPyro only."""

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
    """Draws of a model and a guide after training with `pyro.infer.SVI`, like ArviZ's `from_numpyro_svi`.

    Keywords and groups are those of `arviz_base.from_numpyro_svi`. An `svi_result` is not needed: Pyro stores learned
    values in modules or in its parameter store, which is read and not changed. After a fit inside a scope of the store,
    call this function inside that scope. Draws of the prior and replicates are computed here unless they are given.
    Plates name the axes of a site. Other axes are called `<site>_dim_<i>`, unless `dims`, or
    `infer={"event_dims": [...]}` of the site, names them.

    Args:
        model: Any Pyro model, called with all its data: no plate may subsample.
        guide: With a value for each latent site of the model; an autoguide is possible.
        *model_args: Arguments of model and guide.
        model_kwargs: Keyword arguments of model and guide.
        prior: site -> draws to be used instead of new ones, as `pyro.infer.Predictive(model, num_samples=S)` returns
            them, of latent and observed sites; `{}` for none.
        posterior_predictive: site -> replicates of the data to be used instead of new ones; `{}` for none.
        predictions: site -> draws for other people than those of `model_args`.
        constant_data: name -> array, such as covariates.
        predictions_constant_data: name -> array, for the people of `predictions`.
        log_likelihood: Whether to compute it.
        coords: dimension -> its labels.
        dims: site (or name of constant data) -> names of its last axes, or of all of them.
        pred_dims: As `dims`, for `predictions` and their constant data, whose people need an axis of another name.
        num_samples: Number of draws from the guide, and from the prior.
        seed: Seed of the random draws; the random state of the caller is not changed.

    Returns:
        Groups prior, prior_predictive, posterior, posterior_predictive, log_likelihood (of each event, unscaled, 0
        where masked), predictions, observed_data, constant_data and predictions_constant_data; dims chain (of length
        1, as ArviZ's plots require), draw and those of the sites.

    Raises:
        InputError: For a latent site that is missing in the guide, a parameter that was not trained, a plate that
            subsamples, or more names than a site has axes.

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
    wanted = _Groups(prior is None, posterior_predictive is None, log_likelihood)
    store = pyro.get_param_store()
    with torch.no_grad(), torch.random.fork_rng(), store.scope(store.get_state()):
        torch.manual_seed(seed)
        known = _model_sites(model, guide, set(store))
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


class _Groups(NamedTuple):
    """Whether prior, replicates and log-likelihood are computed in addition to the posterior."""

    prior: bool
    replicates: bool
    log_likelihood: bool


def _model_sites(model: Program, guide: Program, stored: set[str]) -> Sites:
    """The sites of the model under one draw of the guide, after a check that all parameters were trained.

    A parameter that is added to the store only now was never trained, or was trained in a scope that has been left.
    Parameters of modules keep their values.
    """
    given = _traced(guide)
    replayed = _traced(poutine.replay(model, trace=given))
    nodes: dict[str, Any] = {**given.nodes, **replayed.nodes}
    for name, site in nodes.items():
        initial = site["args"][1:] if site["type"] == "param" else ()  # empty for parameters of PyroModules
        if initial and name not in stored and not isinstance(initial[0], Parameter):
            todo = "train first, and call this within the scope of Pyro's parameter store in which it was trained"
            raise InputError(f"parameter {name!r}", "not in Pyro's parameter store", "its trained value", todo)
    return _sample_sites(replayed)


def _draw(model: Program, guide: Program, wanted: _Groups) -> Drawn:
    """One draw of the guide, and of the prior, with the replicates and log-likelihood that belong to it."""
    given = _traced(guide)
    fitted = _sample_sites(_traced(poutine.replay(model, trace=given)))
    data = {name: site for name, site in fitted.items() if _is_data(site)}
    latent = {name: site for name, site in fitted.items() if name not in data}
    if missing := [name for name, site in latent.items() if not site["is_observed"] and name not in given.nodes]:
        raise InputError("guide", f"no site for {missing}", "each latent site of the model", "sample them in the guide")
    drawn = {"posterior": {name: site["value"] for name, site in latent.items()}}
    if wanted.replicates:
        replicate = _sample_sites(_traced(poutine.replay(poutine.uncondition(model), trace=given)))
        drawn["posterior_predictive"] = {name: replicate[name]["value"] for name in data}
    if wanted.prior:
        prior = _sample_sites(_traced(poutine.uncondition(model)))
        drawn["prior"] = {name: prior[name]["value"] for name in latent}
        drawn["prior_predictive"] = {name: prior[name]["value"] for name in data}
    if wanted.log_likelihood:
        drawn["log_likelihood"] = {
            name: scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"]) for name, site in data.items()
        }
    return drawn


def _traced(program: Program) -> poutine.Trace:
    """The trace of one run; plates must not subsample, because draws of different people could not be separated."""
    trace = poutine.trace(program).get_trace()
    nodes: dict[str, Any] = dict(trace.nodes)
    for name, site in nodes.items():
        if site["type"] == "sample" and poutine.util.site_is_subsample(site) and len(site["value"]) < site["fn"].size:
            got = f"{len(site['value'])} of {site['fn'].size} rows drawn"
            raise InputError(f"plate {name!r}", got, "all of them", "call model and guide with the whole data")
    return trace


def _sample_sites(trace: poutine.Trace) -> Sites:
    """The sample sites of one run, without those that draw the indices of a plate."""
    nodes = trace.nodes.items()
    return {n: s for n, s in nodes if s["type"] == "sample" and not poutine.util.site_is_subsample(s)}


def _is_data(site: Any) -> bool:
    """Whether a site holds observed data."""
    return bool(site["is_observed"]) and not site["infer"].get("_deterministic")


def _axes(known: Sites, given: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """Names of the axes of each site: names of its plates, then numbers; `given` names the last axes."""
    axes = {name: list(names) for name, names in (given or {}).items()}
    for name, site in known.items():
        batch, ndim = len(site["fn"].batch_shape), site["value"].dim()
        last = axes.get(name, list(site["infer"].get("event_dims", ())))
        if len(last) > ndim:
            raise InputError(f"dims[{name!r}]", f"{last}", f"at most {ndim} names", "leave some out")
        plates = {batch + frame.dim: frame.name for frame in site["cond_indep_stack"] if frame.vectorized}
        default = [plates.get(axis, f"{name}_dim_{axis - len(plates)}") for axis in range(ndim)]
        axes[name] = [*default[: ndim - len(last)], *last]
    return axes


def _draws(x: Any, site: Any) -> NDArray[Any]:
    """Draws with a chain axis first, and without the axes of length 1 that a vectorised `Predictive` inserts."""
    draws = _array(x)
    extra = 0 if site is None else draws.ndim - 1 - site["value"].dim()
    return draws.squeeze(tuple(range(1, 1 + extra)))[None] if extra > 0 else draws[None]


def _array(x: Any) -> NDArray[Any]:
    """A tensor or an array as a numpy array."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
