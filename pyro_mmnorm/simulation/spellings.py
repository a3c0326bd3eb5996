"""Spellings: the tables of a simulated cohort under the column names of UK Biobank and of ADNI."""

from typing import Literal, get_args

import numpy as np
import pandas as pd

from pyro_mmnorm.core.errors import check_known
from pyro_mmnorm.simulation.volumes import CENTRES, region_table

__all__ = ["SPELLINGS", "Spelling", "spelled"]

type Spelling = Literal["ukb", "adni"]
"""Study whose column names are used."""

SPELLINGS: tuple[Spelling, ...] = get_args(Spelling.__value__)
"""The known spellings."""

FIRST = 9_000_001  # an eid and a RID that no person of the studies has
UNEVEN = 0.1


def spelled(
    spelling: Spelling, volumes: pd.DataFrame, people: pd.DataFrame, rng: np.random.Generator
) -> dict[str, pd.DataFrame]:
    """File name -> a table of the people of that study, with its column names.

    Ids run from 9,000,001 in the order of `people`.

    `ukb`: one table with `eid`, `31-0.0` (sex), `54-2.0` (centre), `21003-2.0` (age in whole years), `26521-2.0`
    (intracranial volume) and columns such as `26789-2.0`; regions that are sums over head and body of the hippocampus
    are given by their parts. `adni`: `UCSFFSX.csv` with `RID`, `ST10CV` (intracranial volume) and columns such as
    `ST13CV`, and `ADNIMERGE.csv` with the description of the people. Visits have no dates. The comments of
    ukb_adni.csv list the inferred names.

    Args:
        spelling: `ukb` or `adni`.
        volumes: mm3, [n, 115], columns in the order of `region_table`.
        people: Participants of `draw_volunteers`, [n].
        rng: Generator of the shares of the parts of a sum.

    Raises:
        InputError: On another spelling.
    """
    check_known("spelling", spelling, SPELLINGS)
    own = (people["study"] == spelling.upper()).to_numpy()
    number = pd.Index(FIRST + np.flatnonzero(own), name="eid" if spelling == "ukb" else "RID")
    people, volumes = people[own].set_axis(number), volumes[own].set_axis(number)
    if spelling == "ukb":
        return {"ukb.csv": pd.concat([_attendance(people), _fields(volumes, rng)], axis=1)}
    return {"UCSFFSX.csv": _ucsffsx(volumes, people), "ADNIMERGE.csv": _adnimerge(people)}


def _attendance(people: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "31-0.0": (people["sex"] == "M").astype(int),
            "54-2.0": people["site"].map(CENTRES),
            "21003-2.0": np.floor(people["age"]).astype(int),
            "26521-2.0": people["icv"],
        }
    )


def _fields(volumes: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One column per field, in order of their numbers; the shares of the parts of a sum differ between people."""
    columns: dict[str, pd.Series] = {}
    for region, fields in zip(volumes, region_table()["ukb"], strict=True):
        parts = fields.split("+")
        share = np.exp(UNEVEN * rng.standard_normal((len(volumes), len(parts))))
        share /= share.sum(axis=1, keepdims=True)
        columns |= {f"{field}-2.0": volumes[region] * share[:, i] for i, field in enumerate(parts)}
    return pd.DataFrame(dict(sorted(columns.items())), index=volumes.index)


def _ucsffsx(volumes: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    visit = {"VISCODE2": "scmri", "IMAGETYPE": "Non-Accelerated T1", "STATUS": "complete", "OVERALLQC": "Pass"}
    left = people[["icv"]].rename(columns={"icv": "ST10CV"}).assign(**visit)[[*visit, "ST10CV"]]
    return pd.concat([left, volumes.set_axis(region_table()["adni"].to_list(), axis=1)], axis=1)


def _adnimerge(people: pd.DataFrame) -> pd.DataFrame:
    site = people["site"].str.removeprefix("adni-")
    diagnosis = people["diagnosis"]
    return pd.DataFrame(
        {
            "PTID": site + "_S_" + people.index.astype(str),
            "SITE": site.astype(int),
            "VISCODE": "bl",
            "DX_bl": diagnosis,
            "AGE": people["age"],
            "PTGENDER": people["sex"].map({"F": "Female", "M": "Male"}),
            "PTEDUCAT": people["education"],
            "ADAS13": people["ADAS13"],
            "MMSE": people["MMSE"],
            "RAVLT_immediate": people["RAVLT"],
            "ICV": people["icv"],
            "DX": diagnosis.map({"CN": "CN", "SMC": "CN", "EMCI": "MCI", "LMCI": "MCI", "AD": "Dementia"}),
        }
    )
