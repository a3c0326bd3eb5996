"""Builds the parts of a model, given by name or as callables, to the shape of the data."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np

from pyro_mmnorm.config import MODEL_DEFAULTS, ModelConfig, checked
from pyro_mmnorm.core.errors import InputError, check_known, hint
from pyro_mmnorm.data.preprocess import Preprocess
from pyro_mmnorm.models.fusion import FUSIONS, Fusion
from pyro_mmnorm.models.likelihoods import LIKELIHOODS, Likelihood, LocationScale
from pyro_mmnorm.models.networks import Encoder, Network
from pyro_mmnorm.models.priors import PRIORS, Prior, PseudoInputs, VampPrior

__all__ = ["ModelOptions", "Weight", "check_options", "lists_options", "model_parts", "option_record", "with_defaults"]

type Named = str | Mapping[str, Any]
"""A name, or {name: ..., option: ...}."""
type Weight = float | Sequence[float]
"""One weight of at least 0, or one per ensemble member."""

PARTS: dict[str, Mapping[str, Any]] = {"fusion": FUSIONS, "likelihood": LIKELIHOODS, "prior": PRIORS}
"""Option -> the parts that have a name."""


class ModelOptions(TypedDict, total=False):
    """Options of `MMVAE.for_cohort` and `MMVAE.build`, described there; their defaults are those of `ModelConfig`."""

    fusion: Named | type[Fusion] | Fusion
    likelihood: Named | type[Likelihood] | Likelihood | Mapping[str, Named | type[Likelihood] | Likelihood]
    prior: Named | type[Prior] | Prior
    latent_dim: int
    private_dim: int
    experts: Literal["modalities", "joint"]
    hidden: Sequence[int]
    skip: bool
    activation: Literal["silu", "relu"]
    beta: Weight
    members: int
    modality_weights: Mapping[str, Weight]


def lists_options[F: Callable[..., Any]](function: F) -> F:
    """Let `help` and the completion of notebooks list every option of `ModelOptions` with its default.

    Editors that read types know them from `Unpack[ModelOptions]`; what is run reads `inspect.signature`.

    Args:
        function: A function with `**options: Unpack[ModelOptions]`.
    """
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(MODEL_DEFAULTS, name), annotation=kind)
        for name, kind in ModelOptions.__annotations__.items()
    ]
    vars(function)["__signature__"] = signature.replace(parameters=[*own, *options])
    return function


def check_options(options: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Refuse keywords that a function with `ModelOptions` does not have.

    Args:
        options: The keywords that are no parameters of the function.
        function: A function that `lists_options`.

    Raises:
        InputError: With the most similar keyword.
    """
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        check_known(f"MMVAE.{function.__name__}", name, known)


def with_defaults(options: ModelOptions) -> ModelOptions:
    """All options, checked by `ModelConfig` (parts are checked where they are built), with its defaults.

    Raises:
        InputError: For a value of the wrong type or out of range.

    Examples:
        >>> with_defaults({"latent_dim": 4})["fusion"]
        'poe'
    """
    parts = {name: option for name, option in options.items() if name in PARTS}
    others = {name: option for name, option in options.items() if name not in PARTS}
    return checked(ModelConfig, others, "MMVAE").model_dump() | parts  # type: ignore[return-value]


def option_record(options: ModelOptions) -> dict[str, Any]:
    """JSON-able options; a callable becomes {"custom": its name}, and must be passed again on loading.

    Examples:
        >>> option_record({"likelihood": {"pet": "student_t"}, "hidden": (8, 4)})
        {'likelihood': {'pet': 'student_t'}, 'hidden': [8, 4]}
    """
    return {name: _plain(option) for name, option in options.items()}


