"""MMVAE: prior, posterior, model and guide of the multimodal variational autoencoder."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self, Unpack

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
from pyro_mmnorm.distributions.regional import inside_support, observed_marginal
from pyro_mmnorm.models.builder import (
    ModelOptions,
    Weight,
    check_options,
    lists_options,
    model_parts,
    option_record,
    with_defaults,
)
from pyro_mmnorm.models.fusion import Fusion
from pyro_mmnorm.models.likelihoods import Likelihood
from pyro_mmnorm.models.networks import HasMembers, Network
from pyro_mmnorm.models.priors import Prior, VampPrior

__all__ = ["MMVAE", "of_member", "per_member", "scaled_site"]

type Beta = float | Tensor | None
type Plate = Callable[..., Any]


def per_member(where: str, weight: Weight, members: int) -> float | Tensor:
    """One weight for all members, or one per member as [members, 1].

    Args:
        where: Name of the option, for error messages.
        weight: One, or one per member.
        members: Number of members.

    Raises:
        InputError: For another number of weights, or a negative one.
    """
    several = isinstance(weight, Sequence)
    each = [float(w) for w in weight] if isinstance(weight, Sequence) else [float(weight)]
    if (several and len(each) != members) or min(each) < 0:
        expected = f"a number of at least 0, or {members} of them"
        raise InputError(where, repr(weight), expected, "give one, or one per member")
    return each[0] if len(each) == 1 else torch.tensor(each).unsqueeze(-1)


def of_member(weight: float | Tensor, e: int) -> float | Tensor:
    """The weight of member e, from the result of `per_member`."""
    return float(weight[e]) if isinstance(weight, Tensor) else weight


def scaled_site(weight: float | Tensor) -> ExitStack:
    """`poutine.scale`, which does not accept 0; with weight 0 the site is masked instead."""
    stack = ExitStack()
    if isinstance(weight, Tensor):
        if not (weight > 0).all():
            stack.enter_context(poutine.mask(mask=weight > 0))  # type: ignore[call-overload]
        stack.enter_context(poutine.scale(scale=torch.where(weight > 0, weight, 1.0)))
    elif weight != 1:  # a scale of 1 would only cost time
        stack.enter_context(poutine.scale(scale=weight) if weight else poutine.mask(mask=False))
    return stack


def _encoder_input(batch: Batch, modality: str) -> tuple[Tensor, Tensor]:
    """Values of a modality, 0 in cells masked from the encoders, and whether each person has any visible cell."""
    seen, x = batch.visible(modality), batch.values[modality]
    if seen.device.type == "cpu" and bool(seen.all()):  # on the CPU this check costs less than masking
        return x, seen[..., 0]
    return torch.where(seen, x, 0.0), seen.any(-1)


class _Function(nn.Module):
    """A plain callable as a module without parameters, so that a `ModuleDict` can hold it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def _with_private(shared: TorchDistributionMixin, own: DiagonalNormal) -> TorchDistributionMixin:
    """The posterior of shared and private latents, which are independent given the data."""
    if isinstance(shared, DiagonalNormal):
        return DiagonalNormal(torch.cat([shared.loc, own.loc], -1), torch.cat([shared.scale, own.scale], -1))
    if isinstance(shared, DiagonalMixture):  # with the same private latents in every component
        own_loc, own_scale = (x.unsqueeze(-2).expand(*shared.loc.shape[:-1], -1) for x in (own.loc, own.scale))
        loc, scale = torch.cat([shared.loc, own_loc], -1), torch.cat([shared.scale, own_scale], -1)
        return DiagonalMixture(shared.log_weights, loc, scale)
    got, expected = f"a fusion that returns {type(shared).__name__}", "DiagonalNormal or DiagonalMixture"
    raise InputError("model.private_dim", got, expected, "use private_dim 0 with this fusion")


