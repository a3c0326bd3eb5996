"""Cohort: validated tables of people, by subject id and region name."""

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyro_mmnorm.core.errors import InputError, check_known
from pyro_mmnorm.data.frames import as_text, column_of, counted, named
from pyro_mmnorm.data.participants import (
    Kind,
    check_label_leakage,
    covariate_columns,
    excluded,
    filled_labels,
    group_labels,
    joined,
    plain_column,
    reference_subjects,
    score_columns,
)
from pyro_mmnorm.data.regions import RegionRules, usable_regions
from pyro_mmnorm.data.splits import split_subjects

__all__ = ["Cohort"]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """People and their regions, in the units of the tables. Rows are sorted by id in every frame.

    Args:
        values: modality -> frame [n, d] of float64, NaN where not observed.
        covariates: Frame [n, c], one column per covariate; numbers, or text for kind `category`.
        kinds: covariate -> `spline`, `linear`, `category` or `one_hot` (a number rounded down).
        split: Series [n] of `train`, `calibrate`, `test` (reference subjects) and `target` (all others).
        group: Series [n] of text, such as the diagnosis.
        groups: The groups in order.
        scores: Frame [n, s] of clinical or cognitive scores, NaN where not measured.
        directions: score -> `higher_is_worse` or `higher_is_better`.
        adjust: Frame [n, a] of additional columns that findings are adjusted for.
        set_aside: modality -> excluded column of its table -> reason: `total`, `not included`, `excluded`,
            `never observed` or `constant`.
        notes: What was excluded from the tables, one sentence each.
    """

    values: Mapping[str, pd.DataFrame]
    covariates: pd.DataFrame
    kinds: Mapping[str, Kind]
    split: pd.Series
    group: pd.Series
    groups: tuple[str, ...]
    scores: pd.DataFrame
    directions: Mapping[str, str] = field(default_factory=dict)
    adjust: pd.DataFrame = field(default_factory=pd.DataFrame)
    set_aside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.adjust.columns):
            object.__setattr__(self, "adjust", pd.DataFrame(index=self.ids))
        own = {name: getattr(self, name) for name in ("split", "group", "scores", "adjust")}
        parts: dict[str, Any] = {**self.values, **own}
        for name, part in parts.items():
            if not part.index.equals(self.ids):
                got, expected = "rows that differ from the covariates", "the same ids in the same order"
                raise InputError(f"cohort: {name}", got, expected, "build it with Cohort.from_frames")

    @property
    def ids(self) -> pd.Index:
        """Subject ids, [n], sorted."""
        return self.covariates.index

    @property
    def regions(self) -> list[str]:
        """`<modality>.<region>` of every column, in order."""
        return [f"{m}.{region}" for m, frame in self.values.items() for region in frame.columns]

    @property
    def nuisance(self) -> pd.DataFrame:
        """Columns that findings are adjusted for: the covariates, and `adjust`."""
        return self.covariates.join(self.adjust.drop(columns=self.covariates.columns, errors="ignore"))

    @property
    def present(self) -> pd.DataFrame:
        """Whether any region of a modality was observed, [n, modalities]."""
        return pd.DataFrame({m: frame.notna().any(axis=1) for m, frame in self.values.items()}, index=self.ids)

    @property
    def modalities_present(self) -> NDArray[np.str_]:
        """The observed modalities as text, such as `thickness + volume`, [n]."""
        names = self.present.columns.to_numpy(str)
        return np.array([" + ".join(names[row]) or "nothing" for row in self.present.to_numpy()], dtype=str)

    def hiding(self, hidden: pd.DataFrame) -> Self:
        """The same people with some modalities not observed.

        Args:
            hidden: True where all regions of a modality become NaN, [n, modalities].
        """
        values = {}
        for m, frame in self.values.items():
            values[m] = frame.copy()
            values[m].loc[hidden[m]] = np.nan
        return replace(self, values=values)

    def __len__(self) -> int:
        return len(self.covariates)

    def __getitem__(self, rows: "pd.Series | pd.Index | NDArray[np.bool_] | Sequence[str]") -> Self:
        """The subjects selected by a boolean mask or by ids."""
        at = pd.Series(range(len(self)), index=self.ids).loc[rows].to_numpy()  # type: ignore[index]
        return replace(
            self,
            values={m: frame.iloc[at] for m, frame in self.values.items()},
            covariates=self.covariates.iloc[at],
            split=self.split.iloc[at],
            group=self.group.iloc[at],
            scores=self.scores.iloc[at],
            adjust=self.adjust.iloc[at],
        )

    @property
    def train(self) -> Self:
        """Reference subjects on whom the model and every preprocessing step are fitted."""
        return self[self.split == "train"]

    @property
    def calibrate(self) -> Self:
        """Reference subjects on whom the calibrators are fitted."""
        return self[self.split == "calibrate"]

    @property
    def test(self) -> Self:
        """Held-out reference subjects."""
        return self[self.split == "test"]

    @property
    def target(self) -> Self:
        """All others: patients, new people."""
        return self[self.split == "target"]

    @property
    def scored(self) -> Self:
        """Test and target subjects: all on whom nothing was fitted."""
        return self[self.split.isin(["test", "target"])]

    @classmethod
    def from_frames(
        cls,
        values: Mapping[str, pd.DataFrame],
        participants: pd.DataFrame,
        *,
        id: str | None = None,  # noqa: A002  (the word of the field)
        covariates: Mapping[str, Kind | tuple[str, Kind]] | None = None,
        reference: tuple[str, Sequence[Hashable]] | None = None,
        groups: tuple[str, Sequence[Hashable]] | None = None,
        scores: Mapping[str, str] | None = None,
        adjust: Sequence[str] = (),
        split: str | tuple[float, float] = (0.2, 0.2),
        stratify: str | None = None,
        everyone: Literal["target"] | None = None,
        exclude_subjects: Mapping[str, Sequence[Hashable]] | None = None,
        missing_covariates: Literal["error", "set_aside"] = "error",
        include: Mapping[str, Sequence[str]] | None = None,
        exclude: Mapping[str, Sequence[str]] | None = None,
        totals: Mapping[str, Literal["set_aside", "keep"]] | None = None,
        zeros: Mapping[str, Literal["missing", "keep"]] | None = None,
        seed: int = 0,
    ) -> Self:
        """A cohort from tables: validated, joined by id, restricted to regions and split by subject.

        Args:
            values: modality -> table, one row per subject, one column per region.
            participants: One row per subject: covariates, diagnosis, scores.
            id: Column (or named index) with the ids, in every frame; None: the index of every frame.
            covariates: covariate -> `spline`, `linear`, `category` or `one_hot`; or (column, kind) where the name of
                the column differs.
            reference: Column, and its values in healthy people; None: all people are healthy.
            groups: Column and order of the groups; an empty order: groups of healthy subjects first, then alphabetical.
            scores: Column -> `higher_is_worse` or `higher_is_better`.
            adjust: Additional columns that findings are adjusted for.
            split: Column of `train`, `calibrate`, `test` and `target`; or the shares (calibrate, test) of the reference
                subjects, drawn within strata; all other subjects are target.
            stratify: Column of the strata; None: the covariate `site`, if there is one.
            everyone: `target` reads new people for scoring: no split, no minimum number of controls, and regions that
                do not vary among them are kept.
            exclude_subjects: Column -> values for which a subject is excluded.
            missing_covariates: `error`, or `set_aside` to exclude subjects with an empty cell.
            include, exclude, totals, zeros: modality -> rules for regions, see `regions.RegionRules`.
            seed: Seed of the split.

        Raises:
            InputError: On invalid input; the message names the table, the row and the column.

        Examples:
            >>> ids = [f"sub-{i:02d}" for i in range(60)]
            >>> people = pd.DataFrame({"age": range(20, 80), "dx": ["CN"] * 50 + ["AD"] * 10}, index=ids)
            >>> table = pd.DataFrame({"insula": np.linspace(2, 3, 60), "cuneus": np.linspace(1, 2, 60)}, index=ids)
            >>> cohort = Cohort.from_frames({"thickness": table}, people, reference=("dx", ["CN"]))
            >>> len(cohort.train), len(cohort.calibrate), len(cohort.test), len(cohort.target)
            (30, 10, 10, 10)
        """
        check_known("everyone", everyone, (None, "target"))
        new = everyone == "target"
        terms = {name: (name, kind) if isinstance(kind, str) else kind for name, kind in (covariates or {}).items()}
        rules = _rules(values, varying=not new, include=include, exclude=exclude, totals=totals, zeros=zeros)
        notes: list[str] = []
        tables, people = joined(values, participants, id, notes)
        healthy = reference_subjects(people, reference, needed=not new)
        people = people[~excluded(people, healthy, exclude_subjects or {}, notes)]
        design = covariate_columns(people, terms, missing=missing_covariates, notes=notes)
        usable = {m: usable_regions(t.loc[design.index], rules[m], modality=m, notes=notes) for m, t in tables.items()}
        regions = {m: frame for m, (frame, _) in usable.items()}
        ids = _measured(regions, notes)
        people, healthy, design = people.loc[ids], healthy.loc[ids], design.loc[ids]
        if reference and not new:
            filled_labels(people, reference[0])
        group, order = group_labels(people, healthy, groups)
        label_columns = [source[0] for source in (reference, groups) if source]
        labels: list[pd.Series] = [] if new or healthy.all() else [healthy, group]
        check_label_leakage(design, {name: column for name, (column, _) in terms.items()}, label_columns, labels)
        strata = as_text(column_of(people, stratify, "participants")) if stratify else _sites(design)
        all_target = pd.Series("target", index=ids, name="split", dtype=str)
        return cls(
            values={m: frame.loc[ids] for m, frame in regions.items()},
            covariates=design,
            kinds={name: kind for name, (_, kind) in terms.items()},
            split=all_target if new else split_subjects(people, healthy, strata, split, seed),
            group=group,
            groups=order,
            scores=score_columns(people, scores or {}),
            directions=dict(scores or {}),
            adjust=pd.DataFrame({column: plain_column(people, column) for column in adjust}, index=ids),
            set_aside={m: columns for m, (_, columns) in usable.items()},
            notes=tuple(notes),
        )


