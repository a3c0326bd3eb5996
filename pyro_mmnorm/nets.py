"""Networks with a linear skip path, batched over ensemble members."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["Encoder", "Linear", "Network"]

ALL = slice(None)


class Linear(nn.Module):
    r"""An affine map per ensemble member, :math:`x W_e + b_e`.

    Args:
        inputs, outputs: Numbers of features.
        seeds: One seed a member; a single seed gives weights without a member axis.

    Shapes:
        Input [..., n, inputs] or, with E members, anything that broadcasts to [..., E, n, inputs]; output likewise.
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
        if x.dim() == 2 and self.weight.dim() == 2:
            return torch.addmm(self.bias, x, self.weight)
        if x.dim() == 3 and self.weight.dim() == 3:
            return torch.baddbmm(self.bias, x, self.weight)
        return x @ self.weight + self.bias


class Network(nn.Module):
    r"""A linear map plus a multilayer perceptron, :math:`x A + b + \mathrm{MLP}(x)`.

    The skip path carries what is linear in brains, which is most of it, so that the perceptron need only learn the
    rest. The perceptron's last layer starts at zero: the network starts linear.

    Args:
        inputs, outputs: Numbers of features.
        hidden: Widths of the hidden layers; empty for a linear network.
        seeds: One seed a member.
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int], seeds: Sequence[int]) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        self.skip = Linear(inputs, outputs, seeds)
        self.hidden = nn.ModuleList(
            Linear(a, b, [seed + 7919 * (i + 1) for seed in seeds]) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.last = Linear(widths[-1], outputs, seeds) if hidden else None
        if self.last is not None:
            nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[..., n, inputs] -> [..., n, outputs]."""
        out: Tensor = self.skip(x)
        if self.last is None:
            return out
        for layer in self.hidden:
            x = torch.nn.functional.silu(layer(x))
        return out + self.last(x)

    @torch.no_grad()
    def set_linear(self, weight: Tensor, bias: Tensor, member: int = 0, columns: slice = ALL) -> None:
        """Write the skip path of one member, in place; while the perceptron is at zero this is the whole network.

        Args:
            weight: [inputs, outputs].
            bias: [outputs].
            member: Which one.
            columns: The outputs that are meant.
        """
        for parameter, value in ((self.skip.weight, weight), (self.skip.bias, bias)):
            own = parameter[member] if parameter.dim() == 3 else parameter
            own[:, columns] = value.to(own)


class Encoder(nn.Module):
    r"""One expert: :math:`\tilde q(z \mid x_m, c) = \mathcal{N}(\mu(x_m, c), \operatorname{diag} \sigma^2(x_m, c))`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Values [..., n, d] and covariates [..., n, c] -> location and scale, [..., n, k]."""
        loc, log_scale = self.net(torch.cat([x, c], -1)).chunk(2, -1)
        return loc, log_scale.clamp(-7.0, 7.0).exp()
