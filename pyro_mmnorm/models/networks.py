"""Networks with a linear skip path, batched over ensemble members."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import hardtanh, relu, silu

from pyro_mmnorm.core.errors import InputError

__all__ = ["Encoder", "HasMembers", "Linear", "Network"]

ALL = slice(None)
ACTIVATIONS = {"silu": silu, "relu": relu}


@runtime_checkable
class HasMembers(Protocol):
    """A module that stores how many ensemble members its parameters hold; `MMVAE.member` sets the number to 1."""

    members: int


class Linear(nn.Module):
    r"""An affine map per ensemble member, :math:`x W_e + b_e`.

    Args:
        inputs, outputs: Numbers of features.
        seeds: One seed per member; a single seed gives weights without a member axis.

    Shapes:
        Input [..., n, inputs] or, with E members, any shape that broadcasts to [..., E, n, inputs]; output likewise.
    """

    def __init__(self, inputs: int, outputs: int, seeds: Sequence[int]) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(inputs, 1))
        drawn = [torch.Generator().manual_seed(seed) for seed in seeds]
        weight = torch.stack([torch.rand(inputs, outputs, generator=g) * 2 * bound - bound for g in drawn])
        bias = torch.zeros(len(drawn), 1, outputs)
        self.weight = nn.Parameter(weight if len(drawn) > 1 else weight[0])
        self.bias = nn.Parameter(bias if len(drawn) > 1 else bias[0])

    def forward(self, x: Tensor) -> Tensor:
        """The mapped features."""
        single = self.weight.dim() == 2
        if single and x.dim() == 2:
            return torch.addmm(self.bias, x, self.weight)
        if single:  # the bias is added within the product, without a second pass over many draws
            rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
            return torch.addmm(self.bias, rows, self.weight).reshape(*x.shape[:-1], -1)
        if x.dim() == 3:
            return torch.baddbmm(self.bias, x, self.weight)
        return x @ self.weight + self.bias


class Network(nn.Module):
    r"""A linear map plus a multilayer perceptron, :math:`x A + b + \mathrm{MLP}(x)`.

    The skip path models the linear effects, which dominate in brain measures; the perceptron learns the remainder. Its
    last layer is initialised at zero, so the network starts linear.

    Args:
        inputs, outputs: Numbers of features.
        hidden: Widths of the hidden layers; empty for a linear network.
        seeds: One seed per member.
        skip: False omits the linear path; the perceptron's last layer is then initialised at random.
        activation: Activation of the hidden layers.

    Raises:
        InputError: Without a skip path and without hidden layers.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int],
        seeds: Sequence[int],
        *,
        skip: bool = True,
        activation: Literal["silu", "relu"] = "silu",
    ) -> None:
        super().__init__()
        if not (skip or hidden):
            raise InputError("model.skip", "false without hidden layers", "a path", "give hidden layers, or skip: true")
        widths, self.seeds = [inputs, *hidden], tuple(seeds)
        self.skip = Linear(inputs, outputs, seeds) if skip else None
        self.activation = ACTIVATIONS[activation]
        self.hidden = nn.ModuleList(
            Linear(a, b, [seed + 7919 * (i + 1) for seed in seeds]) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.last = Linear(widths[-1], outputs, seeds) if hidden else None
        if self.last is not None and skip:
            nn.init.zeros_(self.last.weight)

    @torch.no_grad()
    def at_zero(self) -> Self:
        """Set the skip path to zero, so that the network starts as the constant 0."""
        if self.skip is not None:
            self.skip.weight.zero_()
        return self

    @torch.no_grad()
    def freeze_skip(self) -> None:
        """Set the skip path to zero and exclude it from training; initialise the perceptron's last layer at random."""
        if self.skip is not None and self.last is not None:
            self.skip.weight.zero_()
            self.skip.requires_grad_(False)
            inputs, outputs = self.last.weight.shape[-2:]
            self.last.weight.copy_(Linear(inputs, outputs, self.seeds).weight)

    def unfreeze_skip(self) -> None:
        """Include the skip path in training again."""
        if self.skip is not None:
            self.skip.requires_grad_()

    @torch.no_grad()
    def set_linear(self, weight: Tensor, bias: Tensor, member: int = 0, columns: slice = ALL) -> None:
        """Write the skip path of one ensemble member.

        Args:
            weight: [inputs, outputs], or the outputs of `columns` only.
            bias: [outputs], or those of `columns` only.
            member: Number of the member; 0 for a single model.
            columns: Outputs to write.

        Raises:
            InputError: For a network without a skip path.
        """
        if self.skip is None:
            raise InputError(
                "train.start", "linear for networks without a skip path", "skip paths", "use start: random"
            )
        for parameter, value in ((self.skip.weight, weight), (self.skip.bias, bias)):
            own = parameter[member] if parameter.dim() == 3 else parameter
            own[:, columns].copy_(value)

    def trim(self) -> None:
        """Remove a perceptron whose output is exactly zero, as after training that stayed at the linear start."""
        if self.skip is not None and self.last is not None and not any(p.any() for p in self.last.parameters()):
            self.hidden, self.last = nn.ModuleList(), None

    def forward(self, x: Tensor) -> Tensor:
        """[..., n, inputs] -> [..., n, outputs]."""
        out: Tensor | float = 0.0 if self.skip is None else self.skip(x)
        for layer in self.hidden:
            x = self.activation(layer(x))
        return torch.as_tensor(out) if self.last is None else out + self.last(x)


class Encoder(nn.Module):
    r"""One expert: :math:`\tilde q(z \mid x_m, c) = \mathcal{N}(\mu(x_m, c), \operatorname{diag} \sigma^2(x_m, c))`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Values [..., n, d] and covariates [..., n, c] -> location and scale, [..., n, k]."""
        loc, log_scale = self.net(torch.cat([x, c], -1)).chunk(2, -1)
        return loc, hardtanh(log_scale, -7.0, 7.0).exp()  # equal to clamp, with a cheaper gradient
