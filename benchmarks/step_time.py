"""One training step of `fit` against a hand-written PyTorch loop of the same nets and batch."""

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import pyro_mmnorm as mm
from pyro_mmnorm.config import TrainConfig
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.covariates import Term
from pyro_mmnorm.data.preprocess import Preprocess
from pyro_mmnorm.inference.elbo import elbo_terms
from pyro_mmnorm.inference.initialisation import start_linear
from pyro_mmnorm.inference.training import Loop
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["HandWritten", "library", "step_ratio"]

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


class HandWritten:
    """A model and a step written by hand in PyTorch: no Pyro, no missing cells, closed-form KL."""

    def __init__(self, batch: Batch) -> None:
        sizes, c = [x.shape[-1] for x in batch.values.values()], batch.covariates.shape[-1]
        self.encoders = nn.ModuleList(_SkipNet(d + c, 2 * LATENTS, HIDDEN) for d in sizes)
        self.decoders = nn.ModuleList(_SkipNet(LATENTS + c, d, HIDDEN[::-1]) for d in sizes)
        self.log_scales = nn.ParameterList(nn.Parameter(torch.zeros(d)) for d in sizes)
        parameters = [*self.encoders.parameters(), *self.decoders.parameters(), *self.log_scales]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-3, fused=True)
        self.values, self.covariates = list(batch.values.values()), batch.covariates
        self.order, self.begin = torch.randperm(len(batch)), 0

    def loss(self, xs: list[Tensor], c: Tensor) -> Tensor:
        """Negative ELBO of one draw, summed over people."""
        precision, weighted = torch.ones(()), torch.zeros(())
        for x, encode in zip(xs, self.encoders, strict=True):
            loc, log_scale = encode(torch.cat([x, c], -1)).chunk(2, -1)
            t = (-2 * log_scale).exp()
            precision, weighted = precision + t, weighted + t * loc
        loc, scale = weighted / precision, precision.rsqrt()
        z = loc + scale * torch.randn_like(scale)
        loss = 0.5 * (loc**2 + scale**2 - 1 - 2 * scale.log()).sum()
        zc = torch.cat([z, c], -1)
        for x, decode, log_scale in zip(xs, self.decoders, self.log_scales, strict=True):
            loss = loss + (0.5 * ((x - decode(zc)) / log_scale.exp()) ** 2 + log_scale + 0.9189385332).sum()
        return loss

    def __call__(self) -> None:
        """One step on the next minibatch."""
        rows = self.order[self.begin : self.begin + ROWS]
        self.begin = (self.begin + ROWS) % len(self.order)
        loss = self.loss([x[rows] for x in self.values], self.covariates[rows])
        self.optimiser.zero_grad(set_to_none=True)
        (loss / len(rows)).backward()
        self.optimiser.step()


def library(batch: Batch, members: int = 1) -> Callable[[], None]:
    """A step of `fit`, including the gathering of the rows."""
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


def members(count: int = 20) -> float:
    """A step of 20 members on two threads, per member, over a step of one on one thread."""
    batch = cohort()
    alone, crowd = library(batch), library(batch, count)
    before = torch.get_num_threads()
    times: dict[str, list[float]] = {"alone": [], "crowd": []}
    try:
        for i in range(60):
            for name, step, threads in (("alone", alone, 1), ("crowd", crowd, 2)):
                torch.set_num_threads(threads)
                began = time.perf_counter()
                step()
                if i >= 10:
                    times[name].append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return statistics.median(times["crowd"]) / count / statistics.median(times["alone"])


def to_quality(epochs: int = 100) -> float:
    """Seconds until our fit is as good on held-out people as 100 epochs of the hand-written loop, over its seconds.

    The measure is the negative ELBO of 1,000 people of a simulated cohort, 8 draws each; its computation is not timed.
    NaN when it is never reached.
    """
    scenario = {f"m{i}": d for i, d in enumerate(SIZES)}
    drawn = mm.simulate(healthy=3580, patients=1, regions=scenario, seed=5, nonlinear=1.0)
    healthy = drawn.participants["diagnosis"] == "CN"
    drawn.participants.loc[healthy, "split"] = ["train"] * PEOPLE + ["calibrate"] * 20 + ["test"] * 1000
    one = drawn.to_cohort()
    torch.manual_seed(0)
    with one_thread():
        model = mm.MMVAE.for_cohort(one, latent_dim=LATENTS, hidden=HIDDEN)
        train, held_out = (model.preprocess(part) for part in (one.train, one.test))
        by_hand = HandWritten(train)
        steps = epochs * PEOPLE // ROWS
        began = time.perf_counter()
        for _ in range(steps):
            by_hand()
        theirs = time.perf_counter() - began
        xs, c = list(held_out.values.values()), held_out.covariates
        with torch.no_grad():
            target = statistics.mean(float(by_hand.loss(xs, c)) for _ in range(8)) / len(held_out)
        began = time.perf_counter()
        start_linear(model, train, torch.arange(PEOPLE)[None])
        loop = Loop(model, train, TrainConfig())
        ours = time.perf_counter() - began
        for epoch in range(epochs):
            logs, kl = elbo_terms(model, held_out, 8)
            if float((kl - sum(logs.values())).mean()) <= target:
                return ours / theirs
            began = time.perf_counter()
            rows = torch.randperm(PEOPLE)[None]
            for begin in range(0, PEOPLE, ROWS):
                loop.step(loop.gather(rows[:, begin : begin + ROWS]), 1.0, epoch)
            ours += time.perf_counter() - began
    return math.nan


def main() -> dict[str, float]:
    """The figures of this file."""
    batch = cohort()
    with one_thread():
        a, b, ratio = step_ratio(library(batch), HandWritten(batch))
    return {"library_ms": 1e3 * a, "hand_written_ms": 1e3 * b, "ratio": ratio}


if __name__ == "__main__":
    print(main())
