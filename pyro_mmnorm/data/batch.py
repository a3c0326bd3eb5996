"""Batch: subjects in model units, the input of networks and likelihoods."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_mmnorm.core.errors import InputError

__all__ = ["Batch"]

CELLS = ("values", "observed", "hidden")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Subjects in model units (standardised on training controls).

    Args:
        values: modality -> [n, d], 0 where not observed.
        observed: modality -> [n, d] bool.
        covariates: [n, c], encoded.
        index: [n], rows in the cohort that the batch was taken from.
        hidden: modality -> [n, d] bool, observed cells that are masked from the encoders but scored; no cell of a
            modality that is not named.
    """

    values: Mapping[str, Tensor]
    observed: Mapping[str, Tensor]
    covariates: Tensor
    index: Tensor
    hidden: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, x in self.values.items():
            if not torch.isfinite(x).all():
                got, todo = f"{int((~torch.isfinite(x)).sum())} non-finite cells", "set them to 0 and not observed"
                raise InputError(f"modality {name!r}", got, "finite values", todo)

    @classmethod
    def from_arrays(
        cls, values: Mapping[str, NDArray[Any]], observed: Mapping[str, NDArray[np.bool_]], covariates: NDArray[Any]
    ) -> Self:
        """A batch from numpy arrays, in float32.

        Args:
            values, observed, covariates: See the class.
        """

        def tensor(x: NDArray[Any]) -> Tensor:
            return torch.from_numpy(x.astype(np.float32))

        return cls(
            values={m: tensor(x) for m, x in values.items()},
            observed={m: torch.from_numpy(x) for m, x in observed.items()},
            covariates=tensor(covariates),
            index=torch.arange(len(covariates)),
        )

    def __len__(self) -> int:
        return self.covariates.shape[-2]

    def visible(self, modality: str) -> Tensor:
        """Cells that are input of the encoders: observed and not hidden, [n, d] bool."""
        seen = self.observed[modality]
        return seen & ~self.hidden[modality] if modality in self.hidden else seen

    def with_hidden(self, hidden: Mapping[str, Tensor]) -> "Batch":
        """The same subjects with these cells, and no others, masked from the encoders."""
        return self.replace_unchecked(hidden=hidden)

    def without(self, *modalities: str) -> "Batch":
        """The same subjects with no cell of these modalities observed."""
        gone = {m: torch.zeros_like(self.observed[m]) for m in modalities}
        return self.with_observed({**self.observed, **gone})

    def with_observed(self, observed: Mapping[str, Tensor]) -> "Batch":
        """The same subjects with only these cells observed, which must be a subset of the observed cells."""
        return self.replace_unchecked(observed=observed)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with `change` applied to every tensor."""
        parts = {name: {m: change(x) for m, x in getattr(self, name).items()} for name in CELLS}
        return self.replace_unchecked(**parts, covariates=change(self.covariates), index=change(self.index))

    def replace_unchecked(self, **parts: Any) -> "Batch":
        """The batch with other parts, without a check of their values: a training step makes many batches."""
        new = object.__new__(Batch)
        new.__dict__.update({**self.__dict__, **parts})
        return new

    def __getitem__(self, rows: Tensor | slice) -> "Batch":
        """The subjects at `rows`, [b], or [members, b] for a batch per ensemble member."""
        return self.map(lambda x: x[rows])

    def to(self, device: torch.device | str) -> "Batch":
        """The same subjects on another device."""
        return self.map(lambda x: x.to(device))

    def double(self) -> "Batch":
        """The same subjects in float64."""
        return self.map(lambda x: x.double() if x.is_floating_point() else x)
