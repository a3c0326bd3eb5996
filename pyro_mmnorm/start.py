"""The linear start: networks set to factor analysis, so that training begins where linear methods end."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_mmnorm.baselines import FactorAnalysis, shrunk_covariance
from pyro_mmnorm.cohort import Batch
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.nets import Network
from pyro_mmnorm.regression import ShrunkRegression
from pyro_mmnorm.vae import MMVAE

__all__ = ["start_linear"]

type Floats = NDArray[np.float64]

LEAST_PRECISION = 1e-3


@torch.no_grad()
def start_linear(model: MMVAE, batch: Batch, rows: Tensor) -> None:
    r"""Set the skip paths of a model's networks to the factor analysis of its training controls, in place.

    With x = B c + W z + noise of variance psi and :math:`W \psi^{-1} W^\top` diagonal, the posterior of z given
    everything is exactly the product of the experts

    .. math::
        \sigma_m^{-2} = \sum_{j \in m} w_j^2 / \psi_j, \qquad
        \mu_m = \sigma_m^2 \sum_{j \in m} w_j (x_j - B_j c) / \psi_j

    and the likelihood's network has the skip path (W, B). The perceptrons start at zero, so training begins at this
    optimum of the linear model and learns what is not linear. Covariate effects are shrunk (`ShrunkRegression`), and so
    are the correlations (`shrunk_covariance`). A likelihood without `start` is left as it is.

    Args:
        model: With `Network` parts.
        batch: The training cohort in model units.
        rows: Training rows of each member, [members, n].
    """
    nets = [part.net for part in model.encoders.values()]
    if model.preprocess is None or not all(isinstance(net, Network) for net in nets):
        raise InputError(
            "train.start", "networks without a skip path", "networks of MMVAE.for_cohort", "use start: random"
        )
    for e, own in enumerate(rows):
        _start_member(model, model.preprocess.groups, batch[own], e)


def _start_member(model: MMVAE, groups: Mapping[str, slice], batch: Batch, e: int) -> None:
    c = batch.covariates.double().numpy()
    parts = [torch.where(batch.observed[m], batch.values[m], torch.nan).double().numpy() for m in model.encoders]
    x = np.concatenate(parts, 1)
    covariates = ShrunkRegression.fit(c, x, groups)
    fit = FactorAnalysis.of_covariance(shrunk_covariance(x - covariates.predict(c)[0]), model.latent_dim)
    begin = 0
    for m, part in zip(model.encoders, parts, strict=True):
        columns = slice(begin, begin := begin + part.shape[1])
        w, noise, effect = fit.loadings[:, columns], fit.noise[columns], covariates.coef[:, columns]
        likelihood: Any = model.likelihoods[m]
        if hasattr(likelihood, "start"):
            likelihood.start(*(torch.from_numpy(np.ascontiguousarray(part)) for part in (w, effect, noise)), e)
        _set_encoder(model.encoders[m], w, noise, effect, e)


def _set_encoder(encoder: Any, w: Floats, noise: Floats, effect: Floats, e: int) -> None:
    k, d = w.shape
    precision = np.maximum((w**2 / noise).sum(1), LEAST_PRECISION)
    gain = (w / noise).T / precision
    weight = np.zeros((d + len(effect) - 1, 2 * k))
    weight[:, :k] = np.concatenate([gain, -effect[1:] @ gain])
    bias = np.concatenate([-effect[0] @ gain, -0.5 * np.log(precision)])
    encoder.net.set_linear(torch.from_numpy(weight), torch.from_numpy(bias), e)
