"""What the norm predicts for a person, by five kinds of deviation, and where the person lies in it."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_mmnorm.core.progress import track
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.inference.draws import latent_draws
from pyro_mmnorm.inference.local import ROUNDS, WORST, Scores, reflagged
from pyro_mmnorm.inference.mixture import Mixture
from pyro_mmnorm.inference.refine import refined
from pyro_mmnorm.models.networks import Network
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["Predictive"]


BUDGET_CELLS = 2**20  # draws x members x subjects x regions held at once: 8 MiB an array of float64
REFINING = 64  # draws that hold as much as refining does, with its points and their gradients


@dataclass(frozen=True, kw_only=True)
class Predictive:
    r"""Raw deviations of people from what a trained model predicts for them.

    For person i and region j the predictive distribution is the mixture over draws

    .. math:: F_{ij}(x) = \frac1S \sum_s F(x \mid z_s, c_i), \qquad z^{raw}_{ij} = \Phi^{-1}(F_{ij}(x_{ij}))

    with z_s drawn, for each kind, from

    * `reconstruction`: q(z | X_i, c_i);
    * `cross_modal`: q(z | X_i without the region's own modality, c_i);
    * `normative`: p(z | c_i);
    * `local`: q(z | the cells of X_i that are not flagged, c_i). Cells with \|z\| > 2.8 are flagged, the worst few a
      round; z is inferred again, flagged cells below 2 are let in again, for up to 8 rounds.

    A cell that the draws have seen (`reconstruction`, and what is not flagged of `local`) lies too near to what they
    say; its z, and its SD beside it, are told in units of how much (`Mixture.reconstruction_z_sd`), person by person.

    Everything is computed in the log domain, so z is finite and monotone far out. Draws are common to all people, so
    neither their order nor the chunks they are scored in matter.

    Args:
        model: Trained.
        draws: Draws of z for the conditional kinds.
        normative_draws: Draws of z from the prior; the mixture needs many, for nothing is known of the person.
        refine: Local steps on each person's posterior (see `refine.refined`).
        seed: Of the draws.
        spread: SD of `reconstruction` z of a seen cell among healthy people, [D]: `local` compares cells that
            were seen with cells that were not. 1 when None.
    """

    model: MMVAE
    draws: int = 256
    normative_draws: int = 4096
    refine: int = 0
    seed: int = 0
    spread: Floats | None = None

    def __call__(self, batch: Batch, kind: str) -> Scores:
        """Scores of some people by one of `REGIONAL`; those of an ensemble are of the mixture over its members."""
        model = _scoring(self.model)
        score: Callable[[MMVAE, Batch], Scores] = getattr(self, f"_{kind}")
        draws = self.normative_draws if kind == "normative" else self.draws
        with torch.no_grad(), one_thread():
            parts = track(_chunks(batch, draws * model.members), kind, len(batch))
            return Scores.joined([score(model, part) for part in parts])

    def posterior(self, model: MMVAE, batch: Batch) -> TorchDistributionMixin:
        """q(z | visible cells), refined where asked."""
        return refined(model, batch, self.refine, seed=self.seed) if self.refine else model.posterior(batch)

    def posterior_mean(self, batch: Batch) -> Floats:
        """Mean of q(z | X, c), over members one after the other, [n, members * k]."""
        model = _scoring(self.model)
        with torch.no_grad(), one_thread():
            parts = track(_chunks(batch, REFINING * model.members), "latent", len(batch))
            mean = torch.cat([self.posterior(model, part).mean for part in parts], -2)
        table: Floats = (mean.movedim(0, 1).flatten(1) if model.members > 1 else mean).numpy()
        return table

    def quantile(self, batch: Batch, z: Floats, modality: str, regions: Sequence[int]) -> Floats:
        """Values of some regions of a modality whose raw z by `normative` are `z`, in model units.

        Args:
            batch: The people; nothing but their covariates matters.
            z: Raw z, [q, n, r].
            modality, regions: Which ones; their places within the modality.

        Returns:
            [q, n, r], growing in z; their raw z is right to 1e-7.
        """
        model, found, done = _scoring(self.model), [], 0
        with torch.no_grad(), one_thread():
            for part in track(_chunks(batch, self.normative_draws * model.members), "centiles", len(batch)):
                mixture = self._mixture(model, modality, self._prior_draws(model, part), part)
                found.append(mixture.quantile(torch.from_numpy(z[:, done : done + len(part)]), regions))
                done += len(part)
        solved: Floats = torch.cat(found, 1).numpy()
        return solved

    def _reconstruction(self, model: MMVAE, batch: Batch) -> Scores:
        z = latent_draws(self.posterior(model, batch), self.draws, self.seed)
        parts = [self._scored(model, m, z, batch, given=True) for m in model.likelihoods]
        return self._scores([(score / width, loc, scale * width) for score, loc, scale, width in parts])

    def _cross_modal(self, model: MMVAE, batch: Batch) -> Scores:
        parts = []
        for m in model.likelihoods:
            q = self.posterior(model, batch.without(m))
            parts.append(self._scored(model, m, latent_draws(q, self.draws, self.seed), batch)[:3])
        return self._scores(parts)

    def _normative(self, model: MMVAE, batch: Batch) -> Scores:
        z = self._prior_draws(model, batch)
        parts = [self._mixture(model, m, z, batch) for m in model.likelihoods]
        at = zip(parts, batch.values.values(), strict=True)
        return self._scores([(part.tailed_z(x), part.loc, part.scale) for part, x in at])

    def _prior_draws(self, model: MMVAE, batch: Batch) -> Tensor:
        shape = (model.members, len(batch)) if model.members > 1 else (len(batch),)
        return latent_draws(model.prior_of(batch).expand(shape), self.normative_draws, self.seed)

    def _local(self, model: MMVAE, batch: Batch) -> Scores:
        sizes = [x.shape[-1] for x in batch.values.values()]
        seen = torch.cat(list(batch.observed.values()), -1)
        spread = torch.ones(sum(sizes)) if self.spread is None else torch.from_numpy(self.spread)
        few = max(1, math.ceil(WORST * sum(sizes)))
        flagged = torch.zeros_like(seen)
        z, loc, scale = (torch.full(seen.shape, torch.nan, dtype=torch.float64) for _ in range(3))
        open_ = torch.arange(len(batch))
        for _ in range(ROUNDS + 1):
            part, own = batch[open_], flagged[open_]
            hidden = dict(zip(batch.values, own.split(sizes, -1), strict=True))
            draws = latent_draws(self.posterior(model, part.hiding(hidden)), self.draws, self.seed)
            found = [self._scored(model, m, draws, part) for m in model.likelihoods]
            score, loc[open_], sd, width = (torch.cat(x, -1) for x in zip(*found, strict=True))
            z[open_] = torch.where(own, score, score / width / spread)
            scale[open_] = torch.where(own, sd, sd * width)
            size = torch.where(seen[open_], z[open_].abs(), 0.0)
            new = reflagged(own, size, few)
            changed = (new != own).any(-1)
            flagged[open_], open_ = new, open_[changed]
            if not len(open_):
                break
        return Scores(z.numpy(), loc.numpy(), scale.numpy(), flagged.numpy())

    def _scores(self, parts: list[tuple[Tensor, Tensor, Tensor]]) -> Scores:
        z, loc, scale = (torch.cat(part, -1).numpy() for part in zip(*parts, strict=True))
        return Scores(z, loc, scale, np.zeros(z.shape, bool))

    def _mixture(self, model: MMVAE, m: str, z: Tensor, batch: Batch, *, given: bool = False) -> Mixture:
        """What a modality's regions are like over the draws; `given`: each given the others, where that is known."""
        predictive = _marginal(model.likelihood(m, z, batch), batch.observed[m], given)
        return Mixture(distribution=predictive, members=model.members, seed=self.seed)

    def _scored(
        self, model: MMVAE, m: str, z: Tensor, batch: Batch, *, given: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Raw z, mean and SD of the mixture over draws and members, and the width of z that was seen, [n, d] each."""
        mixture = self._mixture(model, m, z, batch, given=given)
        return mixture.z(batch.values[m]), mixture.loc, mixture.scale, mixture.reconstruction_z_sd


def _scoring(model: MMVAE) -> MMVAE:
    """A copy in float64 that gives the same answers, without what adds nothing to them."""
    copied = copy.deepcopy(model).double().eval()
    for net in copied.modules():
        if isinstance(net, Network):
            net.trim()
    return copied


def _marginal(predictive: TorchDistributionMixin, seen: Tensor, given: bool) -> TorchDistributionMixin:
    """The distribution whose z is asked for: given the other observed regions where that is its way, else marginal."""
    if not getattr(predictive, "given_others", False):
        return predictive
    other: Any = copy.copy(predictive)
    other.given_others = given
    return other.observed(seen) if given else other


def _chunks(batch: Batch, draws: int) -> Iterator[Batch]:
    """The batch in float64, in pieces that keep the widest array within the budget."""
    widest = max(x.shape[-1] for x in batch.values.values())
    size = max(1, BUDGET_CELLS // (max(draws, REFINING) * widest))
    return (batch[slice(begin, begin + size)].double() for begin in range(0, len(batch), size))
