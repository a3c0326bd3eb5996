"""Likelihoods: distributions over the regions of one modality, given latents and covariates."""

import math
from typing import Any, ClassVar, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.distributions.regional import LowRankNormal, RatioLogNormal, RegionNormal, RegionStudentT
from pyro_mmnorm.models.networks import Network

__all__ = [
    "LIKELIHOODS",
    "Gaussian",
    "HeteroGaussian",
    "Laplace",
    "Likelihood",
    "LinearStart",
    "LocationScale",
    "LogNormal",
    "LowRankGaussian",
    "StudentT",
]


class Likelihood(Protocol):
    """A likelihood: any callable of this signature, a `nn.Module` if it has parameters; `LinearStart` is optional."""

    def __call__(self, z: Tensor, c: Tensor, /) -> TorchDistributionMixin:
        """The distribution of the regions, without mask, `to_event` or loss.

        Args:
            z: Latents, [..., n, k]; leading axes are draws and ensemble members.
            c: Covariates, [n, c] or [members, n, c].

        Returns:
            Batch shape [..., n, d] for independent regions; or event shape [d] and a method `observed(mask)`, see
            `distributions.regional.ObservedMarginal`.
        """


@runtime_checkable
class LinearStart(Protocol):
    """A likelihood that training can initialise at factor analysis; one without it keeps its own initial values."""

    def start(self, loadings: Tensor, effects: Tensor, noise: Tensor, member: int = 0) -> None:
        r"""Set one member near :math:`\mathcal{N}(z W + [1, c] B, \operatorname{diag} \psi)`, in place.

        Args:
            loadings: W, [k, d].
            effects: B, intercept first, [1 + c, d].
            noise: psi, variances, [d].
            member: Number of the ensemble member.
        """