class MMVAE(nn.Module):
    r"""Multimodal variational autoencoder, as a Pyro model and guide.

    .. math::
        z \sim p(z), \quad x_m \mid z, c \sim p(x_m \mid f_m(z, c)), \quad
        q(z \mid X, c) \propto \mathcal{N}(z; 0, I) \prod_{m\ \mathrm{present}} \tilde q_m(z \mid x_m, c)

        \mathrm{ELBO} = E_q \Big[ \sum_m \lambda_m \log p(x_m \mid z, c) \Big]
            - \beta\, \mathrm{KL}(q(z \mid X, c) \| p(z))

    The posterior is that of fusion `poe`, with a standard normal expert whatever the prior; `models.fusion` has others.
    With private latents z = (shared, private_1, ..., private_M), modality m is decoded from the shared block and its
    private block, which its expert alone infers. Without a shared block the model consists of M unimodal models.

    Args:
        encoders: expert -> module (values [n, d], covariates [n, c]) -> (location, scale), [n, k + private] each.
        likelihoods: modality -> `Likelihood`, (z, covariates) -> distribution of the regions.
        fuse: `Fusion`, experts -> posterior of the shared latents.
        prior: `Prior`, covariates -> distribution over all latents.
        latent_dim: Shared latents, k.
        private_dim: Private latents of each modality.
        sees: expert -> its input modalities; when None, the modality of the expert's name.
        weights: modality -> lambda, or one per member; 1 where not named, 0 omits the likelihood of the modality.
        beta: Weight of the KL term, or one per member.
        members: Ensemble members trained in parallel; when above 1, their axis precedes that of the subjects.
        preprocess: From tables to model units, stored so that the model can score later tables.

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
        self.encoders = nn.ModuleDict(encoders)
        self.likelihoods = nn.ModuleDict(
            {m: part if isinstance(part, nn.Module) else _Function(part) for m, part in likelihoods.items()}
        )
        self.fuse, self.prior = fuse, prior
        self.shared_dim, self.private_dim, self.members = latent_dim, private_dim, members
        self.sees = {e: tuple(sees[e]) if sees else (e,) for e in encoders}
        self.preprocess = preprocess
        self.record: dict[str, Any] = {}
        if unknown := set(weights or {}) - set(likelihoods):
            some = f"some of {sorted(likelihoods)}"
            raise InputError("modality_weights", f"{sorted(unknown)}", some, "correct the names")
        given: dict[str, Weight] = {**dict.fromkeys(likelihoods, 1.0), **(weights or {})}
        self.weights = {m: per_member(f"modality_weights.{m}", w, members) for m, w in given.items()}
        self.beta = per_member("beta", beta, members)
        if private_dim and any(len(seen) > 1 for seen in self.sees.values()):
            raise InputError("model.private_dim", f"{private_dim} with a joint expert", "0", "use experts: modalities")

    @classmethod
    @lists_options
    def for_cohort(
        cls, cohort: Cohort, *, seed: int = 0, scaling: Scaling = "standard", **options: Unpack[ModelOptions]
    ) -> Self:
        """A model whose shape, names and scaling fit the training controls of `cohort`.

        A part is a name; a name with options, such as {"name": "mvn_lowrank", "rank": 4}; a class, built as the named
        ones are; or any other callable, used as it is.

        Args:
            cohort: Its `train` subjects determine the scaling and the covariate basis.
            seed: Seed of the initial weights; member e is initialised as a single model with seed + e.
            scaling: `standard`, `mean` (divided by the training mean, not centred) or `minmax`.
            **options: With the defaults of `ModelConfig`:

                * fusion: `poe`, `gpoe`, `moe` or `mopoe`, or a `Fusion`.
                * likelihood: `normal`, `normal_hetero`, `student_t`, `laplace`, `lognormal` or `mvn_lowrank`, or a
                  `Likelihood`; one for all modalities, or modality -> likelihood (`normal` where not named).
                * prior: `normal`, `mixture`, `vamp`, `flow` or `conditional`, or a `Prior`; of all latents.
                * latent_dim: Latents shared by all modalities.
                * private_dim: Private latents of each modality; with latent_dim 0 the models are unimodal.
                * experts: `modalities`, one encoder per modality; or `joint`, one of all concatenated features.
                * hidden: Widths of the encoders' hidden layers, reversed in the decoders.
                * skip: Whether a linear path is added to each perceptron.
                * activation: `silu` or `relu`, of the hidden layers.
                * beta: Weight of the KL term, or one per member.
                * members: Ensemble members, trained in parallel.
                * modality_weights: modality -> weight of its likelihood (lambda), or one per member; 1 where not
                  named.

        Raises:
            InputError: For an unknown option, name or modality.

        Examples:
            >>> import pyro_mmnorm as mm
            >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
            >>> mm.MMVAE.for_cohort(cohort, latent_dim=4, prior="mixture").latent_dim
            4
        """
        check_options(options, cls.for_cohort)
        return cls.build(Preprocess.fit(cohort.train, scaling=scaling), seed=seed, **options)

    @classmethod
    @lists_options
    def build(cls, preprocess: Preprocess, *, seed: int = 0, **options: Unpack[ModelOptions]) -> Self:
        """A model for data in these units.

        Args:
            preprocess: From tables to model units.
            seed: Seed of the initial weights.
            **options: fusion, likelihood, prior, latent_dim, private_dim, experts, hidden, skip, activation, beta,
                members and modality_weights, as of `for_cohort`.

        Raises:
            InputError: For an unknown option, name or modality.
        """
        check_options(options, cls.build)
        options = with_defaults(options)
        members = options["members"]
        parts = model_parts(options, preprocess, range(seed, seed + members))
        model = cls(**parts, members=members, preprocess=preprocess)
        model.record = option_record(options)
        return model

    @torch.no_grad()
    def member(self, e: int) -> Self:
        """A copy of ensemble member e as a single model.

        A tensor of at least three axes, the first of which has the length of the ensemble, holds one slice per member,
        as in every part of this package. Other tensors are common to all members. The number of members of a
        `HasMembers` becomes 1.

        Args:
            e: Number of the member, from 0.

        Raises:
            InputError: For a number outside the ensemble.

        Examples:
            >>> import pyro_mmnorm as mm
            >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
            >>> crowd = mm.MMVAE.for_cohort(cohort, latent_dim=4, members=3, seed=7)
            >>> batch = crowd.preprocess(cohort.test)
            >>> torch.allclose(crowd.member(2).posterior(batch).mean, crowd.posterior(batch).mean[2], atol=1e-5)
            True
        """
        if not 0 <= e < self.members:
            raise InputError("member", f"{e}", f"0 to {self.members - 1}", "count members from 0")
        one = copy.deepcopy(self)
        if self.members == 1:
            return one
        one.weights = {m: of_member(weight, e) for m, weight in self.weights.items()}
        one.beta = of_member(self.beta, e)
        one.record = {**self.record, "members": 1, "beta": one.beta, "modality_weights": one.weights}
        for module in one.modules():
            if isinstance(module, HasMembers):
                module.members = 1
            if isinstance(module, Network):
                module.seeds = module.seeds[e : e + 1]
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
            values, visible = zip(*(_encoder_input(batch, m) for m in self.sees[expert]), strict=True)
            given.append(encode(values[0] if len(values) == 1 else torch.cat(values, -1), batch.covariates))
            present.append(visible[0] if len(visible) == 1 else torch.stack(visible, -1).any(-1))
        loc, scale = (torch.stack(part, -2) for part in zip(*given, strict=True))
        return loc, scale, torch.stack(present, -1).expand(loc.shape[:-1])

    def posterior(self, batch: Batch) -> TorchDistributionMixin:
        """q(z | X, c), batch shape [n] or [members, n], event shape [k]; absent modalities drop out."""
        loc, scale, present = self.experts(batch)
        if not self.private_dim:
            return self.fuse(loc, scale, present)
        # each private block: the product of its expert and the standard normal prior
        k, here = self.shared_dim, present.unsqueeze(-1)
        precision = 1 + torch.where(here, torch.where(here, scale[..., k:], 1.0).pow(-2), 0.0)
        own_scale = precision.rsqrt().flatten(-2)
        own_loc = (torch.where(here, loc[..., k:], 0.0) * (1 - 1 / precision)).flatten(-2)
        own = DiagonalNormal(own_loc, own_scale)
        return own if k == 0 else _with_private(self.fuse(loc[..., :k], scale[..., :k], present), own)

    def prior_of(self, batch: Batch) -> TorchDistributionMixin:
        """p(z | c), whose batch shape broadcasts to that of the posterior."""
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
        """The distribution of the observed cells of a modality, event shape [d], and the values to score it at."""
        return observed_marginal(self.likelihood(modality, z, batch), batch.observed[modality], batch.values[modality])

    def model(self, batch: Batch, *, beta: Beta = None, n_total: int | None = None) -> None:
        """The generative model: sites `z` and `x_<modality>`.

        Args:
            batch: Subjects in model units.
            beta: Weight of the KL term, or one per member [members, 1]; the model's own when None. The guide must be
                called with the same value.
            n_total: Size of the training cohort that the batch was drawn from; the loss is scaled up to it.
        """
        pyro.module("mmvae", self)
        self.generate(batch, beta=beta, n_total=n_total)

    def guide(self, batch: Batch, *, beta: Beta = None, n_total: int | None = None) -> None:
        """The posterior as a Pyro guide; same arguments as `model`."""
        pyro.module("mmvae", self)
        self.infer(batch, beta=beta, n_total=n_total)

    def generate(
        self, batch: Batch, *, beta: Beta = None, n_total: int | None = None, plate: Plate = pyro.plate
    ) -> None:
        """`model` for an optimiser that holds the parameters; nothing enters Pyro's parameter store.

        Args:
            batch, beta, n_total: As in `model`.
            plate: Class of the plates. `fit` uses Pyro's `IndepMessenger`, which only declares independence;
                `pyro.plate` also subsamples and broadcasts distributions, which the objective does not need and which
                takes 5 % of a step.
        """
        with self._plates(batch, n_total, plate):
            with scaled_site(self.beta if beta is None else beta):
                z = pyro.sample("z", self.prior_of(batch))
            for m, weight in self.weights.items():
                x, values = self.observed_likelihood(m, z, batch)
                with scaled_site(weight):
                    pyro.sample(f"x_{m}", x, obs=values)

    def infer(self, batch: Batch, *, beta: Beta = None, n_total: int | None = None, plate: Plate = pyro.plate) -> None:
        """`guide` for an optimiser that holds the parameters; see `generate`."""
        with self._plates(batch, n_total, plate), scaled_site(self.beta if beta is None else beta):
            pyro.sample("z", self.posterior(batch))

    def check_support(self, batch: Batch) -> None:
        """Refuse observed values outside the support of their likelihood, such as a negative volume.

        Raises:
            InputError: With the modality and its likelihood.
        """
        with torch.no_grad():
            one = batch[slice(0, 1)]  # the support is the same for all people
            z = batch.covariates.new_zeros(1, self.latent_dim)
            for m in self.likelihoods:
                x, values, seen = self.likelihood(m, z, one), batch.values[m], batch.observed[m]
                inside = x.support.check(torch.where(seen, values, inside_support(x)))
                if not inside.all():
                    got = f"values outside the support of its likelihood, {type(x).__name__}"
                    todo = "check the table, or choose another likelihood for this modality"
                    raise InputError(f"modality {m!r}", got, f"values in {x.support}", todo)

    def _plates(self, batch: Batch, n_total: int | None, plate: Plate) -> ExitStack:
        stack = ExitStack()
        if self.members > 1:
            stack.enter_context(plate("members", self.members, dim=-2))
        n = len(batch)
        stack.enter_context(plate("subjects", n, dim=-1))
        if n_total is not None:
            stack.enter_context(poutine.scale(scale=n_total / n))
        return stack
