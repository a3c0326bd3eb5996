"""The rounds of kind `local`: the most deviant cells of a person are excluded from the prediction of the others."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyro_mmnorm.inference.raw_deviations import RawDeviations

__all__ = ["local_rounds"]

FLAGGED, READMITTED = 2.8, 2.0  # |z| above which a cell is flagged, and below which it is admitted again
ROUNDS = 8  # after the first
WORST = 0.03  # share of the regions that may be flagged in one round

type Score = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(rows [r], flagged cells of these people [r, D]) -> z, loc and scale given their other cells, [r, D] each."""


def local_rounds(score: Score, seen: Tensor) -> tuple[RawDeviations, Tensor]:
    """Score people, flag their most deviant cells, and repeat without the flagged cells until no flag changes.

    In each round the most deviant 3 % of the regions of a person are flagged if abs(z) > 2.8, and flagged cells with
    abs(z) < 2 are admitted again. At most half of the regions are flagged. There are at most 8 rounds after the first.

    Args:
        score: Raw deviations of some people given their cells that are not flagged.
        seen: Observed cells, [n, D].

    Returns:
        The raw deviations, with the flags they were computed with; and the flags after the last round, [n, D]. The two
        differ only in people whose flags still changed in the last round.
    """
    most = max(1, math.ceil(WORST * seen.shape[1]))
    z, loc, scale = (torch.full(seen.shape, torch.nan, dtype=torch.float64) for _ in range(3))
    used, flagged, rows = torch.zeros_like(seen), torch.zeros_like(seen), torch.arange(len(seen))
    for _ in range(ROUNDS + 1):
        used[rows] = own = flagged[rows]
        z[rows], loc[rows], scale[rows] = score(rows, own)
        new = _reflagged(own, torch.where(seen[rows], z[rows].abs(), 0.0), most)
        flagged[rows] = new
        rows = rows[(new != own).any(-1)]  # only these people are scored again
        if not len(rows):
            break
    return RawDeviations(z.numpy(), loc.numpy(), scale.numpy(), used.numpy()), flagged


def _reflagged(flagged: Tensor, deviation: Tensor, most: int) -> Tensor:
    """Flags after a round, from the flags before it and abs(z); unchanged where more than half would be flagged."""
    unflagged = torch.where(flagged, 0.0, deviation)
    least = unflagged.topk(min(most, unflagged.shape[-1]), -1).values[..., -1:]
    new = (unflagged > FLAGGED) & (unflagged >= least)
    kept = (flagged & (deviation >= READMITTED)) | new
    return torch.where(kept.sum(-1, keepdim=True) <= kept.shape[-1] // 2, kept, flagged)
