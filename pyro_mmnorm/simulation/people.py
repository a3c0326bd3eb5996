"""People: the participants of the simulated UK Biobank and ADNI cohort, their severity and their scores."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import truncnorm

from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.splits import split_by_fraction
from pyro_mmnorm.simulation.scenario import Scenario, quotas
from pyro_mmnorm.simulation.volumes import ADNI_SITES, CENTRES, ICV

__all__ = ["GROUPS", "SCORES", "STAGES", "SUBTYPES", "Group", "Score", "draw_volunteers"]


class Group(NamedTuple):
    """A group: study, default number of people, share of women, mean and SD of age, education and severity.

    Ages are in years and truncated to the range; education is in years. Severity is 0 for healthy people and 1 for a
    typical patient with dementia.
    """

    study: str
    people: int
    women: float
    age: tuple[float, float]
    ages: tuple[float, float]
    education: tuple[float, float]
    severity: tuple[float, float] = (0.0, 0.0)


GROUPS = {
    "UKB": Group("UKB", 9875, 0.53, (64, 7.5), (45, 82), (15, 3)),
    "CN": Group("ADNI", 269, 0.52, (74.5, 5.8), (55, 91), (16.4, 2.7)),
    "SMC": Group("ADNI", 106, 0.58, (72.2, 5.6), (55, 91), (16.8, 2.5), (0.03, 0.06)),
    "EMCI": Group("ADNI", 312, 0.45, (71.3, 7.4), (55, 91), (16.0, 2.7), (0.18, 0.15)),
    "LMCI": Group("ADNI", 263, 0.40, (74.0, 7.5), (55, 91), (16.0, 2.8), (0.50, 0.22)),
    "AD": Group("ADNI", 181, 0.45, (75.0, 8.0), (55, 91), (15.4, 2.9), (1.00, 0.30)),
}
"""The groups. Numbers of people are those of the poster; the others are round numbers near the published ones of these
studies. As in the studies, ADNI's patients are about as old as its controls and nine years older than UK Biobank."""

STAGES = ("SMC", "EMCI", "LMCI", "AD")
"""The groups of patients, mildest first."""

SUBTYPES = {"typical": 0.589, "limbic": 0.190, "sparing": 0.117}
"""Shares of hippocampal and cortical, hippocampal only, and cortical only atrophy in 163 patients of ADNI (Byun et al.
2015, https://doi.org/10.1371/journal.pone.0142756), of whom 0.104 had none; here they are scaled to a sum of 1."""


class Score(NamedTuple):
    """A test: the mean score is base + gain * severity^power, clipped to the scale."""

    base: float
    gain: float
    power: float
    noise: float
    scale: tuple[int, int]


SCORES = {
    "ADAS13": Score(9.0, 20.5, 1.0, 4.5, (0, 85)),
    "RAVLT": Score(45.0, -23.0, 0.7, 8.5, (0, 75)),
    "MMSE": Score(29.3, -6.0, 1.4, 1.3, (0, 30)),
}
"""Higher ADAS13 is worse; RAVLT (sum of five trials) and MMSE are better. Round numbers, near the means and SDs of
ADNI's stages. Half of the variance of the noise is general ability, common to the three tests; the other half is
unreliability: over ADNI's people a reliability of .76 (RAVLT) and .88 (ADAS13, MMSE); for versions of ADAS-Cog .82 to
.96 was published (two weeks apart: https://pubmed.ncbi.nlm.nih.gov/35403536/)."""

PER_YEAR_OF_EDUCATION = 0.08
HEAD = {"F": 0.95, "M": 1.06}
HEAD_SPREAD = 0.08
STEPS = {"train": "adapt", "calibrate": "calibrate", "test": "test"}


