"""MMVAE: prior, posterior, model and guide of the multimodal variational autoencoder."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import pyro
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_mmnorm.cohort import Batch, Cohort
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.fusion import FUSIONS, Fusion
from pyro_mmnorm.likelihoods import LIKELIHOODS
from pyro_mmnorm.nets import Encoder, Network
from pyro_mmnorm.preprocess import Preprocess
from pyro_mmnorm.priors import PRIORS

__all__ = ["MMVAE"]


class MMVAE(nn.Module):
    r"""Multimodal variational autoencoder, as a Pyro model and guide.

    .. math::
        z \sim p(z), \quad x_m \mid z, c \sim p(x_m \mid f_m(z, c)), \quad
        q(z \mid X, c) \propto p(z) \prod_{m\ \mathrm{present}} \tilde q_m(z \mid x_m, c)

        \mathrm{ELBO} = E_q \Big[ \sum_m \lambda_m \log p(x_m \mid z, c) \Big]
            - \beta\, \mathrm{KL}(q(z \mid X, c) \| p(z))

    Args:
        encoders: modality -> module (values [n, d], covariates [n, c]) -> (location, scale), [n, k] each.
        likelihoods: modality -> module (z, covariates) -> distribution with batch shape [..., n, d]; same keys.
        fuse: Experts in, posterior out.
        prior: covariates -> distribution over z.
        weights: modality -> lambda, 1 where not named; 0 leaves the modality's likelihood out.
        beta: Weight of the KL term.
        members: Ensemble members trained side by side; their axis stands left of the subjects' when above 1.
        preprocess: From tables to model units, kept so that the model can score later tables.

    References:
        Wu & Goodman (2018), https://arxiv.org/abs/1802.05335; Kumar, Payne & Sotiras (2021), mmNormVAE,
        https://arxiv.org/abs/2110.04903
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, nn.Module],
        fuse: Fusion,
        prior: nn.Module,
        *,
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
        members: int = 1,
        preprocess: Preprocess | None = None,
    ) -> None:
        super().__init__()
        self.encoders, self.likelihoods = nn.ModuleDict(encoders), nn.ModuleDict(likelihoods)
        self.fuse, self.prior = fuse, prior
        self.weights = dict.fromkeys(likelihoods, 1.0) | dict(weights or {})
        self.beta, self.members, self.preprocess = beta, members, preprocess
        self.record: dict[str, Any] = {}
        if unknown := set(self.weights) - set(likelihoods):
            raise InputError(
                "modality_weights", f"{sorted(unknown)}", f"some of {sorted(likelihoods)}", "mend the names"
            )

    @classmethod
    def for_cohort(cls, cohort: Cohort, *, seed: int = 0, **parts: Any) -> Self:
        """A model whose sizes, names and scaling fit the training controls of `cohort`.

        Args:
            cohort: Its `train` subjects fix the scaling and the covariate basis.
            seed: Of the initial weights; member e is initialised as a lone model of seed + e.
            **parts: As in `build`.

        Examples:
            >>> import pyro_mmnorm as mm
            >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
            >>> mm.MMVAE.for_cohort(cohort, latent_dim=4).latent_dim
            4
        """
        return cls.build(Preprocess.fit(cohort.train), seed=seed, **parts)

    @classmethod
    def build(
        cls,
        preprocess: Preprocess,
        *,
        fusion: str | Fusion = "poe",
        likelihood: str | Mapping[str, str] = "normal",
        prior: str = "normal",
        latent_dim: int = 16,
        hidden: Sequence[int] = (64, 32),
        beta: float = 1.0,
        modality_weights: Mapping[str, float] | None = None,
        members: int = 1,
        seed: int = 0,
    ) -> Self:
        """A model from named parts; `to_record` gives the same arguments back."""
        seeds, k = range(seed, seed + members), latent_dim
        encoders, likelihoods = {}, {}
        for i, (m, regions) in enumerate(preprocess.regions.items()):
            d, own = len(regions), [s + 104729 * (i + 1) for s in seeds]
            name = likelihood if isinstance(likelihood, str) else likelihood.get(m, "normal")
            encoders[m] = Encoder(Network(d + preprocess.width, 2 * k, hidden, own))
            net = Network(k + preprocess.width, d, hidden[::-1], [s + 1 for s in own])
            likelihoods[m] = _named("likelihood", name, LIKELIHOODS)(net, d, members)
        fuse = _named("fusion", fusion, FUSIONS) if isinstance(fusion, str) else fusion
        model = cls(
            encoders,
            likelihoods,
            fuse,
            _named("prior", prior, PRIORS)(k),
            weights=modality_weights,
            beta=beta,
            members=members,
            preprocess=preprocess,
        )
        model.record = dict(
            fusion=fusion, likelihood=likelihood, prior=prior, latent_dim=k, hidden=list(hidden), beta=beta
        )
        model.record |= dict(modality_weights=dict(modality_weights or {}), members=members)
        return model

    @property
    def latent_dim(self) -> int:
        """Number of latents, k."""
        return int(self.record["latent_dim"])

    def posterior(self, batch: Batch) -> TorchDistributionMixin:
        """q(z | X, c), batch shape [n] or [members, n], event shape [k]; a modality nobody observed drops out."""
        experts = [encode(self._visible(batch, m), batch.covariates) for m, encode in self.encoders.items()]
        loc, scale = (torch.stack(part, -2) for part in zip(*experts, strict=True))
        present = torch.stack([batch.observed[m].any(-1) for m in self.encoders], -1)
        return self.fuse(loc, scale, present.expand(loc.shape[:-1]))

    def likelihood(self, modality: str, z: Tensor, batch: Batch) -> TorchDistributionMixin:
        """p(x_m | z, c) with batch shape [..., n, d]; z may carry leading draw axes."""
        distribution: TorchDistributionMixin = self.likelihoods[modality](z, batch.covariates)
        return distribution

    def model(self, batch: Batch, *, beta: float | None = None, n_total: int | None = None) -> None:
        """The generative model: sites `z` and `x_<modality>`.

        Args:
            batch: Subjects in model units.
            beta: Weight of the KL term; the model's own when None. The guide must be called with the same.
            n_total: Size of the training cohort that the batch was drawn from, to scale the loss up to it.
        """
        pyro.module("mmvae", self)
        self.generate(batch, beta=beta, n_total=n_total)

    def guide(self, batch: Batch, *, beta: float | None = None, n_total: int | None = None) -> None:
        """The posterior as a Pyro guide; same arguments as `model`."""
        pyro.module("mmvae", self)
        self.infer(batch, beta=beta, n_total=n_total)

    def generate(self, batch: Batch, *, beta: float | None = None, n_total: int | None = None) -> None:
        """`model` for an optimiser that holds the parameters itself: nothing enters Pyro's parameter store."""
        with self._plates(batch, n_total):
            with poutine.scale(scale=self.beta if beta is None else beta):
                z = pyro.sample("z", self.prior(batch.covariates))
            for m, weight in self.weights.items():
                x = self.likelihood(m, z, batch).mask(batch.observed[m]).to_event(1)
                with poutine.scale(scale=weight) if weight else poutine.mask(mask=False):
                    pyro.sample(f"x_{m}", x, obs=self._visible(batch, m))

    def infer(self, batch: Batch, *, beta: float | None = None, n_total: int | None = None) -> None:
        """`guide` for an optimiser that holds the parameters itself."""
        with self._plates(batch, n_total), poutine.scale(scale=self.beta if beta is None else beta):
            pyro.sample("z", self.posterior(batch))

    def _visible(self, batch: Batch, modality: str) -> Tensor:
        """Values with whatever stands in unobserved cells replaced, so that it can matter to nothing."""
        return torch.where(batch.observed[modality], batch.values[modality], 0.0)

    def _plates(self, batch: Batch, n_total: int | None) -> ExitStack:
        stack = ExitStack()
        if self.members > 1:
            stack.enter_context(pyro.plate("members", self.members, dim=-2))
        n = len(batch)
        stack.enter_context(pyro.plate("subjects", n, dim=-1))
        if n_total is not None:
            stack.enter_context(poutine.scale(scale=n_total / n))
        return stack


def _named[T](role: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise InputError(f"model.{role}", repr(name), f"one of {sorted(known)}", "use one of these, or pass a callable")
    return known[name]
