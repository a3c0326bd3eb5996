"""Inspection: what a configuration reads, in small tables and sentences, without fitting anything."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pyro_mmnorm.config import Config, read_config
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.column_roles import same_but_for_spelling
from pyro_mmnorm.data.frames import as_numbers, counted, named
from pyro_mmnorm.data.regions import failed_parcels
from pyro_mmnorm.data.splits import SPLITS
from pyro_mmnorm.data.tables import cohort_of, read_frames

__all__ = ["Inspection", "inspect_cohort", "inspect_config"]

INTRACRANIAL = re.compile(r"(?<![a-z])(icv|e?tiv)(?![a-z])|intra_?cranial", re.IGNORECASE)  # names of covariates
MAX_MADS = 6.0
FEW = 30


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Summary of the data that a configuration reads.

    Args:
        subjects: group x split, counts.
        regions: Per modality the number of regions, of subjects with at least one of them, and of their missing cells.
        patterns: Combination of observed modalities, and its number of subjects.
        categories: covariate and level x split, counts.
        ranges: covariate, split, lowest, median and highest value.
        zeros: modality, region, and number of subjects with a value of exactly 0.
        set_aside: modality, excluded column, and the reason.
        intracranial: id, covariate and value of implausible intracranial volumes.
        problems: What to check before a run, one sentence each.
        notes: What was excluded from the tables, one sentence each.
    """

    subjects: pd.DataFrame
    regions: pd.DataFrame
    patterns: pd.DataFrame
    categories: pd.DataFrame
    ranges: pd.DataFrame
    zeros: pd.DataFrame
    set_aside: pd.DataFrame
    intracranial: pd.DataFrame
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Title -> table, without empty tables."""
        titled = {
            "subjects": self.subjects,
            "regions": self.regions,
            "modalities observed together": self.patterns,
            "categories": self.categories,
            "ranges": self.ranges,
            "values of exactly 0": self.zeros,
            "excluded columns": self.set_aside,
            "implausible intracranial volumes": self.intracranial,
        }
        return {title: table for title, table in titled.items() if len(table)}

    def to_text(self) -> str:
        """The tables and sentences as plain text."""
        parts = [f"{title}\n{table.to_string(index=False)}" for title, table in self.tables.items()]
        for title, sentences in (("notes", self.notes), ("problems", self.problems)):
            parts.append("\n".join([title, *(f"- {sentence}" for sentence in sentences or ("none",))]))
        return "\n\n".join(parts) + "\n"


def inspect_config(config: Config | str | Path) -> Inspection:
    """Inspect the data that a configuration reads.

    Raises:
        InputError: On any input that a run would refuse.

    Examples:
        >>> print(inspect_config("configs/abide.yaml").to_text())  # doctest: +SKIP
    """
    config = config if isinstance(config, Config) else read_config(config)
    tables, participants = read_frames(config.data)
    return inspect_cohort(cohort_of(config, tables, participants), tables)


def inspect_cohort(cohort: Cohort, tables: dict[str, pd.DataFrame]) -> Inspection:
    """Inspect a cohort and the tables from which it was made.

    Args:
        cohort: The cohort.
        tables: modality -> its table, indexed by id, in which zeros differ from missing cells.

    Examples:
        >>> ids = [f"sub-{i:02d}" for i in range(60)]
        >>> tables = {"thickness": pd.DataFrame({"insula": np.linspace(2, 3, 60)}, index=ids)}
        >>> cohort = Cohort.from_frames(tables, pd.DataFrame({"age": range(60)}, index=ids))
        >>> inspect_cohort(cohort, tables).subjects.iloc[0].to_dict()
        {'group': 'reference', 'train': 36, 'calibrate': 12, 'test': 12, 'target': 0}
    """
    zeros = pd.concat([_zeros(m, frame, tables[m]) for m, frame in cohort.values.items()], ignore_index=True)
    categories, intracranial = _categories(cohort), _implausible(cohort)
    excluded = [(m, column, why) for m, columns in cohort.set_aside.items() for column, why in columns.items()]
    problems = (
        *_untrained_levels(categories),
        *_out_of_range(cohort),
        *_rare_modalities(cohort),
        *_failed_parcels(zeros),
        *_implausible_volumes(intracranial),
        *_similar_groups(cohort),
    )
    return Inspection(
        subjects=_by_split(cohort.group, cohort).loc[list(cohort.groups)].reset_index(names="group"),
        regions=_regions(cohort),
        patterns=_patterns(cohort),
        categories=categories,
        ranges=_ranges(cohort),
        zeros=zeros,
        set_aside=pd.DataFrame(excluded, columns=["modality", "column", "reason"]),
        intracranial=intracranial,
        problems=problems,
        notes=cohort.notes,
    )


def _by_split(label: pd.Series, cohort: Cohort) -> pd.DataFrame:
    """Counts, label x split."""
    return pd.crosstab(label, cohort.split).reindex(columns=list(SPLITS), fill_value=0).rename_axis(columns=None)


def _regions(cohort: Cohort) -> pd.DataFrame:
    rows = []
    for m, frame in cohort.values.items():
        observed = frame[cohort.present[m]]
        missing = int(observed.isna().to_numpy().sum())
        share = round(100 * missing / max(1, observed.size), 2)
        rows.append((m, frame.shape[1], len(observed), missing, share))
    return pd.DataFrame(rows, columns=["modality", "regions", "subjects", "missing cells", "missing %"])


def _patterns(cohort: Cohort) -> pd.DataFrame:
    pattern = pd.Series(cohort.modalities_present)
    return pattern.value_counts().rename_axis("modalities").reset_index(name="subjects")


def _categories(cohort: Cohort) -> pd.DataFrame:
    names = [name for name, kind in cohort.kinds.items() if kind == "category"]
    counts = [_by_split(cohort.covariates[name], cohort).reset_index(names="level") for name in names]
    parts = [count.assign(covariate=name) for name, count in zip(names, counts, strict=True)]
    columns = ["covariate", "level", *SPLITS]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _numeric(cohort: Cohort) -> list[str]:
    return [name for name, kind in cohort.kinds.items() if kind != "category"]


def _ranges(cohort: Cohort) -> pd.DataFrame:
    rows = []
    for name in _numeric(cohort):
        for part in SPLITS:
            x = cohort.covariates.loc[cohort.split == part, name]
            if len(x):
                rows.append((name, part, x.min(), x.median(), x.max()))
    return pd.DataFrame(rows, columns=["covariate", "split", "lowest", "median", "highest"])


def _zeros(modality: str, regions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Zeros of the table, in the columns that are regions."""
    table = table.rename(columns=lambda name: str(name).strip()).reindex(regions.index)
    table = table.loc[:, ~table.columns.duplicated()]
    values = pd.DataFrame({region: as_numbers(table[region], f"modality {modality!r}") for region in regions})
    count = failed_parcels(values).sum()
    count = count[count > 0].sort_values(ascending=False, kind="stable")
    return pd.DataFrame({"modality": modality, "region": count.index, "subjects": count.to_numpy(dtype=int)})


