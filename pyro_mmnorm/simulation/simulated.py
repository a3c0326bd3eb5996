"""Simulation: a cohort drawn from a scenario, with its known truth."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pyro_mmnorm.core.errors import InputError, check_known
from pyro_mmnorm.core.files import atomic_write
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.splits import split_by_fraction
from pyro_mmnorm.simulation.scenario import Scenario, quotas
from pyro_mmnorm.simulation.truth import ReferenceKind, Truth, conditional_z

if TYPE_CHECKING:
    from pyro_mmnorm.data.cohort import Cohort
    from pyro_mmnorm.data.participants import Kind

__all__ = ["Planted", "Simulation", "draw_people", "from_scenario", "measure"]

SHARES = {"one_region": 0.0, "sparse": 0.06, "dense": 0.5}
SIZES = {"one_region": 4.0, "sparse": 4.0, "dense": 0.7, "latent": 3.0}
DECIMALS = 4
KINDS: tuple[ReferenceKind, ...] = get_args(ReferenceKind.__value__)


class Planted(NamedTuple):
    """Effects in patients: shifts of their latents, [patients, K], and additional changes of regions, [patients, d]."""

    latents: Floats
    regions: Floats


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A simulated cohort and its truth. The index of all frames is `participant_id`.

    Args:
        scenario: Its description.
        values: modality -> frame [n, regions], in nominal mm^3, NaN where not observed.
        participants: age (years), sex (F, M), site, diagnosis (CN or a stage), stage (0 for CN, then 1, 2, ...),
            subtype (with subtypes; 0 for CN), ADAS13 (higher is worse; 8 and 22 times the square of the severity, with
            noise of SD 4) and split (train, calibrate, test, target).
        effect: Planted effect, [n, d], columns `<modality>.<region>`, in units of the marginal SD of that region given
            the age, sex and site of that person; also for cells that are not observed.
        truth: The parameters.
    """

    scenario: Scenario
    values: Mapping[str, pd.DataFrame]
    participants: pd.DataFrame
    effect: pd.DataFrame
    truth: Truth

    def reference_z(self, kind: ReferenceKind) -> pd.DataFrame:
        """The exact z-score of every observed cell, [n, d], N(0, 1) in healthy people; NaN where not observed.

        Args:
            kind: `normative`: given age, sex and site. `reconstruction`: also given all other observed regions of the
                person. `cross_modal`: also given the observed regions of the other modalities; without any it equals
                `normative`. See `conditional_z`.

        Raises:
            InputError: On another kind; and with t-distributed noise or a nonlinear scenario, which have no closed
                form.

        Examples:
            >>> cohort = from_scenario(healthy=200, patients=20, seed=1)
            >>> cohort.reference_z("cross_modal").shape
            (220, 42)
        """
        check_known("kind", kind, KINDS)
        if not self._has_closed_form:
            got = f"nonlinear {self.scenario.nonlinear:g} and tails {self.scenario.tails}"
            expected = "a linear scenario with Gaussian noise: others have no closed form"
            raise InputError("reference z", got, expected, "simulate a cohort with nonlinear=0 and tails=None")
        mean, sd = self.truth.norm(self.participants)
        deviation = (np.hstack([frame.to_numpy() for frame in self.values.values()]) - mean) / sd
        z = conditional_z(deviation, self.truth, kind)
        return pd.DataFrame(z, index=self.effect.index, columns=self.effect.columns)

    @property
    def _has_closed_form(self) -> bool:
        return not self.scenario.nonlinear and self.scenario.tails is None

    def to_cohort(self) -> "Cohort":
        """The same people as a `Cohort`: covariates age, sex and (with several sites) site, groups by diagnosis.

        Raises:
            InputError: As `Cohort.from_frames`, such as below 30 training controls.

        Examples:
            >>> len(from_scenario(healthy=200, patients=20, seed=1).to_cohort().target)
            20
        """
        from pyro_mmnorm.data.cohort import Cohort

        covariates: dict[str, Kind | tuple[str, Kind]] = {"age": "spline", "sex": "category"}
        if self.scenario.sites > 1:
            covariates["site"] = "category"
        return Cohort.from_frames(
            self.values,
            self.participants,
            id="participant_id",
            covariates=covariates,
            reference=("diagnosis", ["CN"]),
            groups=("diagnosis", ["CN", *self.scenario.stages]),
            scores={"ADAS13": "higher_is_worse"},
            split="split",
        )

    def write(self, folder: str | Path) -> Path:
        """Write the tables and the truth as files; each is written whole or not at all.

        `participants.csv` and `<modality>.csv` are the tables of a study. `effect.csv`, `reference_<kind>.csv` (with a
        closed form) and `truth.npz` (see `Truth`) are the truth. Numbers have 4 decimals.

        Returns:
            The folder, created if needed.

        Raises:
            InputError: When the folder is a file.

        Examples:
            >>> from_scenario(healthy=200, patients=20, seed=1).write("demo_data")  # doctest: +SKIP
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(str(folder), "a file", "a folder, new or existing", "choose another name")
        folder.mkdir(parents=True, exist_ok=True)
        tables = {"participants": self.participants, **self.values, "effect": self.effect}
        for kind in KINDS:
            if self._has_closed_form:
                tables[f"reference_{kind}"] = self.reference_z(kind)
            else:  # remove one of an earlier cohort
                (folder / f"reference_{kind}.csv").unlink(missing_ok=True)
        for name, frame in bar(tables.items(), "tables", unit="table"):
            atomic_write(folder / f"{name}.csv", frame.round(DECIMALS).to_csv(lineterminator="\n").encode())
        archive = io.BytesIO()
        np.savez(archive, **self.truth.arrays())  # type: ignore[arg-type]  # the stub reads them as allow_pickle
        atomic_write(folder / "truth.npz", archive.getvalue())
        return folder


def from_scenario(scenario: Scenario | None = None, **changes: Any) -> Simulation:
    """A cohort with known truth.

    Args:
        scenario: Its description; None: the defaults of `Scenario`.
        **changes: Fields of `Scenario` to change.

    Raises:
        InputError: On an unknown field, or a value out of range.

    Examples:
        >>> cohort = from_scenario(healthy=100, patients=10, sites=2, effect="one_region", seed=3)
        >>> {m: frame.shape for m, frame in cohort.values.items()}
        {'cortical': (110, 24), 'subcortical': (110, 12), 'hippocampal': (110, 6)}
        >>> cohort.effect.abs().max(axis=1).groupby(cohort.participants["diagnosis"]).mean().to_dict()
        {'AD': 4.0, 'CN': 0.0}
    """
    for name in changes:
        check_known(f"scenario: {name}", name, [field.name for field in fields(Scenario)])
    scenario = replace(scenario or Scenario(), **changes)
    truth = Truth.draw(scenario)
    participants, severity = draw_people(scenario)
    full, severe = _plant(scenario, truth), severity[scenario.healthy :, None]
    return measure(scenario, truth, participants, Planted(severe * full.latents, severe * full.regions))


def draw_people(scenario: Scenario, spread: float = 0.0) -> tuple[pd.DataFrame, Floats]:
    """Participants as in `Simulation`, healthy people first, and their severity, [n]: 0 healthy, 1 the last stage.

    Args:
        scenario: Description of the cohort.
        spread: SD of the severity of the patients within a stage; severity is at least 0.

    Examples:
        >>> people, severity = draw_people(Scenario(healthy=10, patients=4, stages={"MCI": 1, "AD": 1}))
        >>> people["diagnosis"].tolist()[-4:], severity.tolist()[-4:]
        (['MCI', 'MCI', 'AD', 'AD'], [0.5, 0.5, 1.0, 1.0])
    """
    rng, healthy, patients = scenario.rng("people"), scenario.healthy, scenario.patients
    n, stages = healthy + patients, len(scenario.stages)
    ids = pd.Index([f"sub-{i + 1:0{max(4, len(str(n)))}d}" for i in range(n)], name="participant_id", dtype=str)
    site_names = np.array([f"site-{k + 1}" for k in range(scenario.sites)])
    size = 1 / np.arange(1, scenario.sites + 1)
    stage = np.repeat(np.arange(stages + 1), [healthy, *quotas(scenario.stages.values(), patients)])
    participants = pd.DataFrame(
        {
            "age": _ages(scenario, rng.random(n)),
            "sex": np.where(rng.random(n) < 0.5, "F", "M"),
            "site": rng.choice(site_names, n, p=size / size.sum()),
            "diagnosis": np.array(["CN", *scenario.stages])[stage],
            "stage": stage,
        },
        index=ids,
    )
    if scenario.subtypes:
        participants["subtype"] = np.r_[np.zeros(healthy, int), 1 + np.arange(patients) % scenario.subtypes]
    severity = np.where(stage > 0, np.maximum(stage / stages + spread * rng.standard_normal(n), 0), 0.0)
    participants["ADAS13"] = np.clip(8 + 22 * severity**2 + 4 * rng.standard_normal(n), 0, 85).round(1)
    split = split_by_fraction(participants["site"].iloc[:healthy], (0.2, 0.2), scenario.seed)
    participants["split"] = split.reindex(ids, fill_value="target")
    return participants, severity


def _ages(scenario: Scenario, uniform: Floats) -> Floats:
    """Ages in the range, rounded to 0.1 years; ages of patients are shifted towards its upper limit."""
    low, high = scenario.age
    if scenario.age_shape == "normal":
        uniform = (ndtri(ndtr(-2) + uniform * (ndtr(2) - ndtr(-2))) + 2) / 4
    younger = (1 - uniform) * (high - low)
    younger[scenario.healthy :] *= 1 - 2 * scenario.patients_older / (high - low)
    return np.clip((high - younger).round(1), low, high)


def _plant(scenario: Scenario, truth: Truth) -> Planted:
    """The effect of every patient at severity 1; it is the same for patients of one subtype."""
    rng, (d, total) = scenario.rng("effects"), truth.loadings.shape
    size = SIZES[scenario.effect] if scenario.effect_size is None else scenario.effect_size
    along = scenario.effect == "latent"
    places = scenario.latents if along else d
    many = 1 if along else max(1, round(SHARES[scenario.effect] * d))
    if scenario.subtypes:  # consecutive places of one random order: distinct as long as there are enough
        turns = (np.arange(scenario.subtypes)[:, None] * many + np.arange(many)) % places
        chosen = rng.permutation(places)[turns]
    else:
        chosen = rng.random((scenario.patients, places)).argsort(axis=1)[:, :many]
    rows = np.zeros((len(chosen), places))
    np.put_along_axis(rows, chosen, size * rng.choice([-1.0, 1.0], chosen.shape), axis=1)
    if scenario.subtypes:
        rows = rows[np.arange(scenario.patients) % scenario.subtypes]
    if along:
        latents = np.hstack([rows, np.zeros((len(rows), total - places))])
        return Planted(latents, np.zeros((len(rows), d)))
    return Planted(np.zeros((len(rows), total)), rows)


def measure(scenario: Scenario, truth: Truth, participants: pd.DataFrame, planted: Planted) -> Simulation:
    """Draw latents, noise and missing cells of these people, and add the planted effects.

    Args:
        scenario, truth: Description and parameters of the cohort.
        participants: Participants of `draw_people`.
        planted: Effects of the patients, who are the last rows.
    """
    n, (d, total), healthy = len(participants), truth.loadings.shape, scenario.healthy
    z = scenario.rng("latents").standard_normal((n, total))
    effect = np.zeros((n, d))
    effect[healthy:] = truth.signal(z[healthy:] + planted.latents) - truth.signal(z[healthy:]) + planted.regions
    mean, sd = truth.norm(participants)
    x = mean + sd * (truth.signal(z) + truth.noise_sd * _noise(scenario, n, d) + effect)
    x[~_observed(scenario, truth, n)] = np.nan
    return Simulation(
        scenario=scenario,
        values={
            m: pd.DataFrame(x[:, truth.modality == m], index=participants.index, columns=names)
            for m, names in scenario.names.items()
        },
        participants=participants,
        effect=pd.DataFrame(effect, index=participants.index, columns=truth.names),
        truth=truth,
    )


def _noise(scenario: Scenario, n: int, d: int) -> Floats:
    """Noise with SD 1, [n, d]."""
    rng, tails = scenario.rng("noise"), scenario.tails
    if tails is None:
        return rng.standard_normal((n, d))
    return rng.standard_t(tails, (n, d)) * np.sqrt((tails - 2) / tails)


def _observed(scenario: Scenario, truth: Truth, n: int) -> NDArray[np.bool_]:
    """True where a cell was observed, [n, d]."""
    rng, modalities = scenario.rng("missing"), list(scenario.names)
    absent = rng.random((n, len(modalities))) < scenario.missing_modalities
    nothing = np.flatnonzero(absent.all(axis=1))
    absent[nothing, rng.integers(len(modalities), size=len(nothing))] = False
    place = [modalities.index(m) for m in truth.modality]
    return ~absent[:, place] & (rng.random((n, len(place))) >= scenario.missing_cells)
