"""Inspection: what a configuration would read, in small tables and plain sentences; fits nothing."""

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
    """What would be read.

    Args:
        subjects: group x split, counts.
        regions: Per modality the regions, the subjects with at least one of them, and the missing cells of these.
        patterns: Modalities observed together, and how many subjects have just these.
        categories: covariate and level x split, counts.
        ranges: covariate, split, lowest, median and highest value.
        zeros: modality, region, and subjects whose size there is exactly 0.
        set_aside: modality, column, and why it is no region.
        intracranial: id, covariate and value of implausible intracranial volumes.
        problems: What should be looked at before a run, a sentence each.
        notes: What was set aside on the way in, a sentence each.
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
        """Title -> table, without the empty ones."""
        titled = {
            "subjects": self.subjects,
            "regions": self.regions,
            "modalities observed together": self.patterns,
            "categories": self.categories,
            "ranges": self.ranges,
            "sizes of exactly 0": self.zeros,
            "columns set aside": self.set_aside,
            "implausible intracranial volumes": self.intracranial,
        }
        return {title: table for title, table in titled.items() if len(table)}

    def to_text(self) -> str:
        """Everything as plain text."""
        parts = [f"{title}\n{table.to_string(index=False)}" for title, table in self.tables.items()]
        for title, sentences in (("notes", self.notes), ("problems", self.problems)):
            parts.append("\n".join([title, *(f"- {sentence}" for sentence in sentences or ("none",))]))
        return "\n\n".join(parts) + "\n"


def inspect_config(config: Config | str | Path) -> Inspection:
    """What a configuration would read.

    Raises:
        InputError: On anything that a run would refuse too.

    Examples:
        >>> print(inspect_config("configs/abide.yaml").to_text())  # doctest: +SKIP
    """
    config = config if isinstance(config, Config) else read_config(config)
    tables, participants = read_frames(config.data)
    return inspect_cohort(cohort_of(config, tables, participants), tables)


def inspect_cohort(cohort: Cohort, tables: dict[str, pd.DataFrame]) -> Inspection:
    """What a cohort holds, beside the tables that it came from.

    Args:
        cohort: The cohort.
        tables: modality -> its table as it stood, indexed by id, where zeros can still be told from missing cells.

    Examples:
        >>> ids = [f"sub-{i:02d}" for i in range(60)]
        >>> tables = {"thickness": pd.DataFrame({"insula": np.linspace(2, 3, 60)}, index=ids)}
        >>> cohort = Cohort.from_frames(tables, pd.DataFrame({"age": range(60)}, index=ids))
        >>> inspect_cohort(cohort, tables).subjects.iloc[0].to_dict()
        {'group': 'reference', 'train': 36, 'calibrate': 12, 'test': 12, 'target': 0}
    """
    zeros = pd.concat([_zeros(m, frame, tables[m]) for m, frame in cohort.values.items()], ignore_index=True)
    categories, intracranial = _categories(cohort), _implausible(cohort)
    aside = [(m, column, why) for m, columns in cohort.set_aside.items() for column, why in columns.items()]
    problems = (
        *_unlearnt_levels(categories),
        *_out_of_range(cohort),
        *_thin_modalities(cohort),
        *_zero_sizes(zeros),
        *_odd_volumes(intracranial),
        *_alike_groups(cohort),
    )
    return Inspection(
        subjects=_by_split(cohort.group, cohort).loc[list(cohort.groups)].reset_index(names="group"),
        regions=_regions(cohort),
        patterns=_patterns(cohort),
        categories=categories,
        ranges=_ranges(cohort),
        zeros=zeros,
        set_aside=pd.DataFrame(aside, columns=["modality", "column", "reason"]),
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
        seen = frame[frame.notna().any(axis=1)]
        missing = int(seen.isna().to_numpy().sum())
        share = round(100 * missing / max(1, seen.size), 2)
        rows.append((m, frame.shape[1], len(seen), missing, share))
    return pd.DataFrame(rows, columns=["modality", "regions", "subjects", "missing cells", "missing %"])


def _patterns(cohort: Cohort) -> pd.DataFrame:
    seen = pd.DataFrame({m: frame.notna().any(axis=1) for m, frame in cohort.values.items()})
    pattern = seen.apply(lambda row: " + ".join(row.index[row]), axis=1)
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
    """Zeros of the table as it stood, in the columns that are regions."""
    table = table.rename(columns=lambda name: str(name).strip()).reindex(regions.index)
    table = table.loc[:, ~table.columns.duplicated()]
    sizes = pd.DataFrame({region: as_numbers(table[region], f"modality {modality!r}") for region in regions})
    count = failed_parcels(sizes).sum()
    count = count[count > 0].sort_values(ascending=False, kind="stable")
    return pd.DataFrame({"modality": modality, "region": count.index, "subjects": count.to_numpy(dtype=int)})


def _implausible(cohort: Cohort) -> pd.DataFrame:
    """Intracranial volumes below 0, or beyond 6 median absolute deviations on the log scale.

    The deviation is scaled to the standard deviation of a normal (1.4826 MAD).
    """
    found = []
    for name in (name for name in _numeric(cohort) if INTRACRANIAL.search(name)):
        x = cohort.covariates[name]
        log = np.log(x.where(x > 0))
        off = (log - log.median()).abs()
        odd = x[(off > MAX_MADS * 1.4826 * off.median()) | (x <= 0)].sort_values()
        found.append(pd.DataFrame({"id": odd.index, "covariate": name, "value": odd.to_numpy()}))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["id", "covariate", "value"])


def _unlearnt_levels(categories: pd.DataFrame) -> list[str]:
    alone = categories[categories["train"] == 0]
    others = alone[["calibrate", "test", "target"]].sum(axis=1).astype(int)
    return [
        f"covariate {name!r}: {level!r} has no training control but {counted(n, 'other subject')}, who cannot be "
        "scored; set them aside, or adapt to the new site"
        for name, level, n in zip(alone["covariate"], alone["level"], others, strict=True)
    ]


def _zero_sizes(zeros: pd.DataFrame) -> list[str]:
    return [
        f"modality {m!r}: {counted(int(part['subjects'].sum()), 'size')} of exactly 0, as FreeSurfer writes for a "
        f"failed parcel: {named(part['region'])}"
        for m, part in zeros.groupby("modality", sort=False)
    ]


def _odd_volumes(intracranial: pd.DataFrame) -> list[str]:
    return [
        f"covariate {name!r}: {counted(len(part), 'implausible intracranial volume')}, such as "
        f"{part['value'].iloc[0]:g} of {part['id'].iloc[0]!r}; check these scans, or set them aside"
        for name, part in intracranial.groupby("covariate", sort=False)
    ]


def _alike_groups(cohort: Cohort) -> list[str]:
    return [
        f"groups {named(spellings)} differ in spelling only; mend the table if they are one"
        for spellings in same_but_for_spelling(cohort.groups)
    ]


def _out_of_range(cohort: Cohort) -> list[str]:
    sentences = []
    for name in _numeric(cohort):
        x, known = cohort.covariates[name], cohort.train.covariates[name]
        out = x.index[(x < known.min()) | (x > known.max())]
        if len(known) and len(out):
            span = f"{known.min():g} to {known.max():g}"
            sentences.append(
                f"covariate {name!r}: {counted(len(out), 'subject')} outside the training range {span}: {named(out)}"
            )
    return sentences


def _thin_modalities(cohort: Cohort) -> list[str]:
    seen = {m: int(frame.notna().any(axis=1).sum()) for m, frame in cohort.train.values.items()}
    return [f"modality {m!r}: observed in {counted(n, 'training control')} only" for m, n in seen.items() if n < FEW]