def _rules(modalities: Iterable[str], *, varying: bool, **given: Mapping[str, Any] | None) -> dict[str, RegionRules]:
    """The rules of every modality from `include`, `exclude`, `totals` and `zeros`."""
    names = list(modalities)
    if not names:
        raise InputError("values", "no modality", "at least one table", "pass modality -> table")
    for name in names:
        if not re.fullmatch(r"[A-Za-z][\w-]*", name):
            expected = "a letter, then letters, digits, _ and -"
            raise InputError(f"modality {name!r}", "an invalid name", expected, "rename the modality")
    for argument, by_modality in given.items():
        for name in by_modality or {}:
            check_known(argument, name, names)
    return {
        m: RegionRules(varying=varying, **{argument: by[m] for argument, by in given.items() if by and m in by})
        for m in names
    }


def _measured(regions: Mapping[str, pd.DataFrame], notes: list[str]) -> pd.Index:
    """Ids of the subjects with at least one observed region."""
    observed = pd.concat([frame.notna().any(axis=1) for frame in regions.values()], axis=1).any(axis=1)
    if not observed.any():
        todo = "check the tables and their ids"
        raise InputError("participants", "no subject with an observed region", "subjects with observed regions", todo)
    if not observed.all():
        blank = observed.index[~observed]
        notes.append(f"{counted(len(blank), 'subject')} without any observed region excluded: {named(blank)}")
    return observed.index[observed]


def _sites(design: pd.DataFrame) -> pd.Series:
    """Strata of the split if no column is named: the covariate `site`, else a single stratum."""
    return as_text(design["site"]) if "site" in design else pd.Series("", index=design.index, dtype=str)
