"""Predictive distributions of a person by kind of deviation, and the position of the person in them."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, Self

import numpy as np
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_mmnorm.config import DEVIATION_DEFAULTS
from pyro_mmnorm.core.progress import track
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.distributions.regional import ConditionalZ
from pyro_mmnorm.inference.draws import latent_draws
from pyro_mmnorm.inference.exact import Exact
from pyro_mmnorm.inference.local import local_rounds
from pyro_mmnorm.inference.mixture import Mixture
from pyro_mmnorm.inference.raw_deviations import Predictor, RawDeviations
from pyro_mmnorm.inference.refine import refined
from pyro_mmnorm.models.linear import LinearGaussian
from pyro_mmnorm.models.networks import Network
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["Predictive", "predictor"]

BUDGET_CELLS = 2**20  # draws x members x subjects x regions in memory at once: 8 MiB per array of float64
REFINING = 64  # draws that need as much memory as refining, with its points and their gradients


@dataclass(frozen=True, kw_only=True)
class Predictive:
    r"""The `Predictor` of an `MMVAE`: raw deviations from its predictive distributions, by draws of the latents.

    For person i and region j the predictive distribution is the mixture over draws

    .. math:: F_{ij}(x) = \frac1S \sum_s F(x \mid z_s, c_i), \qquad z^{raw}_{ij} = \Phi^{-1}(F_{ij}(x_{ij}))

    with z_s drawn, for each kind, from

    * `reconstruction`: q(z | X_i, c_i);
    * `cross_modal`: q(z | X_i without the region's own modality, c_i);
    * `normative`: p(z | c_i);
    * `local`: q(z | the cells of X_i that are not flagged, c_i); the most deviant cells are flagged in rounds, see
      `local_rounds`.

    A cell that informed the draws (all of `reconstruction`, and those of `local` that are not flagged) lies too close
    to their mean. Its z is therefore divided by the SD that z has in healthy people (`Mixture.reconstruction_z_sd`),
    and its predictive SD multiplied by it, for each person.

    All computations are in the log domain, so z is finite and monotone far in the tails. Draws are common to all
    people, so results depend neither on the order of people nor on the size of chunks.

    Args:
        model: Trained.
        draws: Draws of z for the conditional kinds.
        normative_draws: Draws of z from the prior, which is wider than a posterior and needs more draws.
        refine: Local steps on each person's posterior (see `refine.refined`).
        seed: Seed of the draws.
        spread: SD of `reconstruction` z of each region in healthy people, [D], so that `local` compares visible and
            flagged cells on one scale. 1 when None.
    """

    model: MMVAE
    draws: int = DEVIATION_DEFAULTS.draws
    normative_draws: int = DEVIATION_DEFAULTS.normative_draws
    refine: int = 0
    seed: int = 0
    spread: Floats | None = None

    def __call__(self, batch: Batch, kind: str) -> RawDeviations:
        """Raw deviations of some people by one of `REGIONAL`; of an ensemble, from the mixture over its members."""
        kinds: dict[str, Callable[[MMVAE, Batch], RawDeviations]] = {
            "reconstruction": self._reconstruction,
            "cross_modal": self._cross_modal,
            "normative": self._normative,
            "local": self._local,
        }
        model = _scoring(self.model)
        draws = self.normative_draws if kind == "normative" else self.draws
        with torch.no_grad(), one_thread():
            parts = track(_chunks(batch, draws * model.members), kind, len(batch))
            return RawDeviations.joined(kinds[kind](model, part) for part in parts)

    def posterior(self, model: MMVAE, batch: Batch) -> TorchDistributionMixin:
        """q(z | visible cells), after `refine` local steps."""
        return refined(model, batch, self.refine, seed=self.seed) if self.refine else model.posterior(batch)

    def posterior_mean(self, batch: Batch) -> Floats:
        """Mean of q(z | X, c), concatenated over members, [n, members * k]."""
        model = _scoring(self.model)
        with torch.no_grad(), one_thread():
            parts = track(_chunks(batch, REFINING * model.members), "latent", len(batch))
            mean = torch.cat([self.posterior(model, part).mean for part in parts], -2)
        table: Floats = (mean.movedim(0, 1).flatten(1) if model.members > 1 else mean).numpy()
        return table

    def quantile(self, batch: Batch, z: Floats, modality: str, regions: Sequence[int]) -> Floats:
        """Values of some regions whose raw z by kind `normative` are `z`, [q, n, r]; see `Predictor.quantile`.

        Their raw z is accurate to 1e-7.
        """
        model, found, done = _scoring(self.model), [], 0
        with torch.no_grad(), one_thread():
            for part in track(_chunks(batch, self.normative_draws * model.members), "centiles", len(batch)):
                mixture = self._mixture(model, modality, self._prior_draws(model, part), part)
                found.append(mixture.quantile(torch.from_numpy(z[:, done : done + len(part)]), regions))
                done += len(part)
        solved: Floats = torch.cat(found, 1).numpy()
        return solved

    def member(self, e: int) -> Self:
        """The predictor of one ensemble member."""
        return replace(self, model=self.model.member(e))

    def _reconstruction(self, model: MMVAE, batch: Batch) -> RawDeviations:
        z = latent_draws(self.posterior(model, batch), self.draws, self.seed)
        parts = [self._scored(model, m, z, batch, given=True) for m in model.likelihoods]
        return _joined([(score / width, loc, scale * width) for score, loc, scale, width in parts])

    def _cross_modal(self, model: MMVAE, batch: Batch) -> RawDeviations:
        parts = []
        for m in model.likelihoods:
            q = self.posterior(model, batch.without(m))
            parts.append(self._scored(model, m, latent_draws(q, self.draws, self.seed), batch)[:3])
        return _joined(parts)

    def _normative(self, model: MMVAE, batch: Batch) -> RawDeviations:
        z = self._prior_draws(model, batch)
        parts = [self._mixture(model, m, z, batch) for m in model.likelihoods]
        at = zip(parts, batch.values.values(), strict=True)
        return _joined([(part.tailed_z(x), part.loc, part.scale) for part, x in at])

    def _prior_draws(self, model: MMVAE, batch: Batch) -> Tensor:
        shape = (model.members, len(batch)) if model.members > 1 else (len(batch),)
        return latent_draws(model.prior_of(batch).expand(shape), self.normative_draws, self.seed)

    def _local(self, model: MMVAE, batch: Batch) -> RawDeviations:
        sizes = [x.shape[-1] for x in batch.values.values()]
        spread = torch.ones(sum(sizes)) if self.spread is None else torch.from_numpy(self.spread)

        def score(rows: Tensor, flagged: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            people, hidden = batch[rows], dict(zip(batch.values, flagged.split(sizes, -1), strict=True))
            draws = latent_draws(self.posterior(model, people.with_hidden(hidden)), self.draws, self.seed)
            parts = [self._scored(model, m, draws, people) for m in model.likelihoods]
            z, loc, scale, width = (torch.cat(x, -1) for x in zip(*parts, strict=True))
            return torch.where(flagged, z, z / width / spread), loc, torch.where(flagged, scale, scale * width)

        found, flagged = local_rounds(score, torch.cat(list(batch.observed.values()), -1))
        return found._replace(flagged=flagged.numpy())

    def _mixture(self, model: MMVAE, m: str, z: Tensor, batch: Batch, *, given: bool = False) -> Mixture:
        """Predictive distribution of a modality; `given`: of each region given the others, for a `ConditionalZ`."""
        predictive = _stated(model.likelihood(m, z, batch), batch.observed[m], given)
        return Mixture(distribution=predictive, members=model.members, seed=self.seed)

    def _scored(
        self, model: MMVAE, m: str, z: Tensor, batch: Batch, *, given: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Raw z, mean and SD of the mixture over draws and members, and `reconstruction_z_sd`, [n, d] each."""
        mixture = self._mixture(model, m, z, batch, given=given)
        return mixture.z(batch.values[m]), mixture.loc, mixture.scale, mixture.reconstruction_z_sd


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]]) -> RawDeviations:
    """Raw deviations from z, mean and SD of each modality, without flags."""
    z, loc, scale = (torch.cat(part, -1).numpy() for part in zip(*parts, strict=True))
    return RawDeviations(z, loc, scale, np.zeros(z.shape, bool))


