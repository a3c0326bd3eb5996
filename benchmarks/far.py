"""Raw z far in the tails: correct where the exact z is known, finite and monotone to 30 SD."""

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from benchmarks.calibrated import Norm
from benchmarks.figure import Ask, Found
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.models.vae import MMVAE
from pyro_mmnorm.results.schema import REGIONAL

__all__ = ["right_tail", "tails"]

PEOPLE = 6
AWAY = np.linspace(-30.0, 30.0, 61)


def right_tail(norm: Norm, cohort: Cohort) -> Iterable[Found]:
    """Raw `normative` z of a linear model where its exact z is 5, by its own loadings and noise."""
    model, batch = copy.deepcopy(norm.model).double().eval(), norm.preprocess(cohort[cohort.ids[:PEOPLE]]).double()
    assert isinstance(model, MMVAE)
    with torch.no_grad():
        moments = {m: _moments(model, m, batch) for m in batch.values}
        for z in (5.0, -5.0):
            there = batch.replace_unchecked(values={m: loc + z * sd for m, (loc, sd) in moments.items()})
            off = np.abs(norm.predictive(there, "normative").z - z).max()
            yield Found(f"right tail: normative raw z at exact z = {z:g}, largest error", float(off), Ask(high=0.15))


def _moments(model: MMVAE, m: str, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean and SD of every region of a linear model given the covariates."""
    k = model.latent_dim + model.private_dim * len(batch.values)
    corners = torch.cat([torch.zeros(1, k), torch.eye(k)]).double()[:, None].expand(-1, len(batch), -1)
    at = model.likelihood(m, corners, batch)
    loc = at.mean[0]
    return loc, ((at.mean[1:] - loc).square().sum(0) + at.variance[0]).sqrt()


def tails(norm: Norm, cohort: Cohort) -> Iterable[Found]:
    """One region of a person from 30 SD below to 30 SD above its expectation: z is finite and increasing."""
    one = norm.preprocess(cohort[cohort.ids[:1]])
    for kind in REGIONAL:
        worst, lost = np.inf, 0
        for m, region in (("cortical", 3), ("hippocampal", 5)):
            at = norm.predictive(one, kind)
            place = list(one.values).index(m)
            column = sum(x.shape[-1] for x in list(one.values.values())[:place]) + region
            rows = torch.zeros(len(AWAY), dtype=torch.long)
            values = {name: x[rows].double().clone() for name, x in one.values.items()}
            values[m][:, region] = torch.from_numpy(at.loc[0, column] + AWAY * at.scale[0, column])
            z = norm.predictive(one[rows].replace_unchecked(values=values), kind).z[:, column]
            lost += int((~np.isfinite(z)).sum())
            worst = min(worst, float(np.diff(z).min()))
        yield Found(f"far out, {kind}: raw z that are not finite, to 30 SD", lost, Ask(high=0))
        yield Found(f"far out, {kind}: smallest step of raw z, an SD on", worst, Ask(low=0.0))
