"""Raw deviations from a linear model, in closed form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.inference.local import local_rounds
from pyro_mmnorm.inference.raw_deviations import RawDeviations
from pyro_mmnorm.models.linear import LinearGaussian

__all__ = ["Exact"]

type Normals = tuple[Tensor, Tensor]
"""Mean and variance of every cell, [n, D] each."""


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The `Predictor` of a `LinearGaussian`: the kinds of `Predictive` in closed form.

    `reconstruction` is given all other observed regions: a normal model can leave the region itself out.

    Args:
        model: Fitted.
    """

    model: LinearGaussian

    def __call__(self, batch: Batch, kind: str) -> RawDeviations:
        """Raw deviations of some people by one of `REGIONAL`."""
        seen, residual = self.model.residuals(batch)
        if kind == "local":
            found, _ = local_rounds(lambda rows, flagged: self._scored(residual[rows], seen[rows] & ~flagged), seen)
        else:
            kinds: dict[str, Callable[[Tensor, Tensor], Normals]] = {
                "reconstruction": self.model.given,
                "cross_modal": self._cross_modal,
                "normative": lambda residual, seen: self.model.given(residual, torch.zeros_like(seen)),
            }
            z, loc, scale = _standardised(residual, *kinds[kind](residual, seen))
            found = RawDeviations(z.numpy(), loc.numpy(), scale.numpy(), np.zeros(seen.shape, bool))
        return found._replace(loc=found.loc + self.model.expected(batch).numpy())

    def posterior_mean(self, batch: Batch) -> Floats:
        """Mean of the factors given all observed cells, [n, k]."""
        mean: Floats = self.model.posterior(batch).mean.double().numpy()
        return mean

    def quantile(self, batch: Batch, z: Floats, modality: str, regions: Sequence[int]) -> Floats:
        """Values of some regions whose raw z by kind `normative` are `z`, [q, n, r]; see `Predictor.quantile`."""
        sizes = self.model.preprocess.sizes
        before = list(sizes).index(modality)
        columns = sum(list(sizes.values())[:before]) + np.asarray(regions)
        found = self(batch, "normative")
        return found.loc[:, columns] + found.scale[:, columns] * z

    def member(self, e: int) -> Self:  # noqa: ARG002
        """The predictor itself: there are no ensembles of linear models."""
        return self

    def _cross_modal(self, residual: Tensor, seen: Tensor) -> Normals:
        sizes = list(self.model.preprocess.sizes.values())
        parts = []
        for i, own in enumerate(torch.arange(seen.shape[1]).split(sizes)):
            others = seen.clone()
            others[:, own] = False
            parts.append([x.split(sizes, 1)[i] for x in self.model.given(residual, others)])
        loc, variance = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        return loc, variance

    def _scored(self, residual: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z, mean and SD of every cell given the other visible cells; z of visible and other cells has SD 1 alike."""
        return _standardised(residual, *self.model.given(residual, visible))


def _standardised(residual: Tensor, loc: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = variance.sqrt()
    return (residual - loc) / scale, loc, scale
