"""Weights of a model's sites: one for everybody, or one an ensemble member."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from pyro import poutine
from torch import Tensor

from pyro_mmnorm.errors import InputError

__all__ = ["Weight", "of_member", "per_member", "weighed"]

type Weight = float | Sequence[float]
"""One weight from 0 on, or one a member."""


def per_member(where: str, weight: Weight, members: int) -> float | Tensor:
    """One weight for all members, or one each as [members, 1]."""
    each = [float(w) for w in weight] if isinstance(weight, Sequence) else [float(weight)]
    if len(each) not in ({1} if not isinstance(weight, Sequence) else {members}) or min(each) < 0:
        raise InputError(where, repr(weight), f"a number from 0 on, or {members} of them", "give one, or one a member")
    return each[0] if len(each) == 1 else torch.tensor(each).unsqueeze(-1)


def of_member(weight: float | Tensor, e: int) -> float | Tensor:
    """That of member e, of those of `per_member`."""
    return float(weight[e]) if isinstance(weight, Tensor) else weight


def weighed(weight: float | Tensor) -> ExitStack:
    """`poutine.scale`, which refuses 0: where the weight is 0 the site is masked."""
    stack = ExitStack()
    if isinstance(weight, Tensor):
        if not (weight > 0).all():
            stack.enter_context(poutine.mask(mask=weight > 0))  # type: ignore[call-overload]
        stack.enter_context(poutine.scale(scale=torch.where(weight > 0, weight, 1.0)))
    elif weight != 1:  # a scale of 1 would only cost time
        stack.enter_context(poutine.scale(scale=weight) if weight else poutine.mask(mask=False))
    return stack