def _implausible(cohort: Cohort) -> pd.DataFrame:
    """Intracranial volumes of 0 or less, or more than 6 scaled MAD from the median on the log scale.

    The MAD is scaled to the standard deviation of a normal distribution (1.4826 MAD).
    """
    parts = []
    for name in (name for name in _numeric(cohort) if INTRACRANIAL.search(name)):
        x = cohort.covariates[name]
        log = np.log(x.where(x > 0))
        off = (log - log.median()).abs()
        odd = x[(off > MAX_MADS * 1.4826 * off.median()) | (x <= 0)].sort_values()
        parts.append(pd.DataFrame({"id": odd.index, "covariate": name, "value": odd.to_numpy()}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["id", "covariate", "value"])


def _untrained_levels(categories: pd.DataFrame) -> list[str]:
    alone = categories[categories["train"] == 0]
    others = alone[["calibrate", "test", "target"]].sum(axis=1).astype(int)
    return [
        f"covariate {name!r}: {level!r} has no training control but {counted(n, 'other subject')}, who cannot be "
        "scored; exclude them, or adapt to the new site"
        for name, level, n in zip(alone["covariate"], alone["level"], others, strict=True)
    ]


def _failed_parcels(zeros: pd.DataFrame) -> list[str]:
    return [
        f"modality {m!r}: {counted(int(part['subjects'].sum()), 'value')} of exactly 0, which FreeSurfer writes for a "
        f"failed parcel: {named(part['region'])}"
        for m, part in zeros.groupby("modality", sort=False)
    ]


def _implausible_volumes(intracranial: pd.DataFrame) -> list[str]:
    return [
        f"covariate {name!r}: {counted(len(part), 'implausible intracranial volume')}, such as "
        f"{part['value'].iloc[0]:g} of {part['id'].iloc[0]!r}; check or exclude these scans"
        for name, part in intracranial.groupby("covariate", sort=False)
    ]


def _similar_groups(cohort: Cohort) -> list[str]:
    return [
        f"groups {named(spellings)} differ only in spelling; correct the table if they are the same group"
        for spellings in same_but_for_spelling(cohort.groups)
    ]


def _out_of_range(cohort: Cohort) -> list[str]:
    sentences = []
    for name in _numeric(cohort):
        x, trained = cohort.covariates[name], cohort.train.covariates[name]
        outside = x.index[(x < trained.min()) | (x > trained.max())]
        if len(trained) and len(outside):
            span, count = f"{trained.min():g} to {trained.max():g}", counted(len(outside), "subject")
            sentences.append(f"covariate {name!r}: {count} outside the training range {span}: {named(outside)}")
    return sentences


def _rare_modalities(cohort: Cohort) -> list[str]:
    counts = cohort.train.present.sum()
    return [
        f"modality {m!r}: observed in only {counted(int(n), 'training control')}" for m, n in counts.items() if n < FEW
    ]