def _scoring(model: MMVAE) -> MMVAE:
    """A copy in float64, without the perceptrons whose output is zero."""
    copied = copy.deepcopy(model).double().eval()
    for net in copied.modules():
        if isinstance(net, Network):
            net.trim()
    return copied


def _stated(predictive: TorchDistributionMixin, seen: Tensor, given: bool) -> TorchDistributionMixin:
    """A `ConditionalZ` with z given the other observed regions, or with marginal z; any other one unchanged."""
    if isinstance(predictive, ConditionalZ) and predictive.given_others:
        return predictive.observed(seen) if given else predictive.marginal()
    return predictive


def _chunks(batch: Batch, draws: int) -> Iterator[Batch]:
    """The batch in float64, in pieces whose largest array is within the budget."""
    widest = max(x.shape[-1] for x in batch.values.values())
    size = max(1, BUDGET_CELLS // (max(draws, REFINING) * widest))
    return (batch[slice(begin, begin + size)].double() for begin in range(0, len(batch), size))


@singledispatch
def predictor(
    model: Any, *, draws: int, normative_draws: int, refine: int, seed: int, spread: Floats | None
) -> Predictor:
    """The predictive distributions of a trained model: `Predictive`, or what is registered for its class.

    Args:
        model: An `MMVAE`; or a `LinearGaussian`, whose predictor is exact and uses no other argument.
        draws, normative_draws, refine, seed, spread: See `Predictive`.
    """
    return Predictive(
        model=model, draws=draws, normative_draws=normative_draws, refine=refine, seed=seed, spread=spread
    )


@predictor.register
def _(model: LinearGaussian, **_: Any) -> Predictor:
    return Exact(model=model)
