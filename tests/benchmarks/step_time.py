"""One training step of `fit` against a hand-written PyTorch loop of the same nets and batch."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyro_mmnorm.cohort import Batch
from pyro_mmnorm.config import TrainConfig
from pyro_mmnorm.preprocess import Preprocess, Term
from pyro_mmnorm.threads import one_thread
from pyro_mmnorm.training import Loop
from pyro_mmnorm.vae import MMVAE

__all__ = ["hand_written", "library", "step_ratio"]

SIZES, LATENTS, HIDDEN, ROWS, PEOPLE = (64, 35, 16), 10, (64, 32), 256, 2560


def cohort() -> Batch:
    """Random people in model units: three modalities, one covariate."""
    g = torch.Generator().manual_seed(0)
    return Batch(
        values={f"m{i}": torch.randn(PEOPLE, d, generator=g) for i, d in enumerate(SIZES)},
        observed={f"m{i}": torch.ones(PEOPLE, d, dtype=torch.bool) for i, d in enumerate(SIZES)},
        covariates=torch.randn(PEOPLE, 1, generator=g),
        index=torch.arange(PEOPLE),
    )


def build(members: int = 1) -> MMVAE:
    """The library's model of these sizes."""
    regions = {f"m{i}": tuple(f"r{j}" for j in range(d)) for i, d in enumerate(SIZES)}
    term = Term(name="age", kind="linear", loc=(0.0,), scale=(1.0,))
    preprocess = Preprocess(regions=regions, set_aside={}, loc={}, scale={}, terms=(term,))
    return MMVAE.build(preprocess, latent_dim=LATENTS, hidden=HIDDEN, members=members)


class _SkipNet(nn.Module):
    def __init__(self, inputs: int, outputs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.skip = nn.Linear(inputs, outputs)
        a, b = hidden
        self.mlp = nn.Sequential(nn.Linear(inputs, a), nn.SiLU(), nn.Linear(a, b), nn.SiLU(), nn.Linear(b, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.mlp(x)


def hand_written(batch: Batch) -> Callable[[], None]:
    """A step as one would write it by hand in PyTorch: no Pyro, no missing cells, closed-form KL."""
    encoders = nn.ModuleList(_SkipNet(d + 1, 2 * LATENTS, HIDDEN) for d in SIZES)
    decoders = nn.ModuleList(_SkipNet(LATENTS + 1, d, HIDDEN[::-1]) for d in SIZES)
    log_scales = nn.ParameterList(nn.Parameter(torch.zeros(d)) for d in SIZES)
    optimiser = torch.optim.Adam([*encoders.parameters(), *decoders.parameters(), *log_scales], lr=1e-3, fused=True)
    values, covariates = list(batch.values.values()), batch.covariates
    order = torch.randperm(PEOPLE)
    begin = 0

    def step() -> None:
        nonlocal begin
        rows = order[begin : begin + ROWS]
        begin = (begin + ROWS) % PEOPLE
        c = covariates[rows]
        precision, weighted = torch.ones(()), torch.zeros(())
        xs = [x[rows] for x in values]
        for x, encode in zip(xs, encoders, strict=True):
            loc, log_scale = encode(torch.cat([x, c], -1)).chunk(2, -1)
            t = (-2 * log_scale).exp()
            precision, weighted = precision + t, weighted + t * loc
        loc, scale = weighted / precision, precision.rsqrt()
        z = loc + scale * torch.randn_like(scale)
        loss = 0.5 * (loc**2 + scale**2 - 1 - 2 * scale.log()).sum()
        zc = torch.cat([z, c], -1)
        for x, decode, log_scale in zip(xs, decoders, log_scales, strict=True):
            loss = loss + (0.5 * ((x - decode(zc)) / log_scale.exp()) ** 2 + log_scale + 0.9189385332).sum()
        optimiser.zero_grad(set_to_none=True)
        (loss / ROWS).backward()
        optimiser.step()

    return step


def library(batch: Batch, members: int = 1) -> Callable[[], None]:
    """A step as `fit` makes it, gathering of the rows included."""
    loop = Loop(build(members), batch, TrainConfig())
    rows = torch.randperm(PEOPLE).expand(members, -1)
    begin = 0

    def step() -> None:
        nonlocal begin
        loop.step(loop.gather(rows[:, begin : begin + ROWS]), 1.0, 0)
        begin = (begin + ROWS) % PEOPLE

    return step


def step_ratio(
    first: Callable[[], None], second: Callable[[], None], rounds: int = 180, warm: int = 20
) -> tuple[float, float, float]:
    """Interleaved medians: seconds of each and their ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + warm):
        for step, into in zip((first, second), times, strict=True):
            began = time.perf_counter()
            step()
            if i >= warm:
                into.append(time.perf_counter() - began)
    a, b = (statistics.median(part) for part in times)
    return a, b, a / b


def main() -> dict[str, float]:
    """The figures of this file."""
    batch = cohort()
    with one_thread():
        a, b, ratio = step_ratio(library(batch), hand_written(batch))
    return {"library_ms": 1e3 * a, "hand_written_ms": 1e3 * b, "ratio": ratio}


if __name__ == "__main__":
    print(main())
