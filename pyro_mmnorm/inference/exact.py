"""Raw deviations from a linear model, in closed form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.inference.local import ROUNDS, WORST, Scores, reflagged
from pyro_mmnorm.models.linear import LinearGaussian

__all__ = ["Exact"]


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Raw deviations from what a `LinearGaussian` predicts: the kinds of `Predictive`, in closed form.

    `reconstruction` is given all other observed regions: a normal model needs no draws to leave the region itself out.

    Args:
        model: Fitted.
    """

    model: LinearGaussian

    def __call__(self, batch: Batch, kind: str) -> Scores:
        """Scores of some people by one of `REGIONAL`."""
        score: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] = getattr(self, f"_{kind}")
        seen, residual = self.model.residuals(batch)
        loc, variance, flagged = score(residual, seen)
        scale = variance.sqrt()
        z = (residual - loc) / scale
        return Scores(z.numpy(), (loc + self.model.expected(batch)).numpy(), scale.numpy(), flagged.numpy())

    def posterior_mean(self, batch: Batch) -> NDArray[np.float64]:
        """Of the factors, [n, k]."""
        mean: NDArray[np.float64] = self.model.posterior(batch).mean.double().numpy()
        return mean

    def quantile(
        self, batch: Batch, z: NDArray[np.float64], modality: str, regions: Sequence[int]
    ) -> NDArray[np.float64]:
        """Values of some regions whose raw z by `normative` are `z`, [q, n, r]; see `Predictive.quantile`."""
        begin = 0
        for m, d in self.model.preprocess.sizes.items():
            if m == modality:
                break
            begin += d
        scores, columns = self(batch, "normative"), begin + np.asarray(regions)
        return scores.loc[:, columns] + scores.scale[:, columns] * z

    def _reconstruction(self, residual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return *self.model.given(residual, seen), torch.zeros_like(seen)

    def _normative(self, residual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._reconstruction(residual, torch.zeros_like(seen))

    def _cross_modal(self, residual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = list(self.model.preprocess.sizes.values())
        parts, flagged = [], torch.zeros_like(seen)
        for i, own in enumerate(torch.arange(seen.shape[1]).split(sizes)):
            others = seen.clone()
            others[:, own] = False
            parts.append([x.split(sizes, 1)[i] for x in self.model.given(residual, others)])
        loc, variance = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        return loc, variance, flagged

    def _local(self, residual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rounds of `Predictive`; z of seen and of flagged cells has SD 1 alike."""
        flagged, few = torch.zeros_like(seen), max(1, int(np.ceil(WORST * seen.shape[1])))
        for _ in range(ROUNDS + 1):
            loc, variance = self.model.given(residual, seen & ~flagged)
            size = torch.where(seen, (residual - loc).abs() / variance.sqrt(), 0.0)
            before, flagged = flagged, reflagged(flagged, size, few)
            if not (flagged != before).any():
                break
        return loc, variance, before
