"""The parts of a model by name: fusion, likelihoods, prior and networks, built to the size of the data."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.preprocess import Preprocess
from pyro_mmnorm.models.fusion import FUSIONS, Fusion
from pyro_mmnorm.models.likelihoods import LIKELIHOODS, Likelihood
from pyro_mmnorm.models.networks import Encoder, Network
from pyro_mmnorm.models.priors import PRIORS, Prior, PseudoInputs

__all__ = ["ModelParts"]

type Named = str | Mapping[str, Any]
"""A name, or {name: ..., option: ...}."""


@dataclass(frozen=True, kw_only=True)
class ModelParts:
    """What a model is made of.

    Each of fusion, likelihood and prior is one of

    * a name, such as "student_t", or with options {"name": "mvn_lowrank", "rank": 4};
    * a class, built as the named ones are (see FUSIONS, LIKELIHOODS, PRIORS);
    * any other callable, used as it is.

    Args:
        fusion: Experts in, posterior out.
        likelihood: One for every modality, or modality -> likelihood (`normal` where not named).
        prior: Of all latents, shared and private.
        latent_dim: Shared latents.
        private_dim: Private latents of each modality; latent_dim 0 with private ones gives unimodal models.
        experts: `modalities`: one expert each; `joint`: one that sees all features side by side.
        hidden: Widths of the encoders' hidden layers; decoders have them the other way round.
        skip: Linear path beside each perceptron.
        activation: Of the hidden layers.
        beta: Weight of the KL term, or one a member.
        modality_weights: modality -> lambda, or one a member.

    Examples:
        >>> ModelParts(likelihood={"pet": "student_t"}).record()["likelihood"]
        {'pet': 'student_t'}
    """

    fusion: Named | Fusion = "poe"
    likelihood: Named | Likelihood | Mapping[str, Named | Likelihood] = "normal"
    prior: Named | Prior = "normal"
    latent_dim: int = 16
    private_dim: int = 0
    experts: Literal["modalities", "joint"] = "modalities"
    hidden: Sequence[int] = (64, 32)
    skip: bool = True
    activation: Literal["silu", "relu"] = "silu"
    beta: float | Sequence[float] = 1.0
    modality_weights: Mapping[str, float | Sequence[float]] = field(default_factory=dict)

    def modules(self, preprocess: Preprocess, seeds: Sequence[int]) -> dict[str, Any]:
        """The arguments of `MMVAE` for data of this shape; one seed a member."""
        if self.latent_dim + self.private_dim < 1:
            raise InputError("model.latent_dim", "0 latents", "at least 1, shared or private", "raise latent_dim")
        sizes, c, k, p = preprocess.sizes, preprocess.width, self.latent_dim, self.private_dim
        joint = self.experts == "joint"
        sees = {"joint": tuple(sizes)} if joint else {m: (m,) for m in sizes}
        if unknown := set(self._by_modality()) - set(sizes):
            raise InputError("model.likelihood", f"{sorted(unknown)}", f"some of {sorted(sizes)}", "mend the names")
        own = {m: [s + 104729 * (i + 1) for s in seeds] for i, m in enumerate(sizes)} | {"joint": list(seeds)}
        encoders = {
            e: Encoder(self._network(sum(sizes[m] for m in seen) + c, 2 * (k + p), self.hidden, own[e]))
            for e, seen in sees.items()
        }
        likelihoods = {m: self._likelihood(m, preprocess, [s + 1 for s in own[m]]) for m in sizes}
        total, members = k + p * len(sizes), len(seeds)
        pseudo = self.prior == "vamp" or (isinstance(self.prior, Mapping) and self.prior.get("name") == "vamp")
        prior = (PseudoInputs(sizes, c, members, seed=seeds[0]),) if pseudo else (total, c, members)
        return {
            "encoders": encoders,
            "likelihoods": likelihoods,
            "fuse": _made("fusion", self.fusion, FUSIONS, len(sees), k, members),
            "prior": _made("prior", self.prior, PRIORS, *prior, seed=seeds[0]),
            "latent_dim": k,
            "private_dim": p,
            "sees": sees,
            "weights": self.modality_weights,
            "beta": self.beta,
        }

    def record(self) -> dict[str, Any]:
        """JSON-able content; a callable becomes {"custom": its name}, and must be given again on loading."""
        return {part.name: _plain(getattr(self, part.name)) for part in fields(self)}

    def _by_modality(self) -> Mapping[str, Any]:
        given = self.likelihood
        return given if isinstance(given, Mapping) and "name" not in given else {}

    def _network(self, inputs: int, outputs: int, hidden: Sequence[int], seeds: Sequence[int]) -> Network:
        return Network(inputs, outputs, hidden, seeds, skip=self.skip, activation=self.activation)

    def _likelihood(self, m: str, preprocess: Preprocess, seeds: Sequence[int]) -> Any:
        each = self._by_modality()
        spec = each.get(m, "normal") if each else self.likelihood
        d = preprocess.sizes[m]
        chosen, options = _chosen("likelihood", spec, LIKELIHOODS)
        if not isinstance(chosen, type):
            return chosen
        outputs = d * getattr(chosen, "outputs", 1)
        inputs = self.latent_dim + self.private_dim + preprocess.width
        if getattr(chosen, "positive", False):
            options = {**_volume_units(m, preprocess), **options}
        return chosen(self._network(inputs, outputs, self.hidden[::-1], seeds), d, len(seeds), **options)


def _volume_units(m: str, preprocess: Preprocess) -> dict[str, Any]:
    """Model units as a share of the training mean: volume / mean = 1 + step x."""
    loc, scale = np.array(preprocess.loc[m]), np.array(preprocess.scale[m])
    if not (loc > 0).all():
        got = f"{int((loc <= 0).sum())} regions that are not centred at a positive mean"
        raise InputError(f"model.likelihood.{m}", got, "positive volumes, scaling: standard", "mend one of the two")
    return {"origin": 1.0, "step": scale / loc}


def _chosen(role: str, spec: Any, known: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What a name (with options) or a callable stands for."""
    if not isinstance(spec, str | Mapping):
        return spec, {}
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", None)
    if name not in known:
        raise InputError(f"model.{role}", repr(name), f"one of {sorted(known)}", "use one of these, or pass a callable")
    return known[name], options


def _made(role: str, spec: Any, known: Mapping[str, Any], *sizes: Any, seed: int | None = None) -> Any:
    """Built with its options, and with the seed of the first member where it draws its first parameters."""
    chosen, options = _chosen(role, spec, known)
    if not isinstance(spec, str | Mapping | type):
        return chosen
    drawn = {"seed": seed} if "seed" in inspect.signature(chosen).parameters else {}
    try:
        return chosen(*sizes, **(drawn | options))
    except TypeError as error:
        raise InputError(f"model.{role}", f"{options}", "options that it knows", f"mend them ({error})") from error


def _plain(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _plain(inner) for name, inner in part.items()}
    if isinstance(part, list | tuple):
        return [_plain(inner) for inner in part]
    if callable(part):
        return {"custom": getattr(part, "__qualname__", type(part).__qualname__)}
    return part
