"""NormativeModel: a trained model and its calibrators; deviations of any person from the norm."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from pyro_mmnorm import checkpoint
from pyro_mmnorm.calibration import CALIBRATORS, GaussianCalibrator, mean_square
from pyro_mmnorm.cohort import Batch, Cohort
from pyro_mmnorm.draws import latent_draws, log_mean_exp
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.statistics import benjamini_hochberg
from pyro_mmnorm.tails import log_cdf, log_sf
from pyro_mmnorm.threads import one_thread
from pyro_mmnorm.vae import MMVAE

__all__ = ["KINDS", "NormativeModel", "load"]

KINDS = ("reconstruction",)
"""Kinds of deviation: how z is drawn for a person."""
BUDGET_CELLS = 2**21  # draws x members x subjects x regions held at once: 16 MiB an array of float64


class NormativeModel:
    r"""A trained model with calibrators, the norm that people are compared with.

    For person i and region j the predictive distribution is the mixture over draws

    .. math:: F_{ij}(x) = \frac1S \sum_s F(x \mid z_s, c_i), \qquad z_s \sim q(z \mid X_i, c_i)

    and the raw deviation :math:`z^{raw}_{ij} = \Phi^{-1}(F_{ij}(x_ij))`, negative when the region is smaller than
    expected. It is computed from log CDF and log survival, so it stays finite and monotone far out. A calibrator fitted
    on held-out controls turns raw into calibrated z.

    Args:
        model: Trained, with its preprocessing.
        draws: Draws of the latents per person (and member).
        calibrator: Name in `CALIBRATORS`.
        seed: Of the common draws.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> model = mm.MMVAE.for_cohort(cohort, latent_dim=4)
        >>> history = mm.fit(model, cohort.train, mm.TrainConfig(epochs=2), progress=False)
        >>> norm = mm.NormativeModel(model).calibrate(cohort.calibrate)
        >>> norm.deviations(cohort.target)["z"].dims
        ('subject', 'region')
    """

    def __init__(self, model: MMVAE, *, draws: int = 256, calibrator: str = "gaussian", seed: int = 0) -> None:
        if model.preprocess is None:
            raise InputError(
                "NormativeModel", "a model without preprocessing", "one of MMVAE.for_cohort", "build it so"
            )
        if calibrator not in CALIBRATORS:
            raise InputError(
                "deviations.calibrator", repr(calibrator), f"one of {sorted(CALIBRATORS)}", "use one of these"
            )
        self.model, self.draws, self.calibrator, self.seed = model, draws, calibrator, seed
        self.preprocess = model.preprocess
        self.calibrators: dict[str, GaussianCalibrator] = {}

    def calibrate(self, cohort: Cohort, kinds: tuple[str, ...] = KINDS) -> Self:
        """Fit a calibrator per kind on held-out controls; returns self.

        Args:
            cohort: Controls that the model was not trained on (`cohort.calibrate`), at least 10.
            kinds: Kinds of deviation.
        """
        if len(cohort) < 10:
            raise InputError("calibrate", f"{len(cohort)} controls", "at least 10", "hold out more healthy people")
        design = self.preprocess.design(cohort)
        for kind in kinds:
            raw = self.raw(cohort, kind)["z_raw"].to_numpy()
            self.calibrators[kind] = CALIBRATORS[self.calibrator](raw, design, self.preprocess.groups)
        return self

    def raw(self, cohort: Cohort, kind: str = "reconstruction", *, member: int | None = None) -> xr.Dataset:
        """Raw z and the predictive mean and SD in the units of the table; dims (subject, region).

        Args:
            cohort: Anybody.
            kind: Kind of deviation.
            member: Only this ensemble member; all of them, mixed, when None.
        """
        if kind not in KINDS:
            raise InputError("kind", repr(kind), f"one of {KINDS}", "use one of these")
        batch = self.preprocess(cohort)
        model = copy.deepcopy(self.model).double().eval()
        with torch.no_grad(), one_thread():
            chunks = [self._raw_chunk(model, part, member) for part in _chunks(batch, self.draws * model.members)]
        z, loc, scale = (np.concatenate(part) for part in zip(*chunks, strict=True))
        seen = np.concatenate([batch.observed[m].numpy() for m in self.preprocess.regions], 1)
        units = [
            np.concatenate([np.asarray(part[m]) for m in self.preprocess.regions])
            for part in (self.preprocess.scale, self.preprocess.loc)
        ]
        dims = ("subject", "region")
        return xr.Dataset(
            {
                "z_raw": (dims, np.where(seen, z, np.nan)),
                "expected": (dims, loc * units[0] + units[1]),
                "sd": (dims, scale * units[0]),
            },
            coords=self._coords(cohort),
        )

    def _raw_chunk(self, model: MMVAE, batch: Batch, member: int | None) -> tuple[NDArray[Any], ...]:
        draws = latent_draws(model.posterior(batch), self.draws, self.seed)
        parts = [_mixture(model, m, draws, batch, member) for m in model.likelihoods]
        return tuple(torch.cat(part, -1).numpy() for part in zip(*parts, strict=True))

    def deviations(self, cohort: Cohort, kind: str = "reconstruction") -> xr.Dataset:
        """Calibrated deviations of anybody; dims (subject, region), NaN where a region was not observed.

        Returns:
            z: calibrated z-score; z_raw: before calibration; p: two-sided conformal p; q: Benjamini-Hochberg over the
            person's regions of the p-value of z; expected, sd: mean and SD that the norm expects, in the units of the
            table; extrapolated: raw z beyond the range of the calibration people; omnibus, omnibus_p (subject): mean
            z^2 and its conformal p; mse (subject): mean squared reconstruction error in training SDs.

        Raises:
            InputError: Before `calibrate`, or for people that the model cannot place.
        """
        if kind not in self.calibrators:
            raise InputError(
                "deviations",
                f"kind {kind!r} is not calibrated",
                f"one of {sorted(self.calibrators)}",
                "call calibrate first",
            )
        raw = self.raw(cohort, kind)
        return self.calibrated(raw, self.preprocess.design(cohort), kind, cohort)

    def calibrated(self, raw: xr.Dataset, design: NDArray[np.float64], kind: str, cohort: Cohort) -> xr.Dataset:
        """Raw deviations with everything that the calibrator adds."""
        calibrator, dims = self.calibrators[kind], ("subject", "region")
        z_raw = raw["z_raw"].to_numpy()
        z = calibrator(z_raw, design)
        centre, low, high = (calibrator.raw_at(at, design) for at in (0.0, -1.0, 1.0))
        q = benjamini_hochberg(2 * special.ndtr(-np.abs(z)), axis=1)
        omnibus = mean_square(z)
        observed = np.concatenate(
            [
                cohort.values[m][list(r)].to_numpy(float)
                if m in cohort.values
                else np.full((len(cohort), len(r)), np.nan)
                for m, r in self.preprocess.regions.items()
            ],
            1,
        )
        unit = np.concatenate([np.asarray(self.preprocess.scale[m]) for m in self.preprocess.regions])
        error = (observed - raw["expected"].to_numpy()) / unit
        return raw.assign(
            z=(dims, z),
            p=(dims, calibrator.conformal(np.abs(z))),
            q=(dims, q),
            expected=(dims, raw["expected"].to_numpy() + centre * raw["sd"].to_numpy()),
            sd=(dims, raw["sd"].to_numpy() * (high - low) / 2),
            extrapolated=(dims, np.abs(z) > calibrator.conformal.largest_score),
            omnibus=("subject", omnibus),
            omnibus_p=("subject", calibrator.omnibus(omnibus[:, None])[:, 0]),
            mse=("subject", mean_square(error)),
        )

    def _coords(self, cohort: Cohort) -> dict[str, Any]:
        pairs = [(m, region) for m, part in self.preprocess.regions.items() for region in part]
        return {
            "subject": cohort.ids.to_numpy(object).astype(str),
            "region": [f"{m}.{region}" for m, region in pairs],
            "modality": ("region", [m for m, _ in pairs]),
            "region_name": ("region", [region for _, region in pairs]),
        }

    def save(self, folder: str | Path) -> None:
        """Write a model folder: weights and arrays in safetensors, the rest in JSON, with checksums."""
        arrays = {f"model.{name}": x.numpy() for name, x in self.model.state_dict().items()}
        for kind, calibrator in self.calibrators.items():
            arrays |= {f"calibrator.{kind}.{name}": x for name, x in calibrator.to_arrays().items()}
        record = {
            "model": self.model.record,
            "preprocess": self.preprocess.to_record(),
            "draws": self.draws,
            "calibrator": self.calibrator,
            "seed": self.seed,
            "kinds": list(self.calibrators),
        }
        checkpoint.write(folder, arrays, record)


def load(folder: str | Path) -> NormativeModel:
    """The normative model in a folder that `NormativeModel.save` wrote; executes nothing of what it reads.

    Raises:
        InputError: When a file is missing or was altered.
    """
    from pyro_mmnorm.preprocess import Preprocess

    arrays, record = checkpoint.read(folder)
    preprocess = Preprocess.from_record(record["preprocess"])
    model = MMVAE.build(preprocess, **record["model"])
    model.load_state_dict(checkpoint.tensors(arrays, "model.", model.state_dict()))
    norm = NormativeModel(model.eval(), draws=record["draws"], calibrator=record["calibrator"], seed=record["seed"])
    for kind in record["kinds"]:
        prefix = f"calibrator.{kind}."
        part = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
        norm.calibrators[kind] = GaussianCalibrator.from_arrays(part, preprocess.groups)
    return norm


def _chunks(batch: Batch, draws: int) -> Iterator[Batch]:
    """The batch in float64, in pieces that keep the widest array within the budget."""
    widest = max(x.shape[-1] for x in batch.values.values())
    size = max(1, BUDGET_CELLS // (draws * widest))
    for begin in range(0, len(batch), size):
        part = batch[slice(begin, begin + size)]
        yield Batch(
            values={m: x.double() for m, x in part.values.items()},
            observed=part.observed,
            covariates=part.covariates.double(),
            index=part.index,
        )


def _mixture(model: MMVAE, m: str, draws: Tensor, batch: Batch, member: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Raw z, mean and SD of the mixture over draws and members, [n, d] each."""
    predictive, x = model.likelihood(m, draws, batch), batch.values[m]
    over: tuple[int, ...] = (0, 1) if model.members > 1 else (0,)
    low, high, mean, variance = log_cdf(predictive, x), log_sf(predictive, x), predictive.mean, predictive.variance
    if member is not None and model.members > 1:
        low, high, mean, variance = (part[:, member] for part in torch.broadcast_tensors(low, high, mean, variance))
        over = (0,)
    z = raw_z(log_mean_exp(low, over), log_mean_exp(high, over))
    mean, variance = torch.broadcast_tensors(mean, variance)
    centre = mean.mean(over)
    return z, centre, (variance.mean(over) + (mean - centre).square().mean(over)).sqrt()


def raw_z(log_cdf: Tensor, log_sf: Tensor) -> Tensor:
    """z with these two tails: the inverse normal of the smaller one, which loses nothing far out."""
    lower = torch.from_numpy(special.ndtri_exp(log_cdf.numpy()))
    upper = torch.from_numpy(special.ndtri_exp(log_sf.numpy()))
    return torch.where(log_cdf < log_sf, lower, -upper)
