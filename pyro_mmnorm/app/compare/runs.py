"""The runs of a comparison: reading their folders, and checks that they contain the same people."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd
import xarray as xr

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.results.run_results import RunResults
from pyro_mmnorm.results.schema import group_of

__all__ = ["Model", "Run", "models_of", "read_runs"]


SEED = re.compile(r"(?P<model>.+?)[-_. ]?seed[-_]?\d+")
"""Name of a run with one of several training seeds of a model."""

SMALLER_IS_WORSE = ("hippocampal_volume",)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, with its people in the order of the first run of the comparison.

    Args:
        name: Name of its folder.
        results: Its results.
        p: Conformal p of every cell, [n, d], NaN where not observed.
    """

    name: str
    results: RunResults
    p: Floats

    @classmethod
    def read(cls, folder: str | Path, ids: pd.Index | None = None) -> Self:
        """Read a run folder, with the people in the order of `ids`, or in its own order when None.

        Raises:
            InputError: When a file is missing, or the people differ from `ids`.
        """
        results, folder = RunResults.read(folder), Path(folder)
        if ids is not None and set(ids) != set(results.subjects.index):
            odd = sorted(set(ids) ^ set(results.subjects.index))
            got = f"other people than in the first run: {len(odd)} differ, such as {odd[0]!r}"
            raise InputError(str(folder), got, "the same test and target subjects", "run it on the same tables")
        ids = results.subjects.index if ids is None else ids
        if not (folder / "deviations.nc").is_file():
            raise InputError(str(folder), "no deviations.nc", "a finished run", "give a folder that `mmnorm run` wrote")
        with xr.open_dataset(folder / "deviations.nc", engine="h5netcdf") as dev:
            p = dev["p"].sel(kind=results.primary, subject=ids.to_numpy(str)).to_numpy()
        ordered = {name: getattr(results, name).reindex(ids) for name in ("z", "subjects")}
        return cls(name=folder.resolve().name, results=replace(results, **ordered), p=p)

    @property
    def label(self) -> pd.Series:
        """Group of every person, see `group_of`."""
        return group_of(self.results.subjects)

    @property
    def score(self) -> Floats:
        """Deviation score of each person, [n]: mean |z|, or −z of a single region that is known to shrink."""
        subjects = self.results.subjects
        small = self.results.config.get("baseline") in SMALLER_IS_WORSE
        score: Floats = (-subjects["mean_z"] if small else subjects["mean_abs_z"]).to_numpy(float)
        return score

    @property
    def described(self) -> str:
        """Short description of the model."""
        config = self.results.config
        model: dict[str, Any] = config.get("model", {})
        if baseline := config.get("baseline"):
            return f"{baseline}, {model['latent_dim']} factors" if baseline == "factor_analysis" else str(baseline)
        latents = f"{model.get('latent_dim')} shared and {model.get('private_dim', 0)} private latents"
        members = f", {model['members']} members" if model.get("members", 1) > 1 else ""
        return f"VAE, experts {model.get('experts')}, fusion {model.get('fusion')}, {latents}{members}"

    def has_evidence_like(self, other: "Run") -> bool:
        """Whether both runs have log evidence, of the same values in the same units."""
        one, two = self.results, other.results
        written = all("log_evidence" in r.subjects and r.subjects["log_evidence"].notna().any() for r in (one, two))
        scaling = [r.config.get("data", {}).get("scaling") for r in (one, two)]
        inputs = [r.provenance.get("inputs") for r in (one, two)]
        return written and list(one.z) == list(two.z) and scaling[0] == scaling[1] and inputs[0] == inputs[1]


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read run folders and check that they contain the same people in the same splits and groups.

    Raises:
        InputError: For fewer than two runs, different people, or people in another split or group.
    """
    if len(folders) < 2:
        raise InputError("compare", f"{len(folders)} runs", "at least two", "give another run folder")
    first = Run.read(folders[0])
    runs = [first, *(Run.read(folder, first.results.subjects.index) for folder in folders[1:])]
    for run, folder in zip(runs[1:], folders[1:], strict=True):
        for column in ("split", "group"):
            one, two = (r.results.subjects[column].astype(str) for r in (first, run))
            if (other := one != two).any():
                at = str(other.idxmax())
                got = f"{int(other.sum())} people in another {column}, such as {at!r}: {two[at]}, not {one[at]}"
                raise InputError(str(folder), got, f"the {column} of the first run", "use one split column for both")
    return [_named(run, i, runs) for i, run in enumerate(runs)]


@dataclass(frozen=True)
class Model:
    """One run, or several runs that differ only in the training seed.

    Args:
        name: Name of the folder; for several runs, the part before `-seed1`.
        runs: At least one run.
    """

    name: str
    runs: list[Run]


def models_of(runs: Sequence[Run]) -> list[Model]:
    """Runs named `x-seed1`, `x-seed2`, ... are one model, x; every other run is a model of its own."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        seed = SEED.fullmatch(run.name)
        groups.setdefault(seed["model"] if seed else run.name, []).append(run)
    return [Model(name if len(group) > 1 else group[0].name, group) for name, group in groups.items()]


def _named(run: Run, i: int, runs: Sequence[Run]) -> Run:
    """The run, numbered if an earlier run has the same name."""
    before = sum(other.name == run.name for other in runs[:i])
    return replace(run, name=f"{run.name} ({before + 1})") if before else run
