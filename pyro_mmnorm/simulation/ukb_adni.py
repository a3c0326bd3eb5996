"""Simulated cohort like UK Biobank and ADNI combined: two studies, real region names, volumes in mm3."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from pyro_mmnorm.core.errors import check_known
from pyro_mmnorm.core.files import atomic_write
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.simulation.people import GROUPS, SCORES, STAGES, draw_volunteers
from pyro_mmnorm.simulation.scenario import Scenario, check_values
from pyro_mmnorm.simulation.simulated import DECIMALS, Planted, Simulation, measure
from pyro_mmnorm.simulation.spellings import Spelling, spelled
from pyro_mmnorm.simulation.truth import ReferenceKind
from pyro_mmnorm.simulation.volumes import AGE, VolumeTruth, factor_loadings, region_table

if TYPE_CHECKING:
    from pyro_mmnorm.data.cohort import Cohort

__all__ = ["EffectClass", "UkbAdni", "ukb_adni"]

type EffectClass = Literal["local", "along"]
"""Effect in the regions themselves, or along normal variation."""

DIRECTIONS = {
    "typical": (("hippocampus", -5.0), ("medial", -4.0), ("temporal", -4.0), ("fluid", 4.0), ("common", -3.0)),
    "limbic": (("hippocampus", -8.0), ("medial", -5.0), ("fluid", 3.0)),
    "sparing": (("parietal", -6.0), ("temporal", -4.0), ("frontal", -4.0), ("fluid", 4.0), ("common", -3.0)),
}
LATENT_STEP = 3.0
CHUNK = 1024  # people whose exact z are computed at once: there are many latents


@dataclass(frozen=True, kw_only=True)
class UkbAdni(Simulation):
    """A simulated cohort of two studies and its truth.

    Differences from `Simulation`:

    Args:
        values: modality -> frame [n, regions], mm3; NaN where the cell is missing, and 0.0 where FreeSurfer failed.
        participants: Participants of `draw_volunteers`.
        effect: Planted effect in SD of the log volume given age, sex, site and intracranial volume, [n, d].
        truth: The parameters of the log volumes, a `VolumeTruth`.
        hidden: severity, subtype and effect_class (`local` or `along` normal variation, '' for controls), [n].
    """

    hidden: pd.DataFrame

    def reference_z(self, kind: ReferenceKind) -> pd.DataFrame:
        """The exact z-score of every observed cell, also given the intracranial volume; see `Simulation.reference_z`.

        Only with `tails=None`: the default heavy tails have no closed form.

        Raises:
            InputError: As `Simulation.reference_z`.

        Examples:
            >>> cohort = ukb_adni(healthy=30, controls=10, patients=10, tails=None)
            >>> cohort.reference_z("normative").shape
            (50, 115)
        """
        rows = np.array_split(np.arange(len(self.participants)), max(1, -(-len(self.participants) // CHUNK)))
        return pd.concat([self._logs(part).reference_z(kind) for part in rows])

    def _logs(self, rows: np.ndarray) -> Simulation:
        """Log volumes of some people, which are linear and, without heavy tails, Gaussian."""
        return Simulation(
            scenario=self.scenario,
            values={m: frame.iloc[rows].where(frame > 0).transform(np.log) for m, frame in self.values.items()},
            participants=self.participants.iloc[rows],
            effect=self.effect.iloc[rows],
            truth=self.truth,
        )

    def to_cohort(self) -> "Cohort":
        """The same people as a `Cohort` for the two-step study: trained on UK Biobank, calibrated and tested on ADNI.

        Covariates are age, sex and intracranial volume. Sites are not among them: those of ADNI are absent from
        training, and the calibration on ADNI's controls removes the shift between the studies.

        Raises:
            InputError: As `Cohort.from_frames`.

        Examples:
            >>> cohort = ukb_adni(healthy=60, controls=40, patients=20).to_cohort()
            >>> {m: frame.shape[1] for m, frame in cohort.values.items()}
            {'cortical': 64, 'subcortical': 35, 'hippocampal': 16}
        """
        from pyro_mmnorm.data.cohort import Cohort

        return Cohort.from_frames(
            self.values,
            self.participants,
            id="participant_id",
            covariates={"age": "spline", "sex": "category", "icv": "linear"},
            reference=("diagnosis", ["CN"]),
            groups=("diagnosis", ["CN", *STAGES]),
            scores={name: "higher_is_worse" if test.gain > 0 else "higher_is_better" for name, test in SCORES.items()},
            adjust=["education", "site"],
            split="split",
            totals=dict.fromkeys(self.values, "keep"),
        )

    def spelled(self, spelling: Spelling) -> dict[str, pd.DataFrame]:
        """File name -> a table of one study with its own column names; see `spellings.spelled`.

        Raises:
            InputError: On a spelling other than `ukb` and `adni`.

        Examples:
            >>> tables = ukb_adni(healthy=20, controls=10, patients=10).spelled("adni")
            >>> {name: frame.shape for name, frame in tables.items()}
            {'UCSFFSX.csv': (20, 120), 'ADNIMERGE.csv': (20, 12)}
        """
        volumes = pd.concat(self.values.values(), axis=1)
        return spelled(spelling, volumes, self.participants, self.scenario.rng("missing").spawn(2)[1])

    def write(self, folder: str | Path, *, spelling: Spelling | None = None) -> Path:
        """Write the tables and the truth as `Simulation.write`, `hidden.csv`, and optionally the tables of `spelled`.

        Raises:
            InputError: When the folder is a file, or on an unknown spelling.

        Examples:
            >>> ukb_adni().write("ukb_adni_data", spelling="adni")  # doctest: +SKIP
        """
        tables = {"hidden.csv": self.hidden} | (self.spelled(spelling) if spelling else {})
        folder = super().write(folder)
        for name, frame in tables.items():
            atomic_write(folder / name, frame.round(DECIMALS).to_csv(lineterminator="\n").encode())
        return folder


def ukb_adni(
    healthy: int = 9875,
    controls: int = 269,
    patients: int = 862,
    *,
    seed: int = 1,
    effect: EffectClass = "local",
    patchiness: float = 0.5,
    tails: float | None = 6.0,
    failures: float = 0.001,
    missing: float = 0.002,
) -> UkbAdni:
    r"""A cohort like UK Biobank and ADNI combined, with known truth.

    64 cortical, 35 subcortical and 16 hippocampal volumes of people of UK Biobank (45 to 82 years), of ADNI's controls
    and of its patients (55 to 91 years; SMC, EMCI, LMCI and AD in proportions 106, 312, 263 and 181). See `VolumeTruth`
    for the model of a volume, `region_table` for the regions and `draw_volunteers` for the people. Log volumes depend
    on age (a parabola), sex, intracranial volume (a power), study and site (location and scale); they share a common
    factor (negative in fluid), one factor per system of neighbouring regions and one per pair of sides.

    Patients differ in severity, which overlaps between stages, and in subtype: typical, limbic, or sparing the
    hippocampus. The effect is severity times the profile of the subtype, either in the regions themselves (`local`) or
    3 SD along a direction of the latents (`along` normal variation). Controls have no effect: undiagnosed disease in
    some of ADNI's controls is not simulated.

    Means, SDs and correlations are measured in open data if available; many others are plausible round numbers. The
    cohort shows how a program works, and nothing about disease.

    Args:
        healthy: Number of people of UK Biobank.
        controls, patients: Numbers of people of ADNI.
        seed: The same seed gives the same cohort. The truth does not depend on the number of people.
        effect: `local`, or `along` normal variation.
        patchiness: SD over regions of the log ratio of a patient's effect to the profile (`local` only). With 0 both
            sides and all neighbours change alike, which is close to normal variation: with the exact model the
            correlation of planted effect and `reconstruction` z is then .11, with 0.5 .25, and .03 for `along`.
        tails: Degrees of freedom of the noise of a region; None: Gaussian, for which `reference_z` is exact.
        failures: Probability that a cell that is not missing is 0.0, which FreeSurfer writes for a region not found.
        missing: Probability that a cell is missing. Both rates are round numbers of ours.

    Raises:
        InputError: On a value out of range.

    References:
        Kumar, Payne & Sotiras, mmNormVAE (the poster that this package follows; see CITATION.cff); ukb_adni.csv lists
        the source of every number of the regions.

    Examples:
        >>> cohort = ukb_adni(healthy=100, controls=20, patients=20, seed=3)
        >>> cohort.participants.groupby("study").size().to_dict()
        {'ADNI': 40, 'UKB': 100}
        >>> float(cohort.effect["hippocampal.left_CA1"].min()) < -1
        True
    """
    check_known("effect", effect, get_args(EffectClass.__value__))
    rules: dict[str, tuple[object, bool, str]] = {
        "healthy": (healthy, healthy >= 0, "a whole number of at least 0"),
        "controls": (controls, controls >= 0, "a whole number of at least 0"),
        "patchiness": (patchiness, 0 <= patchiness < np.inf, "a number of at least 0"),
        "failures": (failures, 0 <= failures < 1, "a share of at least 0 and below 1"),
        "missing": (missing, 0 <= missing < 1, "a share of at least 0 and below 1"),
    }
    check_values("ukb_adni", rules)
    table = region_table()
    scenario = Scenario(
        healthy=healthy + controls,
        patients=patients,
        regions={str(m): part["region"].to_list() for m, part in table.groupby("modality", sort=False)},
        latents=factor_loadings(table).shape[1] - 1,
        seed=seed,
        age=AGE,
        common_factor=0.2,
        tails=tails,
        missing_cells=missing,
        effect="dense" if effect == "local" else "latent",
        stages={stage: float(GROUPS[stage].people) for stage in STAGES},
    )
    truth = VolumeTruth.draw(scenario)
    participants, hidden = draw_volunteers(scenario, controls)
    planted = _planted(truth, hidden.iloc[healthy + controls :], effect, patchiness, scenario.rng("effects"))
    drawn = measure(scenario, truth, participants, planted)
    failed = scenario.rng("missing").spawn(1)[0]
    return UkbAdni(
        scenario=scenario,
        values={m: _with_failures(log.transform(np.exp), failures, failed) for m, log in drawn.values.items()},
        participants=participants,
        effect=drawn.effect,
        truth=truth,
        hidden=hidden.assign(effect_class=np.where(participants["stage"] > 0, effect, "")),
    )


def _with_failures(volumes: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """The volumes with 0.0 in a share of the cells that are not missing."""
    return volumes.mask(volumes.notna() & (rng.random(volumes.shape) < share), 0.0)


def _planted(
    truth: VolumeTruth, hidden: pd.DataFrame, effect: EffectClass, patchiness: float, rng: np.random.Generator
) -> Planted:
    """Severity times the profile or the direction of the subtype."""
    severity = hidden["severity"].to_numpy()[:, None]
    if effect == "along":
        steps = {name: LATENT_STEP * truth.direction(weights) for name, weights in DIRECTIONS.items()}
        latents = severity * _rows(steps, hidden["subtype"])
        return Planted(latents, np.zeros((len(hidden), len(truth.region))))
    profile = {name: region_table()[name].to_numpy(float) for name in DIRECTIONS}
    uneven = np.exp(patchiness * rng.standard_normal((len(hidden), len(truth.region))) - patchiness**2 / 2)
    regions = severity * _rows(profile, hidden["subtype"]) * uneven
    return Planted(np.zeros((len(hidden), truth.loadings.shape[1])), regions)


def _rows(profiles: dict[str, Floats], subtype: pd.Series) -> Floats:
    """The profile of every person by subtype, [n, ...]."""
    return np.array(list(profiles.values()))[pd.Index(profiles).get_indexer(pd.Index(subtype))]
