"""fit(): stochastic variational inference with KL warm-up, early stopping and a history table."""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyro
import torch
from pyro import poutine
from pyro.poutine.indep_messenger import IndepMessenger
from torch import Tensor

from pyro_mmnorm.config import TrainConfig
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.inference.elbo import MeanFieldELBO, OwnNoise, elbo_terms, hide_cells, subsampled
from pyro_mmnorm.inference.evidence import latent_table
from pyro_mmnorm.inference.initialisation import Start, initialisations, start_linear, started
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["Loop", "device_of", "fit"]

VALIDATION_DRAWS = 4  # of the latents, for the validation loss
MIN_BATCH, STEPS_PER_EPOCH = 32, 8  # small cohorts have smaller batches, so that an epoch has 8 steps


def device_of(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` -> a device; `auto` is the GPU where available.

    Raises:
        InputError: For `cuda` on a machine without one.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device", "'cuda'", "a machine with a CUDA device", "use device auto or cpu")
    if name not in ("cpu", "cuda"):
        raise InputError("device", repr(name), "auto, cpu or cuda", "use one of these")
    return torch.device(name)


def rising(epoch: int, warmup: int) -> float:
    """Factor on the KL weight in `epoch` (counted from 0): increases linearly to 1, starting above 0."""
    return min(1.0, (epoch + 1) / max(1, warmup))


@contextlib.contextmanager
def _distributions_checked_once() -> Iterator[None]:
    """Restore the validation of distributions, which takes a third of a step and is disabled after the first one."""
    names = ("validate_distributions_pyro", "validate_distributions_torch", "validate_infer", "validate_poutine")
    before = {name: pyro.settings.get(name) for name in names}
    try:
        yield
    finally:
        pyro.settings.set(**before)


def fit(
    model: MMVAE,
    cohort: Cohort,
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: bool | None = None,
) -> pd.DataFrame:
    """Train in place on healthy people, and restore the weights with the lowest validation loss.

    If no epoch improves on the linear start, the data have no nonlinear effects that this sample size can show: the
    model stays at its linear start, which is then recomputed with the validation part. If one does and `start` is
    `best`, a second model is trained from random weights with frozen linear paths, and the model with the lower
    validation loss is kept. All members of an ensemble keep the start with the lower mean loss.

    Args:
        model: From `MMVAE.for_cohort`.
        cohort: Training controls (`cohort.train`), part of which is used for early stopping.
        config: Defaults of `TrainConfig` when None.
        seed: Seed of the validation part, the order of subjects and the draws.
        device: auto, cpu or cuda; afterwards the model is on the CPU.
        progress: Whether to show a progress bar; None: only on a terminal.

    Returns:
        One row per epoch from the start that was kept: epoch, loss and validation_loss (negative ELBO per subject), kl,
        log_likelihood_<modality> of the validation part, active_units (latents whose posterior mean has a variance
        above 0.01 between subjects), share_prior and share_<expert> (of the posterior's precision, mean over latents),
        kl_latent_<l>, best_epoch (so far; 0 is the start), beta, seconds, and start. In ensembles, figures are means
        over members, and validation_loss_member_<e> and best_epoch_member_<e> are those of each member.

    Raises:
        InputError: For a model without preprocessing, an unknown device, or networks that `start` does not fit.
        FloatingPointError: When the loss is not finite; the message names the site.

    References:
        Burda, Grosse & Salakhutdinov (2016), https://arxiv.org/abs/1509.00519 (active units)

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
        >>> model = mm.MMVAE.for_cohort(cohort, latent_dim=4)
        >>> history = mm.fit(model, cohort.train, mm.TrainConfig(epochs=2), progress=False)
        >>> list(history["epoch"])
        [1, 2]
    """
    config = config or TrainConfig()
    if model.preprocess is None:
        raise InputError(
            "fit",
            "a model without preprocessing",
            "one of MMVAE.for_cohort",
            "use for_cohort, or write your own SVI loop",
        )
    place = device_of(device)
    batch = model.preprocess(cohort)
    model.check_support(batch)
    rows, validation = _split_rows(len(batch), model.members, config, seed)
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_thread())
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(pyro.get_param_store().scope())
        built, fits = _weights(model), []
        for start in initialisations(model, config.start, validation=bool(validation.shape[1])):
            model.load_state_dict(built)
            torch.manual_seed(seed)
            with started(model, start, batch, rows):
                loop = Loop(
                    model.to(place),
                    batch.to(place),
                    config,
                    validation.to(place),
                    seed=seed,
                    warmup=config.warmup(start),
                )
                batch = loop.rows.batch
                epochs = bar(range(config.epochs), f"training, {start} start", unit="epoch", shown=progress)
                try:
                    history = loop.run(rows.to(place), epochs)
                finally:
                    model.to("cpu").eval()
            batch = batch.to(torch.device("cpu"))
            loss, stayed = float(loop.best_loss.mean()), loop.best_epoch < 0
            fits.append(_Fit(start, loss, history.assign(start=start), _weights(model), stayed))
            if stayed.all():
                break
        best = min(fits, key=lambda one: one.loss)
        model.load_state_dict(best.weights)
        if best.start == "linear" and config.resample == "none" and validation.shape[1]:
            start_linear(model, batch, torch.cat([rows, validation], 1), torch.where(best.stayed)[0].tolist())
        return best.history


class _Fit(NamedTuple):
    """Result of training from one start: validation loss, history, weights, and which members stayed at the start."""

    start: Start
    loss: float
    history: pd.DataFrame
    weights: dict[str, Tensor]
    stayed: Tensor


def _weights(model: MMVAE) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in model.state_dict().items()}


def _split_rows(n: int, members: int, config: TrainConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Training rows [members, a] and validation rows [members, b]; member e has those of a model with seed + e."""
    orders = [torch.from_numpy(np.random.default_rng(seed + e).permutation(n)) for e in range(members)]
    if config.resample == "folds":
        if members < 2:
            raise InputError("train.resample", "folds with 1 member", "at least 2 members", "set model.members")
        fold = torch.arange(n)[orders[0].argsort()] % members
        folds = [torch.where(fold == e)[0] for e in range(members)]
        least = n // members
        rows = [torch.where(fold != e)[0][: n - least - 1 if n % members else n - least] for e in range(members)]
        return torch.stack(rows), torch.stack([f[:least] for f in folds])
    held = round(n * config.validation) if config.early_stopping else 0
    rest, validation = (
        [part.sort().values for part in parts] for parts in zip(*((o[held:], o[:held]) for o in orders), strict=True)
    )
    if config.resample == "bootstrap":
        drawn = [np.random.default_rng([seed + e, 1]).integers(0, len(r), len(r)) for e, r in enumerate(rest)]
        rest = [r[torch.from_numpy(d).sort().values] for r, d in zip(rest, drawn, strict=True)]
    return torch.stack(rest), torch.stack(validation)


class _Rows:
    """A batch concatenated in memory, so that rows are gathered by two indexings instead of one per table."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.sizes = [x.shape[-1] for x in batch.values.values()]
        self.numbers = torch.cat([*batch.values.values(), batch.covariates], -1)
        self.observed = torch.cat(list(batch.observed.values()), -1)
        self.batch = self(slice(None)).replace_unchecked(index=batch.index)  # views: no copy in memory

    def __call__(self, rows: Tensor | slice) -> Batch:
        """The people at `rows`, [b] or [members, b]."""
        *values, covariates = self.numbers[rows].split([*self.sizes, self.batch.covariates.shape[-1]], -1)
        observed = self.observed[rows].split(self.sizes, -1)
        names = self.batch.values
        return self.batch.replace_unchecked(
            values=dict(zip(names, values, strict=True)),
            observed=dict(zip(names, observed, strict=True)),
            covariates=covariates,
            index=rows,
        )


class Loop:
    """The state of one fit, and its steps.

    Args:
        model: Trained in place.
        batch: The whole training cohort.
        config: Settings of the fit.
        validation: Validation rows of each member, [members, b]; none when None.
        seed: Member e shuffles, masks and draws as a single model with seed + e.
        warmup: Epochs of KL warm-up.
    """

    def __init__(
        self,
        model: MMVAE,
        batch: Batch,
        config: TrainConfig,
        validation: Tensor | None = None,
        *,
        seed: int = 0,
        warmup: int = 0,
    ) -> None:
        self.model, self.rows, self.config, self.warmup = model.train(), _Rows(batch), config, warmup
        place = batch.covariates.device
        self.generators = [torch.Generator(place).manual_seed(seed + e) for e in range(model.members)]
        self.validation = None if validation is None or not validation.shape[1] else self.gather(validation)
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.elbo, self.noise = MeanFieldELBO(config.free_bits), OwnNoise(self.generators)
        self.best_loss = torch.full((model.members,), torch.inf)
        self.best_epoch = torch.zeros(model.members, dtype=torch.long)
        self.stopped = torch.zeros(model.members, dtype=torch.bool)
        self.best = {name: x.detach().clone() for name, x in model.named_parameters()}

    def run(self, rows: Tensor, epochs: Any) -> pd.DataFrame:
        """Train on `rows`, [members, a], until `epochs` end or early stopping."""
        history: list[dict[str, float]] = []
        if self.validation is not None:
            self._validate(self.validation, -1)
        with contextlib.closing(epochs), _distributions_checked_once():
            for epoch in epochs:
                row = self._epoch(rows, epoch)
                history.append(row)
                epochs.set_postfix(loss=f"{row.get('validation_loss', row['loss']):.2f}", refresh=False)
                if self._stops(epoch):
                    break
        if self.validation is not None:
            self.model.load_state_dict(self.best, strict=False)  # buffers never change
        return pd.DataFrame(history)

    def gather(self, rows: Tensor) -> Batch:
        """The people at `rows`, [members, b], without a member axis for a single model."""
        return self.rows(rows if self.model.members > 1 else rows[0])

    def _epoch(self, rows: Tensor, epoch: int) -> dict[str, float]:
        began = time.perf_counter()
        beta = rising(epoch, self.warmup) * self.model.beta
        n = rows.shape[1]
        size = min(self.config.batch_size, max(MIN_BATCH, n // STEPS_PER_EPOCH))
        shuffled = rows.gather(
            1, torch.stack([torch.randperm(n, generator=g, device=g.device) for g in self.generators])
        )
        starts = range(0, n - size // 2, size)
        losses = [self.step(self.gather(shuffled[:, begin : begin + size]), beta, epoch) for begin in starts]
        row = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "beta": float(torch.as_tensor(beta).mean())}
        if self.validation is not None:
            row |= self._validate(self.validation, epoch)
        return row | {"seconds": time.perf_counter() - began}

    def step(self, batch: Batch, beta: float | Tensor, epoch: int) -> float:
        """One gradient step; the loss per subject and member."""
        self.optimiser.zero_grad(set_to_none=True)
        if self.config.objective == "subsampled":
            batch = subsampled(batch, self.config.subsets, self.generators)
        if self.config.hide_cells:
            batch = hide_cells(batch, self.config.hide_cells, self.generators)
        with self.noise:
            loss = self.elbo.differentiable_loss(
                self.model.generate, self.model.infer, batch, beta=beta, plate=IndepMessenger
            ) / len(batch)
        loss.backward()
        value = loss.item() / self.model.members
        if not math.isfinite(value):
            raise FloatingPointError(_blame(self.model, batch, beta, epoch))
        self.optimiser.step()
        pyro.enable_validation(False)  # the first step was checked
        return value

    def _validate(self, validation: Batch, epoch: int) -> dict[str, float]:
        """Figures of the validation part; stores the best weights of each member."""
        members = self.model.members
        logs, kl = elbo_terms(self.model, validation, VALIDATION_DRAWS)
        # loss with the final weight of the KL, so that epochs of the warm-up are comparable
        total = self.model.beta * kl
        for m, weight in self.model.weights.items():
            total = total - weight * logs[m]
        latents = latent_table(self.model, validation)
        active = torch.as_tensor(latents.groupby("member")["active"].sum().to_numpy(float))
        figures = {"validation_loss": total.mean(-1), "kl": kl.mean(-1), "active_units": active}
        figures |= {f"log_likelihood_{m}": x.mean(-1) for m, x in logs.items()}
        # each member keeps its own best weights
        loss = figures["validation_loss"].reshape(members).cpu()
        better = (loss < self.best_loss) & ~self.stopped
        for name, x in self.model.named_parameters():
            shape = (-1, *[1] * (x.dim() - 1)) if members > 1 else ()
            self.best[name] = torch.where(better.to(x.device).reshape(shape), x.detach(), self.best[name])
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best_epoch = torch.where(better, epoch, self.best_epoch)
        shares = latents.filter(like="share_").mean()
        per_latent = latents.groupby("latent")["kl"].mean()
        own = {"validation_loss": loss, "best_epoch": self.best_epoch + 1}
        each = {f"{name}_member_{e}": float(x) for name, values in own.items() for e, x in enumerate(values)}
        return {
            **{name: float(x.mean()) for name, x in figures.items()},
            **{str(name): float(x) for name, x in shares.items()},
            **{f"kl_latent_{name}": float(x) for name, x in per_latent.items()},
            **(each if members > 1 else {"best_epoch": int(self.best_epoch) + 1}),
        }

    def _stops(self, epoch: int) -> bool:
        if self.validation is None or not self.config.early_stopping:
            return False
        # patience counts from the best epoch, or from the end of the warm-up if that is later
        since = epoch - torch.clamp(self.best_epoch, min=min(self.warmup, self.config.epochs))
        self.stopped |= since >= self.config.patience
        return bool(self.stopped.all())


def _blame(model: MMVAE, batch: Batch, beta: float | Tensor, epoch: int) -> str:
    """The site or parameter that is not finite."""
    where = f"fit: epoch {epoch + 1}"
    todo = "Lower train.learning_rate, or look for extreme values with `mmnorm inspect`."
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"{where}: parameter {name!r} is not finite; expected finite numbers. {todo}"
    guide = poutine.trace(model.infer).get_trace(batch, beta=beta)
    trace = poutine.trace(poutine.replay(model.generate, trace=guide)).get_trace(batch, beta=beta)
    for part in (guide, trace):
        part.compute_log_prob()
        for name, site in part.nodes.items():
            if site["type"] == "sample" and not torch.isfinite(site["log_prob_sum"]):
                got = f"site {name!r} has log-probability {site['log_prob_sum']:.3g}"
                return f"{where}: {got}; expected a finite number. {todo}"
    return f"{where}: the loss is not finite, though every site is; expected a finite number. {todo}"
