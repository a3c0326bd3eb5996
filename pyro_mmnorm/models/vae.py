"""MMVAE: prior, posterior, model and guide of the multimodal variational autoencoder."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import pyro
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.preprocess import Preprocess, Scaling
from pyro_mmnorm.distributions.latent import DiagonalMixture, DiagonalNormal
from pyro_mmnorm.models.builder import ModelParts
from pyro_mmnorm.models.fusion import Fusion
from pyro_mmnorm.models.likelihoods import Likelihood
from pyro_mmnorm.models.priors import Prior, VampPrior

__all__ = ["MMVAE", "Weight", "of_member", "per_member", "scaled_site"]

type Weight = float | Sequence[float]
"""One weight from 0 on, or one a member."""


class MMVAE(nn.Module):
    r"""Multimodal variational autoencoder, as a Pyro model and guide.

    .. math::
        z \sim p(z), \quad x_m \mid z, c \sim p(x_m \mid f_m(z, c)), \quad
        q(z \mid X, c) \propto p(z) \prod_{m\ \mathrm{present}} \tilde q_m(z \mid x_m, c)

        \mathrm{ELBO} = E_q \Big[ \sum_m \lambda_m \log p(x_m \mid z, c) \Big]
            - \beta\, \mathrm{KL}(q(z \mid X, c) \| p(z))

    With private latents z = (shared, private_1, ..., private_M): modality m is decoded from the shared block and its
    own, which its expert alone infers. Without a shared block the model is M unimodal ones side by side.

    Args:
        encoders: expert -> module (values [n, d], covariates [n, c]) -> (location, scale), [n, k + private] each.
        likelihoods: modality -> callable (z, covariates) -> distribution with batch shape [..., n, d], or event shape
            [d] and a method `observed(mask)`, its exact marginal over observed cells.
        fuse: Experts in, posterior of the shared latents out.
        prior: covariates -> distribution over all latents.
        latent_dim: Shared latents, k.
        private_dim: Private latents of each modality.
        sees: expert -> the modalities that it sees; each expert its namesake when None.
        weights: modality -> lambda, 1 where not named, or one a member; 0 leaves the modality's likelihood out.
        beta: Weight of the KL term, or one a member.
        members: Ensemble members trained side by side; their axis stands left of the subjects' when above 1.
        preprocess: From tables to model units, kept so that the model can score later tables.

    References:
        Wu & Goodman (2018), https://arxiv.org/abs/1802.05335; Kumar, Payne & Sotiras (2021), mmNormVAE,
        https://arxiv.org/abs/2110.04903; Lee & Pavlovic (2021), Private-shared disentangled multimodal VAE,
        https://arxiv.org/abs/2012.13024
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Likelihood],
        fuse: Fusion,
        prior: Prior,
        *,
        latent_dim: int,
        private_dim: int = 0,
        sees: Mapping[str, Sequence[str]] | None = None,
        weights: Mapping[str, Weight] | None = None,
        beta: Weight = 1.0,
        members: int = 1,
        preprocess: Preprocess | None = None,
    ) -> None:
        super().__init__()
        self.encoders, self.likelihoods = nn.ModuleDict(encoders), _modules(likelihoods)
        self.fuse, self.prior = fuse, prior
        self.shared_dim, self.private_dim, self.members = latent_dim, private_dim, members
        self.sees = {e: tuple(sees[e]) if sees else (e,) for e in encoders}
        self.preprocess = preprocess
        self.record: dict[str, Any] = {}
        if unknown := set(weights or {}) - set(likelihoods):
            raise InputError(
                "modality_weights", f"{sorted(unknown)}", f"some of {sorted(likelihoods)}", "mend the names"
            )
        given: dict[str, Weight] = {**dict.fromkeys(likelihoods, 1.0), **(weights or {})}
        self.weights = {m: per_member(f"modality_weights.{m}", w, members) for m, w in given.items()}
        self.beta = per_member("beta", beta, members)
        if private_dim and any(len(seen) > 1 for seen in self.sees.values()):
            raise InputError("model.private_dim", f"{private_dim} with a joint expert", "0", "use experts: modalities")

    @classmethod
    def for_cohort(cls, cohort: Cohort, *, seed: int = 0, scaling: Scaling = "standard", **parts: Any) -> Self:
        """A model whose sizes, names and scaling fit the training controls of `cohort`.

        Args:
            cohort: Its `train` subjects fix the scaling and the covariate basis.
            seed: Of the initial weights; member e is initialised as a lone model of seed + e.
            scaling: `standard`, `mean` (divided by the training mean, not centred) or `minmax`.
            **parts: As in `build`.

        Examples:
            >>> import pyro_mmnorm as mm
            >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
            >>> mm.MMVAE.for_cohort(cohort, latent_dim=4).latent_dim
            4
        """
        return cls.build(Preprocess.fit(cohort.train, scaling=scaling), seed=seed, **parts)

    @classmethod
    def build(cls, preprocess: Preprocess, *, members: int = 1, seed: int = 0, **parts: Any) -> Self:
        """A model from parts by name or as callables; see `ModelParts` for them.

        Args:
            preprocess: From tables to model units.
            members: Ensemble members.
            seed: Of the initial weights.
            **parts: fusion, likelihood, prior, latent_dim, private_dim, experts, hidden, skip, beta, modality_weights.
        """
        chosen = ModelParts(**parts)
        model = cls(**chosen.modules(preprocess, range(seed, seed + members)), members=members, preprocess=preprocess)
        model.record = {**chosen.record(), "members": members}
        return model

    @torch.no_grad()
    def member(self, e: int) -> Self:
        """A copy of ensemble member e as the lone model that it is.

        A tensor of three axes or more, the first as long as there are members, holds one part a member; that is so of
        every part here. Other tensors are common to all.

        Examples:
            >>> import pyro_mmnorm as mm
            >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
            >>> crowd = mm.MMVAE.for_cohort(cohort, latent_dim=4, members=3, seed=7)
            >>> batch = crowd.preprocess(cohort.test)
            >>> torch.allclose(crowd.member(2).posterior(batch).mean, crowd.posterior(batch).mean[2], atol=1e-5)
            True
        """
        if not 0 <= e < self.members:
            raise InputError("member", f"{e}", f"0 to {self.members - 1}", "members are counted from 0")
        one = copy.deepcopy(self)
        if self.members == 1:
            return one
        one.weights = {m: of_member(weight, e) for m, weight in self.weights.items()}
        one.beta = of_member(self.beta, e)
        one.record = {**self.record, "members": 1, "beta": one.beta, "modality_weights": one.weights}
        for module in one.modules():
            if hasattr(module, "members"):
                module.members = 1  # type: ignore[assignment]
            for held in (module._parameters, module._buffers):
                for x in held.values():
                    if x is not None and x.dim() > 2 and len(x) == self.members:
                        x.data = x[e].clone()
        return one

    @property
    def latent_dim(self) -> int:
        """Number of latents, shared and private."""
        return self.shared_dim + self.private_dim * len(self.likelihoods)

    def experts(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Location and scale of each expert, [..., n, M, k + private], and which are present, [..., n, M]."""
        given, present = [], []
        for expert, encode in self.encoders.items():
            filled, anyone = zip(*(_shown(batch, m) for m in self.sees[expert]), strict=True)
            given.append(encode(filled[0] if len(filled) == 1 else torch.cat(filled, -1), batch.covariates))
            present.append(anyone[0] if len(anyone) == 1 else torch.stack(anyone, -1).any(-1))
        loc, scale = (torch.stack(part, -2) for part in zip(*given, strict=True))
        return loc, scale, torch.stack(present, -1).expand(loc.shape[:-1])

    def posterior(self, batch: Batch) -> TorchDistributionMixin:
        """q(z | X, c), batch shape [n] or [members, n], event shape [k]; a modality nobody observed drops out."""
        loc, scale, present = self.experts(batch)
        if not self.private_dim:
            return self.fuse(loc, scale, present)
        k, here = self.shared_dim, present.unsqueeze(-1)
        precision = 1 + torch.where(here, torch.where(here, scale[..., k:], 1.0).pow(-2), 0.0)
        own_scale = precision.rsqrt().flatten(-2)
        own_loc = (torch.where(here, loc[..., k:], 0.0) * (1 - 1 / precision)).flatten(-2)
        own = DiagonalNormal(own_loc, own_scale)
        return own if k == 0 else _beside(self.fuse(loc[..., :k], scale[..., :k], present), own)

    def prior_of(self, batch: Batch) -> TorchDistributionMixin:
        """p(z | c), its batch shape broadcasts to that of the posterior."""
        if not isinstance(self.prior, VampPrior):
            return self.prior(batch.covariates)
        return self.prior(batch.covariates, self._posterior_of_whole)

    def _posterior_of_whole(self, values: dict[str, Tensor], covariates: Tensor) -> TorchDistributionMixin:
        observed = {m: torch.ones_like(x, dtype=torch.bool) for m, x in values.items()}
        index = torch.arange(covariates.shape[-2])
        return self.posterior(Batch(values=values, observed=observed, covariates=covariates, index=index))

    def likelihood(self, modality: str, z: Tensor, batch: Batch) -> TorchDistributionMixin:
        """p(x_m | z, c) of every region, observed or not; z may carry leading draw axes."""
        if self.private_dim:
            begin = self.shared_dim + self.private_dim * list(self.likelihoods).index(modality)
            z = torch.cat([z[..., : self.shared_dim], z[..., begin : begin + self.private_dim]], -1)
        distribution: TorchDistributionMixin = self.likelihoods[modality](z, batch.covariates)
        return distribution

    def observed_likelihood(self, modality: str, z: Tensor, batch: Batch) -> tuple[TorchDistributionMixin, Tensor]:
        """p of the observed cells of a modality, event shape [d], and the values to score it at.

        Whatever stands in an unobserved cell is replaced by a number within the support, and counts nothing.
        """
        x, seen, values = self.likelihood(modality, z, batch), batch.observed[modality], batch.values[modality]
        if hasattr(x, "observed"):
            return x.observed(seen), values
        return x.mask(seen).to_event(1), torch.where(seen, values, _inside(x))

    def model(self, batch: Batch, *, beta: float | Tensor | None = None, n_total: int | None = None) -> None:
        """The generative model: sites `z` and `x_<modality>`.

        Args:
            batch: Subjects in model units.
            beta: Weight of the KL term, or one a member [members, 1]; the model's own when None. The guide must be
                called with the same.
            n_total: Size of the training cohort that the batch was drawn from, to scale the loss up to it.
        """
        pyro.module("mmvae", self)
        self.generate(batch, beta=beta, n_total=n_total)

    def guide(self, batch: Batch, *, beta: float | Tensor | None = None, n_total: int | None = None) -> None:
        """The posterior as a Pyro guide; same arguments as `model`."""
        pyro.module("mmvae", self)
        self.infer(batch, beta=beta, n_total=n_total)

    def generate(
        self,
        batch: Batch,
        *,
        beta: float | Tensor | None = None,
        n_total: int | None = None,
        plate: Callable[..., Any] = pyro.plate,
    ) -> None:
        """`model` for an optimiser that holds the parameters itself: nothing enters Pyro's parameter store.

        Args:
            batch, beta, n_total: As in `model`.
            plate: What a plate is. `fit` takes Pyro's `IndepMessenger`, which tells who is independent of whom and
                nothing else; `pyro.plate` also asks for subsamples and broadcasts distributions, which our objective
                does not need and which costs a twentieth of a step.
        """
        with self._plates(batch, n_total, plate):
            with scaled_site(self.beta if beta is None else beta):
                z = pyro.sample("z", self.prior_of(batch))
            for m, weight in self.weights.items():
                x, values = self.observed_likelihood(m, z, batch)
                with scaled_site(weight):
                    pyro.sample(f"x_{m}", x, obs=values)

    def infer(
        self,
        batch: Batch,
        *,
        beta: float | Tensor | None = None,
        n_total: int | None = None,
        plate: Callable[..., Any] = pyro.plate,
    ) -> None:
        """`guide` for an optimiser that holds the parameters itself; see `generate`."""
        with self._plates(batch, n_total, plate), scaled_site(self.beta if beta is None else beta):
            pyro.sample("z", self.posterior(batch))

    def check_support(self, batch: Batch) -> None:
        """Refuse observed values that a likelihood gives no density, such as a negative volume.

        Raises:
            InputError: With the modality and the number of such cells.
        """
        with torch.no_grad():
            one = batch[slice(0, 1)]
            z = batch.covariates.new_zeros(1, self.latent_dim)
            for m in self.likelihoods:
                x, values, seen = self.likelihood(m, z, one), batch.values[m], batch.observed[m]
                inside = x.support.check(torch.where(seen, values, _inside(x)))
                if not inside.all():
                    got = f"values outside the support of its likelihood, {type(x).__name__}"
                    todo = "check the table, or choose another likelihood for this modality"
                    raise InputError(f"modality {m!r}", got, f"values in {x.support}", todo)

    def _plates(self, batch: Batch, n_total: int | None, plate: Callable[..., Any]) -> ExitStack:
        stack = ExitStack()
        if self.members > 1:
            stack.enter_context(plate("members", self.members, dim=-2))
        n = len(batch)
        stack.enter_context(plate("subjects", n, dim=-1))
        if n_total is not None:
            stack.enter_context(poutine.scale(scale=n_total / n))
        return stack


def _shown(batch: Batch, modality: str) -> tuple[Tensor, Tensor]:
    """Values of a modality with 0 where encoders see nothing, and whether they see anything of each person."""
    seen, x = batch.visible(modality), batch.values[modality]
    if seen.device.type == "cpu" and bool(seen.all()):  # where looking costs less than masking
        return x, seen[..., 0]
    return torch.where(seen, x, 0.0), seen.any(-1)


class _Function(nn.Module):
    """A plain function as a module, so that it can stand beside others."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.forward = function


def _modules(parts: Mapping[str, Any]) -> nn.ModuleDict:
    return nn.ModuleDict({m: part if isinstance(part, nn.Module) else _Function(part) for m, part in parts.items()})


def _inside(x: Any) -> float:
    """A number within the support of a distribution: 0 where it may be, as in all of ours."""
    return next((v for v in (0.0, 0.5, 1.0) if bool(x.support.check(torch.tensor([v])).all())), 0.0)


def _beside(shared: TorchDistributionMixin, own: DiagonalNormal) -> TorchDistributionMixin:
    """The posterior of shared and private latents, independent of one another given the data."""
    if isinstance(shared, DiagonalNormal):
        return DiagonalNormal(torch.cat([shared.loc, own.loc], -1), torch.cat([shared.scale, own.scale], -1))
    if isinstance(shared, DiagonalMixture):
        shape = (*shared.loc.shape[:-1], own.loc.shape[-1])
        parts = [
            torch.cat([a, b.unsqueeze(-2).expand(shape)], -1)
            for a, b in ((shared.loc, own.loc), (shared.scale, own.scale))
        ]
        return DiagonalMixture(shared.log_weights, parts[0], parts[1])
    got = f"a fusion that gives {type(shared).__name__}"
    raise InputError(
        "model.private_dim", got, "DiagonalNormal or DiagonalMixture", "use private_dim 0 with this fusion"
    )


def per_member(where: str, weight: Weight, members: int) -> float | Tensor:
    """One weight for all members, or one each as [members, 1]."""
    each = [float(w) for w in weight] if isinstance(weight, Sequence) else [float(weight)]
    if len(each) not in ({1} if not isinstance(weight, Sequence) else {members}) or min(each) < 0:
        raise InputError(where, repr(weight), f"a number from 0 on, or {members} of them", "give one, or one a member")
    return each[0] if len(each) == 1 else torch.tensor(each).unsqueeze(-1)


def of_member(weight: float | Tensor, e: int) -> float | Tensor:
    """That of member e, of those of `per_member`."""
    return float(weight[e]) if isinstance(weight, Tensor) else weight


def scaled_site(weight: float | Tensor) -> ExitStack:
    """`poutine.scale`, which refuses 0: where the weight is 0 the site is masked."""
    stack = ExitStack()
    if isinstance(weight, Tensor):
        if not (weight > 0).all():
            stack.enter_context(poutine.mask(mask=weight > 0))  # type: ignore[call-overload]
        stack.enter_context(poutine.scale(scale=torch.where(weight > 0, weight, 1.0)))
    elif weight != 1:  # a scale of 1 would only cost time
        stack.enter_context(poutine.scale(scale=weight) if weight else poutine.mask(mask=False))
    return stack
