"""NormativeModel: a trained model and its calibrators; deviations of any person from the norm."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from pyro_mmnorm import checkpoint
from pyro_mmnorm.calibration import CALIBRATORS, Calibrator, Fit, load_calibrator, mean_square
from pyro_mmnorm.cohort import Cohort
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.evidence import log_evidence
from pyro_mmnorm.latents import DiagonalNormal
from pyro_mmnorm.linear_gaussian import Exact, LinearGaussian
from pyro_mmnorm.mahalanobis import LatentNorm
from pyro_mmnorm.predictive import REGIONAL, Predictive
from pyro_mmnorm.preprocess import Preprocess
from pyro_mmnorm.statistics import benjamini_hochberg
from pyro_mmnorm.threads import one_thread
from pyro_mmnorm.vae import MMVAE

__all__ = ["KINDS", "NormativeModel", "load"]

type Floats = NDArray[np.float64]

KINDS = (*REGIONAL, "latent")
"""Kinds of deviation; METHOD in docs/deviations.md says which question each answers."""
REFINE = 5
"""Local steps on each person's posterior where it can be refined, if nothing else is said."""
FEWEST = 10


class NormativeModel:
    r"""A trained model with calibrators, the norm that people are compared with.

    For person i and region j the predictive distribution is the mixture over draws

    .. math:: F_{ij}(x) = \frac1S \sum_s F(x \mid z_s, c_i)

    with z_s drawn as the kind of deviation says (see `Predictive`), and the raw deviation
    :math:`z^{raw}_{ij} = \Phi^{-1}(F_{ij}(x_{ij}))`, negative when the region is smaller than expected. A calibrator
    fitted on held-out controls turns raw into calibrated z.

    Args:
        model: Trained, with its preprocessing; a `LinearGaussian` needs no draws.
        draws: Draws of the latents per person (and member).
        normative_draws: Draws from the prior, for kind `normative`.
        refine: Local steps on each person's posterior; None: 5 where it is diagonal normal (poe, gpoe), else 0.
        calibrator: Name in `CALIBRATORS`, or a callable of the same signature.
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

    def __init__(
        self,
        model: MMVAE | LinearGaussian,
        *,
        draws: int = 256,
        normative_draws: int = 4096,
        refine: int | None = None,
        calibrator: str | Fit = "empirical",
        seed: int = 0,
    ) -> None:
        if model.preprocess is None:
            raise InputError(
                "NormativeModel", "a model without preprocessing", "one of MMVAE.for_cohort", "build it so"
            )
        if isinstance(calibrator, str) and calibrator not in CALIBRATORS:
            raise InputError(
                "deviations.calibrator", repr(calibrator), f"one of {sorted(CALIBRATORS)}", "use one of these"
            )
        self.model, self.draws, self.normative_draws, self.seed = model, draws, normative_draws, seed
        self.refine, self.calibrator, self.preprocess = refine, calibrator, model.preprocess
        self.calibrators: dict[str, Calibrator] = {}
        self.spread: Floats | None = None
        self.latent: LatentNorm | None = None

    def calibrate(self, cohort: Cohort, kinds: tuple[str, ...] = ("reconstruction",)) -> Self:
        """Fit a calibrator per kind on held-out controls; returns self.

        Args:
            cohort: Controls that the model was not trained on (`cohort.calibrate`), at least 10.
            kinds: Some of `KINDS`.
        """
        if len(cohort) < FEWEST:
            got, todo = f"{len(cohort)} controls", "hold out more healthy people"
            raise InputError("calibrate", got, f"at least {FEWEST}", todo)
        for kind in kinds:
            _check_kind(kind)
        design = self.preprocess.design(cohort)
        if "local" in kinds:
            self.spread = self._seen_spread(cohort)
        for kind in kinds:
            if kind == "latent":
                mean = self._posterior_mean(cohort)
                self.latent = LatentNorm.fit(mean, design, self.preprocess.groups)
            else:
                raw = self.raw(cohort, kind)["z_raw"].to_numpy()
                fit = CALIBRATORS[self.calibrator] if isinstance(self.calibrator, str) else self.calibrator
                self.calibrators[kind] = fit(raw, design, self.preprocess.groups)
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds that are calibrated."""
        return (*self.calibrators, *(["latent"] if self.latent else []))

    def raw(self, cohort: Cohort, kind: str = "reconstruction", *, member: int | None = None) -> xr.Dataset:
        """Raw z and the predictive mean and SD in the units of the table; dims (subject, region).

        Args:
            cohort: Anybody.
            kind: One of `REGIONAL`.
            member: Only this ensemble member; all of them, mixed, when None.
        """
        _check_kind(kind, REGIONAL)
        batch = self.preprocess(cohort)
        self.model.check_support(batch)
        scores = self._predictive()(batch, kind, member=member)
        seen = np.concatenate([batch.observed[m].numpy() for m in self.preprocess.regions], 1)
        scale, loc = self._units()
        dims = ("subject", "region")
        fields = {
            "z_raw": np.where(seen, scores.z, np.nan),
            "expected": scores.loc * scale + loc,
            "sd": scores.scale * scale,
            "left_out": scores.flagged,
        }
        return xr.Dataset({name: (dims, x) for name, x in fields.items()}, coords=self._coords(cohort))

    def deviations(self, cohort: Cohort, kind: str = "reconstruction") -> xr.Dataset:
        """Calibrated deviations of anybody; dims (subject, region), NaN where a region was not observed.

        Returns:
            z: calibrated z-score; z_raw: before calibration; p: two-sided conformal p; q: Benjamini-Hochberg over the
            person's regions of the p-value of z; expected, sd: mean and SD that the norm expects, in the units of the
            table; extrapolated: z beyond the largest of the calibration people; left_out: cells that the norm of this
            person does without (kind `local`); omnibus, omnibus_p (subject): mean z^2 and its conformal p; mse
            (subject): mean squared error of the expected value, in training SDs. Kind `latent` has dims
            (subject, latent) instead: see `LatentNorm`.

        Raises:
            InputError: Before `calibrate`, or for people that the model cannot place.
        """
        if kind not in self.kinds:
            got, todo = f"kind {kind!r} is not calibrated", "call calibrate first"
            raise InputError("deviations", got, f"one of {sorted(self.kinds)}", todo)
        design = self.preprocess.design(cohort)
        if kind == "latent" and self.latent:
            subject = {"subject": cohort.ids.to_numpy(object).astype(str)}
            return self.latent(self._posterior_mean(cohort), design).assign_coords(subject)
        return self.calibrated(self.raw(cohort, kind), design, kind, cohort)

    def calibrated(self, raw: xr.Dataset, design: Floats, kind: str, cohort: Cohort) -> xr.Dataset:
        """Raw deviations with everything that the calibrator adds."""
        calibrator, dims = self.calibrators[kind], ("subject", "region")
        z = calibrator(raw["z_raw"].to_numpy(), design)
        centre, low, high = (calibrator.raw_at(at, design) for at in (0.0, -1.0, 1.0))
        omnibus = mean_square(z)
        error = (self.observed(cohort) - raw["expected"].to_numpy()) / self._units()[0]
        return raw.assign(
            z=(dims, z),
            p=(dims, calibrator.conformal(np.abs(z))),
            q=(dims, benjamini_hochberg(2 * special.ndtr(-np.abs(z)), axis=1)),
            expected=(dims, raw["expected"].to_numpy() + centre * raw["sd"].to_numpy()),
            sd=(dims, raw["sd"].to_numpy() * (high - low) / 2),
            extrapolated=(dims, np.abs(z) > calibrator.conformal.largest_score),
            omnibus=("subject", omnibus),
            omnibus_p=("subject", calibrator.omnibus(omnibus[:, None])[:, 0]),
            mse=("subject", mean_square(error)),
        )

    def observed(self, cohort: Cohort) -> Floats:
        """Values in the units of the tables and the model's order of regions, [n, D], NaN where not observed."""
        n = len(cohort)
        parts = [
            cohort.values[m][list(names)].to_numpy(float) if m in cohort.values else np.full((n, len(names)), np.nan)
            for m, names in self.preprocess.regions.items()
        ]
        return np.concatenate(parts, 1)

    def _units(self) -> tuple[Floats, Floats]:
        """Scale and location of every region, [D] each."""
        scale, loc = (
            np.concatenate([np.asarray(part[m]) for m in self.preprocess.regions])
            for part in (self.preprocess.scale, self.preprocess.loc)
        )
        return scale, loc

    def log_evidence(self, cohort: Cohort) -> pd.Series:
        """Log density of everything observed of each person, in model units; of an MMVAE its bound, `log_evidence`."""
        if isinstance(self.model, LinearGaussian):
            nats = self.model.log_evidence(self.preprocess(cohort)).numpy()
            return pd.Series(nats, index=cohort.ids, name="log_evidence")
        return log_evidence(self.model, cohort, draws=self.draws, refine=self._steps(), seed=self.seed)

    def _predictive(self) -> Predictive | Exact:
        if isinstance(self.model, LinearGaussian):
            return Exact(model=self.model)
        return Predictive(
            model=self.model,
            draws=self.draws,
            normative_draws=self.normative_draws,
            refine=self._steps(),
            seed=self.seed,
            spread=self.spread,
        )

    def _steps(self) -> int:
        if self.refine is not None:
            return self.refine
        one = self.preprocess.blank()
        with torch.no_grad():
            return REFINE if isinstance(self.model.posterior(one), DiagonalNormal) else 0

    def _seen_spread(self, cohort: Cohort) -> Floats:
        """SD of raw reconstruction z per region among healthy people, by the middle half."""
        raw = self.raw(cohort, "reconstruction")["z_raw"].to_numpy()
        quartiles = np.nanquantile(raw, [0.25, 0.75], axis=0)
        return np.maximum((quartiles[1] - quartiles[0]) / 1.349, 1e-3)

    def _posterior_mean(self, cohort: Cohort) -> Floats:
        """Mean of q(z | X, c), over members one after the other, [n, members * k]."""
        predictive: Any = self._predictive()
        with torch.no_grad(), one_thread():
            mean = predictive.posterior(self.model, self.preprocess(cohort)).mean
        table: Floats = (mean.movedim(0, 1).flatten(1) if self.model.members > 1 else mean).double().numpy()
        return table

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
        arrays: dict[str, NDArray[Any]] = {f"model.{name}": x.numpy() for name, x in self.model.state_dict().items()}
        for kind, calibrator in self.calibrators.items():
            arrays |= {f"calibrator.{kind}.{name}": x for name, x in calibrator.to_arrays().items()}
        if self.spread is not None:
            arrays["spread"] = self.spread
        if self.latent:
            arrays |= {f"latent.{name}": x for name, x in self.latent.to_arrays().items()}
        record = {
            "model": self.model.record,
            "preprocess": self.preprocess.to_record(),
            **{name: getattr(self, name) for name in SETTINGS},
            "calibrator": self.calibrator if isinstance(self.calibrator, str) else {"custom": "calibrator"},
            "calibrators": {kind: calibrator.name for kind, calibrator in self.calibrators.items()},
        }
        checkpoint.write(folder, arrays, record)