def model_parts(options: ModelOptions, preprocess: Preprocess, seeds: Sequence[int]) -> dict[str, Any]:
    """The arguments of `MMVAE` for data of this shape.

    Args:
        options: All of them, see `with_defaults`.
        preprocess: Its modalities, regions and covariates.
        seeds: One seed per ensemble member.

    Raises:
        InputError: For unknown names, options or modalities.
    """
    k, p, c, sizes = options["latent_dim"], options["private_dim"], preprocess.width, preprocess.sizes
    sees = {"joint": tuple(sizes)} if options["experts"] == "joint" else {m: (m,) for m in sizes}
    # a different seed for each network; 104729 is a prime, so that they differ for all usual seeds
    own = {m: [s + 104729 * (i + 1) for s in seeds] for i, m in enumerate(sizes)} | {"joint": list(seeds)}

    def network(inputs: int, outputs: int, hidden: Sequence[int], seeds: Sequence[int]) -> Network:
        return Network(inputs, outputs, hidden, seeds, skip=options["skip"], activation=options["activation"])

    encoders = {
        e: Encoder(network(sum(sizes[m] for m in seen) + c, 2 * (k + p), options["hidden"], own[e]))
        for e, seen in sees.items()
    }
    # a class gets a decoder of its own; any other callable is used as it is
    likelihoods = {}
    for m, spec in _by_modality(options["likelihood"], sizes).items():
        chosen, given = _chosen("likelihood", spec, LIKELIHOODS)
        if isinstance(chosen, type):
            outputs, volumes = (chosen.outputs, chosen.positive) if issubclass(chosen, LocationScale) else (1, False)
            net = network(k + p + c, outputs * sizes[m], options["hidden"][::-1], [s + 1 for s in own[m]])
            units = _volume_units(m, preprocess) if volumes else {}
            chosen = _built("likelihood", chosen, (net, sizes[m], len(seeds)), {**units, **given})
        likelihoods[m] = chosen
    return {
        "encoders": encoders,
        "likelihoods": likelihoods,
        "fuse": _fusion(options["fusion"], (len(sees), k, len(seeds))),
        "prior": _prior(options["prior"], k + p * len(sizes), preprocess, seeds),
        "latent_dim": k,
        "private_dim": p,
        "sees": sees,
        "weights": options["modality_weights"],
        "beta": options["beta"],
    }


def _by_modality(likelihood: Any, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The likelihood of each modality, normal where not named."""
    if not isinstance(likelihood, Mapping) or "name" in likelihood:
        return dict.fromkeys(sizes, likelihood)
    if unknown := set(likelihood) - set(sizes):
        raise InputError("model.likelihood", f"{sorted(unknown)}", f"some of {sorted(sizes)}", "correct the names")
    return {m: likelihood.get(m, "normal") for m in sizes}


def _fusion(spec: Any, shape: tuple[int, int, int]) -> Fusion:
    chosen, given = _chosen("fusion", spec, FUSIONS)
    return _built("fusion", chosen, shape, given) if isinstance(spec, str | Mapping | type) else chosen


def _prior(spec: Any, latent_dim: int, preprocess: Preprocess, seeds: Sequence[int]) -> Prior:
    """A prior over all latents, with the seed of the first member where its initial values are random."""
    chosen, given = _chosen("prior", spec, PRIORS)
    if not isinstance(spec, str | Mapping | type):
        return chosen
    sizes, c, members = preprocess.sizes, preprocess.width, len(seeds)
    vamp = isinstance(chosen, type) and issubclass(chosen, VampPrior)
    shape = (PseudoInputs(sizes, c, members, seed=seeds[0]),) if vamp else (latent_dim, c, members)
    seed = {"seed": seeds[0]} if "seed" in inspect.signature(chosen).parameters else {}
    return _built("prior", chosen, shape, {**seed, **given})


def _volume_units(m: str, preprocess: Preprocess) -> dict[str, Any]:
    """Model units as a share of the training mean: volume / mean = 1 + step x."""
    loc, scale = np.array(preprocess.loc[m]), np.array(preprocess.scale[m])
    if not (loc > 0).all():
        got = f"{int((loc <= 0).sum())} regions that are not centred at a positive mean"
        raise InputError(f"model.likelihood.{m}", got, "positive volumes, scaling: standard", "correct one of the two")
    return {"origin": 1.0, "step": scale / loc}


def _chosen(role: str, spec: Any, known: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The part that a name stands for, and its options; a class or another callable stands for itself."""
    if not isinstance(spec, str | Mapping):
        return spec, {}
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", None)
    if name not in known:
        todo = hint(name, known, "use one of these, or pass a callable")
        raise InputError(f"model.{role}", repr(name), f"one of {sorted(known)}", todo)
    return known[name], options


def _built(role: str, part: Any, shape: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """A part of this shape with its options."""
    parameters = list(inspect.signature(part).parameters.values())[len(shape) :]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in options:
            check_known(f"model.{role}", name, [p.name for p in parameters] or ["no options"])
    return part(*shape, **options)


def _plain(option: Any) -> Any:
    if isinstance(option, Mapping):
        return {name: _plain(inner) for name, inner in option.items()}
    if isinstance(option, list | tuple):
        return [_plain(inner) for inner in option]
    if name := next((n for table in PARTS.values() for n, part in table.items() if part is option), None):
        return name
    if callable(option):
        named = isinstance(option, type) or inspect.isroutine(option)
        return {"custom": option.__qualname__ if named else type(option).__qualname__}
    return option
