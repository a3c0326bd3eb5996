"""Initial weights of training: factor analysis, the optimum of linear models, or random weights."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.models.fusion import GeneralisedPoE, moe
from pyro_mmnorm.models.likelihoods import LinearStart
from pyro_mmnorm.models.networks import Network
from pyro_mmnorm.models.vae import MMVAE
from pyro_mmnorm.stats.factor_analysis import FactorAnalysis, shrunk_covariance
from pyro_mmnorm.stats.regression import ShrunkRegression

__all__ = ["Start", "initialisations", "start_linear", "started"]

type Start = Literal["linear", "nonlinear", "random"]
"""Factor analysis; random perceptrons and frozen linear paths; or as the model was built."""

LEAST_PRECISION = 1e-3  # of an expert for a latent without loadings on its modality
ENOUGH_ROWS = 20_000  # of more people, every second, third, ... is used


def initialisations(model: MMVAE, wanted: Start | Literal["best"], *, validation: bool) -> tuple[Start, ...]:
    """The initialisations to train from, in order; `best` is two, given validation people and both kinds of paths."""
    nets = _networks(model)
    if wanted != "best":
        return (wanted,)
    if any(net.skip is None for net in nets):
        return ("random",)
    return ("linear", "nonlinear") if validation and all(net.last is not None for net in nets) else ("linear",)


@contextlib.contextmanager
def started(model: MMVAE, start: Start, batch: Batch, rows: Tensor) -> Iterator[None]:
    """Initialise a model that was just built.

    Args:
        model: Changed in place.
        start: `linear`, see `start_linear`; `random`: as it was built; `nonlinear`: random perceptrons, with the linear
            paths frozen inside this context, which reaches a better optimum on strongly nonlinear data.
        batch, rows: See `start_linear`.
    """
    nets = _networks(model) if start == "nonlinear" else []
    if start == "linear":
        start_linear(model, batch, rows)
    for net in nets:
        net.freeze_skip()
    try:
        yield
    finally:
        for net in nets:
            net.unfreeze_skip()


def _networks(model: MMVAE) -> list[Network]:
    """The networks of encoders and decoders."""
    return [net for part in (model.encoders, model.likelihoods) for net in part.modules() if isinstance(net, Network)]


@torch.no_grad()
def start_linear(model: MMVAE, batch: Batch, rows: Tensor, members: Sequence[int] | None = None) -> None:
    r"""Set the skip paths of a model's networks to the factor analysis of its training controls, in place.

    With x = B c + W z + noise of variance psi and :math:`W \psi^{-1} W^\top` diagonal, the posterior of z given
    all cells is exactly the product of the experts

    .. math::
        \sigma_m^{-2} = \sum_{j \in m} w_j^2 / \psi_j, \qquad
        \mu_m = \sigma_m^2 \sum_{j \in m} w_j (x_j - B_j c) / \psi_j

    and the decoder's skip path is (W, B). The perceptrons are initialised at zero, so training begins at this optimum
    of the linear model and learns nonlinear effects. Covariate effects are shrunk (`ShrunkRegression`), and so are the
    correlations (`shrunk_covariance`). Private latents are the factors of a modality's residuals given the shared ones.
    Experts of `gpoe` are M times as precise, so that the posterior of a complete person is unchanged; those of `moe`
    are posteriors by themselves.

    Args:
        model: With networks that have skip paths. A likelihood that is no `LinearStart` keeps its initial values.
        batch: The training cohort in model units.
        rows: Training rows of each member, [members, n].
        members: The members to initialise; all when None.

    Raises:
        InputError: For networks without skip paths.
    """
    groups = model.preprocess.groups if model.preprocess else {}
    for e in range(len(rows)) if members is None else members:
        data = batch[rows[e][:: len(rows[e]) // ENOUGH_ROWS + 1]]
        c, x = data.covariates.double().numpy(), _cells(model, data)
        covariates = ShrunkRegression.fit(c, x, groups)
        residual_covariance = shrunk_covariance(x - covariates.predict(c)[0])
        _start_member(model, residual_covariance, covariates.coef, e)


def _cells(model: MMVAE, batch: Batch) -> Floats:
    """Values of all modalities, concatenated; NaN in unobserved cells."""
    parts = [torch.where(batch.observed[m], batch.values[m], torch.nan) for m in model.likelihoods]
    cells: Floats = torch.cat(parts, 1).double().numpy()
    return cells


def _start_member(model: MMVAE, covariance: Floats, effects: Floats, e: int) -> None:
    """Initialise member e from the residual covariance [D, D] and the covariate effects [1 + c, D]."""
    k, p = model.shared_dim, model.private_dim
    shared = FactorAnalysis.of_covariance(covariance, k) if k else None
    loadings: dict[str, Floats] = {}
    noise: dict[str, Floats] = {}
    columns, begin = {}, 0
    for m, d in (model.preprocess.sizes if model.preprocess else {}).items():
        own = columns[m] = slice(begin, begin := begin + d)
        w = shared.loadings[:, own] if shared else np.zeros((0, d))
        noise[m] = shared.noise[own] if shared else np.diag(covariance)[own]
        if p:  # factors of what the shared latents do not explain
            private = FactorAnalysis.of_covariance(covariance[own, own] - w.T @ w, p)
            w, noise[m] = np.concatenate([w, private.loadings]), private.noise
        loadings[m] = w
        if isinstance(likelihood := model.likelihoods[m], LinearStart):
            likelihood.start(torch.from_numpy(w), torch.from_numpy(effects[:, own]), torch.from_numpy(noise[m]), e)
    for name, encoder in model.encoders.items():
        seen = model.sees[name]
        w, psi, effect = (
            np.concatenate([part[m] for m in seen], -1)
            for part in (loadings, noise, {m: effects[:, columns[m]] for m in seen})
        )
        _start_encoder(model, encoder, w, psi, effect, e)


def _start_encoder(model: MMVAE, encoder: Any, w: Floats, noise: Floats, effects: Floats, e: int) -> None:
    """Write the expert of a factor model, which is linear in values and covariates, on the skip path of an encoder."""
    # regression of z on the residuals: precision sum w^2 / psi, gain w / psi / precision
    precision = np.maximum((w**2 / noise).sum(1), LEAST_PRECISION)
    gain = (w / noise).T / precision
    # adapted to the fusion rule: powers of gpoe sum to 1; an expert of moe includes the prior
    if isinstance(model.fuse, GeneralisedPoE):
        precision = precision * len(model.encoders)
    elif model.fuse is moe:
        gain, precision = gain * precision / (1 + precision), 1 + precision
    # outputs: location, gain (x - B c), then log scale, constant
    k = len(w)
    weight, bias = np.zeros((len(gain) + len(effects) - 1, 2 * k)), np.zeros(2 * k)
    weight[:, :k] = np.concatenate([gain, -effects[1:] @ gain])
    bias[:k], bias[k:] = -effects[0] @ gain, -0.5 * np.log(precision)
    encoder.net.set_linear(torch.from_numpy(weight), torch.from_numpy(bias), e)
