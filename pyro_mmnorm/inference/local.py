"""Raw deviations in model units, and the rounds in which `local` leaves out the most deviant cells."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_mmnorm.core.typing import Floats

__all__ = ["ROUNDS", "WORST", "Scores", "reflagged"]

FLAGGED, READMITTED = 2.8, 2.0


ROUNDS = 8
"""Rounds of `local` after the first."""


WORST = 0.03
"""Share of the regions that may be flagged in one round."""


@dataclass(frozen=True)
class Scores:
    """Raw z, mean and SD of the predictive distribution in model units, and cells left out by `local`; [n, D] each."""

    z: Floats
    loc: Floats
    scale: Floats
    flagged: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: list["Scores"]) -> Self:
        """Several groups of people as one."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in SCORES))


SCORES = ("z", "loc", "scale", "flagged")


def reflagged(flagged: Tensor, size: Tensor, few: int) -> Tensor:
    """Flags after a round: the worst few of those above 2.8 come in, those below 2 go out; at most half of a person."""
    worst = torch.where(flagged, 0.0, size)
    least = worst.topk(min(few, worst.shape[-1]), -1).values[..., -1:]
    new = (worst > FLAGGED) & (worst >= least)
    kept = (flagged & (size >= READMITTED)) | new
    return torch.where(kept.sum(-1, keepdim=True) <= kept.shape[-1] // 2, kept, flagged)