SETTINGS = ("draws", "normative_draws", "refine", "seed")


def load(folder: str | Path, **parts: Any) -> NormativeModel:
    """The normative model in a folder that `NormativeModel.save` wrote; executes nothing of what it reads.

    Args:
        folder: The model folder.
        **parts: fusion, likelihood, prior or calibrator, where they are callables of your own: code is never saved.

    Raises:
        InputError: When a file is missing or was altered, or a callable was not given.
    """
    arrays, record = checkpoint.read(folder)
    preprocess = Preprocess.from_record(record["preprocess"])
    for role, part in {**record["model"], "calibrator": record["calibrator"]}.items():
        if role not in parts and _is_custom(part):
            todo = f"call load(folder, {role}=...) with the same callable"
            raise InputError(str(folder), f"a {role} of your own, {part}", "the callable itself", todo)
    calibrator = parts.pop("calibrator", record["calibrator"])
    build = LinearGaussian if "baseline" in record["model"] else MMVAE.build
    model = build(preprocess, **{**record["model"], **parts})
    model.load_state_dict(checkpoint.tensors(arrays, "model.", model.state_dict()))
    norm = NormativeModel(model.eval(), calibrator=calibrator, **{name: record[name] for name in SETTINGS})
    for kind, name in record["calibrators"].items():
        norm.calibrators[kind] = load_calibrator(name, _under(arrays, f"calibrator.{kind}."), preprocess.groups)
    norm.spread = arrays.get("spread")
    if latent := _under(arrays, "latent."):
        norm.latent = LatentNorm.from_arrays(latent, preprocess.groups)
    return norm


def _under(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def _is_custom(part: object) -> bool:
    return isinstance(part, dict) and ("custom" in part or any(_is_custom(inner) for inner in part.values()))


def _check_kind(kind: str, known: tuple[str, ...] = KINDS) -> None:
    if kind not in known:
        raise InputError("kind", repr(kind), f"one of {known}", "use one of these")