class LocationScale(nn.Module):
    r"""Base of the likelihoods of this file: a location from the network and one learned scale per region.

    A subclass defines in `forward` the distribution with this location and scale, and in `_scale_of` the scale that
    has a given variance. With a fixed variance the posterior collapses on standardised data; with a learned one it
    does not.

    Args:
        net: [..., n, k + c] -> [..., n, outputs * d], in model units.
        regions: d.
        members: Number of ensemble members; without a member axis when 1.
    """

    outputs: ClassVar[int] = 1
    """Outputs of the network per region; 1 for a class that is no subclass of this one."""
    positive: ClassVar[bool] = False
    """Whether values are positive volumes, whose means are passed as `origin` and `step`."""

    def __init__(self, net: nn.Module, regions: int, members: int = 1) -> None:
        super().__init__()
        self.net, self.regions, self.members = net, regions, members
        self.log_scale = self._parameter(torch.zeros(1, regions))

    def _parameter(self, value: Tensor) -> nn.Parameter:
        """A parameter with the initial value `value`, [1, d], for every member."""
        return nn.Parameter(value.repeat(self.members, 1, 1) if self.members > 1 else value)

    def _own(self, parameter: Tensor, member: int) -> Tensor:
        """The part of one member; a single model has no member axis."""
        return parameter[member] if self.members > 1 else parameter

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Output of the network, [..., n, outputs * d].

        Raises:
            InputError: For a network with another number of outputs.
        """
        out: Tensor = self.net(torch.cat([z, c.expand(*z.shape[:-1], -1)], -1))
        if out.shape[-1] != self.outputs * self.regions:
            got, expected = (
                f"a network with {out.shape[-1]} outputs",
                f"{self.outputs} for each of {self.regions} regions",
            )
            raise InputError(type(self).__name__, got, expected, "change the size of the network")
        return out

    @torch.no_grad()
    def start(self, loadings: Tensor, effects: Tensor, noise: Tensor, member: int = 0) -> None:
        """See `LinearStart`.

        Raises:
            InputError: For a network without a skip path.
        """
        if not isinstance(self.net, Network):
            todo = "use start: random"
            raise InputError("train.start", "networks without a skip path", "networks of MMVAE.for_cohort", todo)
        weight = torch.cat([loadings, effects[1:]])
        self.net.set_linear(weight, effects[0], member, slice(0, self.regions))
        self._own(self.log_scale, member).copy_(self._scale_of(noise, member).log())

    def _scale_of(self, variance: Tensor, member: int) -> Tensor:  # noqa: ARG002  (used by Student's t)
        return variance.sqrt()


class Gaussian(LocationScale):
    r""":math:`x \mid z, c \sim \mathcal{N}(f(z, c), \operatorname{diag} \sigma^2)`, one learned sigma per region.

    Args:
        scale: A sigma fixed for all regions, as in published models; learned when None.

    Examples:
        >>> likelihood = Gaussian(nn.Linear(3, 4), regions=4)
        >>> likelihood(torch.zeros(5, 2), torch.zeros(5, 1)).batch_shape
        torch.Size([5, 4])
    """

    def __init__(self, net: nn.Module, regions: int, members: int = 1, *, scale: float | None = None) -> None:
        super().__init__(net, regions, members)
        self.fixed = scale is not None
        if scale is not None:
            if not 0 < scale < math.inf:
                raise InputError(
                    "Gaussian.scale", repr(scale), "a number above 0", "give one, or omit it to learn sigma"
                )
            fixed = torch.full_like(self.log_scale.data, math.log(scale))
            del self.log_scale
            self.register_buffer("log_scale", fixed)

    def forward(self, z: Tensor, c: Tensor) -> RegionNormal:
        """The distribution of the regions given latents and covariates."""
        return RegionNormal(self.decode(z, c), self.log_scale)

    def start(self, loadings: Tensor, effects: Tensor, noise: Tensor, member: int = 0) -> None:
        """See `LinearStart`; a fixed scale is kept."""
        scale = self.log_scale.clone()
        super().start(loadings, effects, noise, member)
        if self.fixed:
            self.log_scale.copy_(scale)


class HeteroGaussian(LocationScale):
    r"""A Gaussian whose spread also depends on latents and covariates, such as age.

    .. math::
        x \mid z, c \sim \mathcal{N}(f(z, c), \operatorname{diag} \sigma^2(z, c)), \qquad
        \log \sigma(z, c) = s + L \tanh(g(z, c) / L), \quad L = 2

    with s per region. The first outputs of the network are f, the last g. A `Network` is initialised at g = 0, a
    constant spread. The spread of a region differs from e^s by a factor of at most 7.4.

    Examples:
        >>> likelihood = HeteroGaussian(nn.Linear(3, 8), regions=4)
        >>> likelihood(torch.zeros(5, 2), torch.zeros(5, 1)).batch_shape
        torch.Size([5, 4])
    """

    outputs = 2
    LIMIT = 2.0

    def __init__(self, net: nn.Module, regions: int, members: int = 1) -> None:
        super().__init__(net, regions, members)
        for member in range(members):
            self._flatten(member)

    def _flatten(self, member: int) -> None:
        """Make the spread constant."""
        if isinstance(self.net, Network):
            zero = torch.zeros(())
            self.net.set_linear(zero, zero, member, slice(self.regions, None))

    def forward(self, z: Tensor, c: Tensor) -> RegionNormal:
        """The distribution of the regions given latents and covariates."""
        loc, spread = self.decode(z, c).chunk(2, -1)
        return RegionNormal(loc, self.log_scale + self.LIMIT * torch.tanh(spread / self.LIMIT))

    def start(self, loadings: Tensor, effects: Tensor, noise: Tensor, member: int = 0) -> None:
        """See `LinearStart`; with a constant spread."""
        super().start(loadings, effects, noise, member)
        self._flatten(member)


class StudentT(LocationScale):
    r"""Heavy tails, :math:`x \mid z, c \sim t_\nu(f(z, c), \sigma)`, with sigma and nu learned per region.

    :math:`\nu = 2.1 + 10\,\mathrm{softplus}(a)`, initialised at 20; above 2 the variance exists.

    References:
        Lange, Little & Taylor (1989), Robust statistical modeling using the t distribution,
        https://doi.org/10.1080/01621459.1989.10478852
    """

    LEAST_DF, DF_UNIT, START_DF = 2.1, 10.0, 20.0

    def __init__(self, net: nn.Module, regions: int, members: int = 1) -> None:
        super().__init__(net, regions, members)
        at = math.log(math.expm1((self.START_DF - self.LEAST_DF) / self.DF_UNIT))
        self.raw_df = self._parameter(torch.full((1, regions), at))

    @property
    def df(self) -> Tensor:
        """Degrees of freedom, [1, d] or [members, 1, d]."""
        return self.LEAST_DF + self.DF_UNIT * softplus(self.raw_df)

    def forward(self, z: Tensor, c: Tensor) -> RegionStudentT:
        """The distribution of the regions given latents and covariates."""
        return RegionStudentT(self.df, self.decode(z, c), self.log_scale)

    def _scale_of(self, variance: Tensor, member: int) -> Tensor:
        df = self._own(self.df, member)
        return (variance * (df - 2) / df).sqrt()


class Laplace(LocationScale):
    r""":math:`x \mid z, c \sim \mathrm{Laplace}(f(z, c), b)`, one learned b per region; f is the median.

    Examples:
        >>> Laplace(nn.Linear(3, 4), regions=4)(torch.zeros(5, 2), torch.zeros(5, 1)).batch_shape
        torch.Size([5, 4])
    """

    def forward(self, z: Tensor, c: Tensor) -> dist.Laplace:
        """The distribution of the regions given latents and covariates."""
        return dist.Laplace(self.decode(z, c), self.log_scale.exp())

    def _scale_of(self, variance: Tensor, member: int) -> Tensor:  # noqa: ARG002
        return (variance / 2).sqrt()


class LogNormal(LocationScale):
    r"""Positive, skewed volumes: the ratio of a volume to its training mean is log-normal.

    Values are x = (volume - loc) / scale, so the ratio is r = a + b x, and

    .. math:: \log r \mid z, c \sim \mathcal{N}\big(\log a + \tfrac{b}{a} f(z, c),\ (\tfrac{b}{a} \sigma)^2\big)

    with f and sigma in model units: for small b this is `Gaussian`. The density is that of x, so held-out
    log-likelihoods are comparable with those of the other likelihoods.

    Args:
        origin: a, loc / training mean, above 0; a number or [d].
        step: b, scale / training mean, above 0; a number or [d].

    Examples:
        >>> volumes = LogNormal(nn.Linear(3, 2), regions=2, origin=1.0, step=[0.1, 0.2])
        >>> volumes(torch.zeros(5, 2), torch.zeros(5, 1)).support.lower_bound
        tensor([-10.,  -5.])
    """

    positive = True
    origin: Tensor
    step: Tensor

    def __init__(self, net: nn.Module, regions: int, members: int = 1, *, origin: Any = 1.0, step: Any = 0.1) -> None:
        super().__init__(net, regions, members)
        for name, given in (("origin", origin), ("step", step)):
            value = torch.as_tensor(given, dtype=torch.get_default_dtype())
            if value.shape not in {(), (1,), (regions,)} or not ((value > 0) & value.isfinite()).all():
                raise InputError(f"LogNormal.{name}", f"{given}", f"{regions} numbers above 0", "give one per region")
            self.register_buffer(name, value.expand(regions).clone())

    def forward(self, z: Tensor, c: Tensor) -> RatioLogNormal:
        """The distribution of the regions given latents and covariates."""
        relative = self.step / self.origin
        loc = self.origin.log() + relative * self.decode(z, c)
        return RatioLogNormal(loc, self.log_scale + relative.log(), self.origin, self.step)

    def start(self, loadings: Tensor, effects: Tensor, noise: Tensor, member: int = 0) -> None:
        """See `LinearStart`; mean, variance and slopes are exact at z = 0, c = 0."""
        # match the first two moments at z = 0, c = 0, and the slopes by the chain rule
        relative = (self.step / self.origin).to(noise)
        level = (1 + relative * effects[0]).clamp(min=0.1)
        square = torch.log1p(noise * (relative / level).square())
        intercept = (level.log() - 0.5 * square) / relative
        slopes = torch.cat([intercept[None], effects[1:] / level])
        super().start(loadings / level, slopes, square / relative.square(), member)


class LowRankGaussian(LocationScale):
    r"""Regions of one modality whose residuals are correlated given z and c.

    .. math:: x \mid z, c \sim \mathcal{N}(f(z, c), \operatorname{diag} \sigma^2 + W^\top W)

    with W, [rank, d], learned. It is initialised at one per cent of the variance, as its gradient is 0 at W = 0.

    Args:
        rank: Rows of W; at most d.
        z: Definition of the z-score of a region: "marginal", or "conditional" on the other observed regions of the
            same modality and person.

    Examples:
        >>> d = LowRankGaussian(nn.Linear(3, 4), regions=4, rank=2)(torch.zeros(5, 2), torch.zeros(5, 1))
        >>> d.batch_shape, d.event_shape
        (torch.Size([5]), torch.Size([4]))
    """

    SHARE = 0.01

    def __init__(self, net: nn.Module, regions: int, members: int = 1, *, rank: int = 3, z: str = "marginal") -> None:
        super().__init__(net, regions, members)
        if int(rank) != rank or rank < 1:
            raise InputError("LowRankGaussian.rank", repr(rank), "an integer of at least 1", "give one")
        if z not in {"marginal", "conditional"}:
            raise InputError("LowRankGaussian.z", repr(z), "'marginal' or 'conditional'", "use one of these")
        self.rank, self.given_others = min(rank, regions), z == "conditional"
        self.factor = self._parameter(self._small())

    def _small(self) -> Tensor:
        """Orthogonal cosines over the regions, [rank, d], whose squares sum to about SHARE in each region."""
        rows, columns = torch.arange(1, self.rank + 1)[:, None], torch.arange(self.regions) + 0.5
        return math.sqrt(self.SHARE / self.rank) * torch.cos(math.pi / (self.regions + 1) * rows * columns)

    def forward(self, z: Tensor, c: Tensor) -> LowRankNormal:
        """The joint distribution of the regions given latents and covariates."""
        return LowRankNormal(self.decode(z, c), self.log_scale, self.factor, given_others=self.given_others)

    @torch.no_grad()
    def start(self, loadings: Tensor, effects: Tensor, noise: Tensor, member: int = 0) -> None:
        """See `LinearStart`; `noise` is the total variance given z and c."""
        small = self._small().to(noise)
        super().start(loadings, effects, noise * (1 - small.square().sum(0)), member)
        self._own(self.factor, member).copy_(small * noise.sqrt())


LIKELIHOODS: dict[str, type[LocationScale]] = {
    "normal": Gaussian,
    "normal_hetero": HeteroGaussian,
    "student_t": StudentT,
    "laplace": Laplace,
    "lognormal": LogNormal,
    "mvn_lowrank": LowRankGaussian,
}
"""Name in the configuration -> likelihood, built as (net, regions, members, **options)."""