def draw_volunteers(scenario: Scenario, controls: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Participants and their hidden variables: UK Biobank first, then ADNI's controls, then its patients.

    Args:
        scenario: `healthy` is the number of controls of both studies.
        controls: Number of ADNI's controls among them.

    Returns:
        participants: study (UKB, ADNI), site, age (years), sex (F, M), icv (mm3), education (years), diagnosis, stage
            (0 for CN), the scores (whole numbers; empty in UK Biobank), split and step.
        hidden: severity, and subtype ('' for controls).

    Examples:
        >>> people, hidden = draw_volunteers(Scenario(healthy=30, patients=8), controls=10)
        >>> people.groupby(["study", "diagnosis"], sort=False).size().to_dict()
        {('UKB', 'CN'): 20, ('ADNI', 'CN'): 10, ('ADNI', 'SMC'): 1, ('ADNI', 'EMCI'): 3, ('ADNI', 'LMCI'): 2,
         ('ADNI', 'AD'): 2}
    """
    rng, n = scenario.rng("people"), scenario.healthy + scenario.patients
    patients = quotas((GROUPS[stage].people for stage in STAGES), scenario.patients)
    group = np.repeat(np.arange(len(GROUPS)), [scenario.healthy - controls, controls, *patients])
    women, severity = (np.array([getattr(entry, part) for entry in GROUPS.values()]) for part in ("women", "severity"))
    sex = np.where(rng.random(n) < women[group], "F", "M")
    schooling, spread = np.array([entry.education for entry in GROUPS.values()])[group].T
    head = ICV * np.where(sex == "F", HEAD["F"], HEAD["M"])
    stage = np.maximum(group - 1, 0)
    shares = np.array(list(SUBTYPES.values()))
    subtype = rng.choice(list(SUBTYPES), n, p=shares / shares.sum())
    drawn = severity[group, 0] + severity[group, 1] * rng.standard_normal(n)
    hidden = pd.DataFrame(
        {
            "severity": np.where(stage > 0, np.maximum(drawn, 0), 0.0),
            "subtype": np.where(stage > 0, subtype, ""),
        },
        index=pd.Index([f"sub-{i + 1:05d}" for i in range(n)], name="participant_id", dtype=str),
    )
    people = pd.DataFrame(
        {
            "study": np.where(group == 0, "UKB", "ADNI"),
            "site": np.where(group == 0, _sites(rng, n, list(CENTRES)), _sites(rng, n, list(ADNI_SITES))),
            "age": _ages(rng.random(n), group),
            "sex": sex,
            "icv": np.round(head * np.exp(HEAD_SPREAD * rng.standard_normal(n))),
            "education": np.clip(np.round(schooling + spread * rng.standard_normal(n)), 7, 20).astype(int),
            "diagnosis": np.array(["CN", "CN", *STAGES])[group],
            "stage": stage,
        },
        index=hidden.index,
    )
    scores = _scores(rng, hidden["severity"], people["education"]).where(people["study"] == "ADNI")
    return people.join([scores, _parts(people, scenario.seed)]), hidden


def _sites(rng: np.random.Generator, n: int, names: list[str]) -> list[str]:
    """A site for every person; the first is the largest."""
    size = 1 / np.sqrt(np.arange(1, len(names) + 1))
    return list(rng.choice(names, n, p=size / size.sum()))


def _ages(uniform: Floats, group: np.ndarray) -> Floats:
    """Ages from a normal distribution truncated to the range of each group, rounded to 0.1 years."""
    mean, sd = np.array([entry.age for entry in GROUPS.values()])[group].T
    low, high = np.array([entry.ages for entry in GROUPS.values()])[group].T
    return np.round(truncnorm.ppf(uniform, (low - mean) / sd, (high - mean) / sd, mean, sd), 1)


def _scores(rng: np.random.Generator, severity: pd.Series, education: pd.Series) -> pd.DataFrame:
    """Scores as whole numbers within the scales."""
    n = len(severity)
    ability = rng.standard_normal(n) + PER_YEAR_OF_EDUCATION * (education - 16)
    scores = {}
    for name, test in SCORES.items():
        noise = np.sqrt(0.5) * (rng.standard_normal(n) - np.sign(test.gain) * ability)
        expected = test.base + test.gain * severity**test.power
        scores[name] = (expected + test.noise * noise).round().clip(*test.scale)
    return pd.DataFrame(scores)


def _parts(people: pd.DataFrame, seed: int) -> pd.DataFrame:
    """`split` (train, calibrate, test, target) and `step`, which also marks ADNI's controls for adaptation."""
    adni = people.index[(people["study"] == "ADNI") & (people["stage"] == 0)]
    step = pd.Series("target", index=people.index).mask(people["study"] == "UKB", "train")
    if len(adni):
        drawn = split_by_fraction(pd.Series("ADNI", index=adni), (0.3, 0.3), seed)
        step[adni] = drawn.map(STEPS)
    return pd.DataFrame({"split": step.replace("adapt", "calibrate"), "step": step})
