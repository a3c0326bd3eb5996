"""A first configuration for the tables in a folder, by names and content of columns, for a person to check."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.column_roles import (
    Meaning,
    is_healthy,
    reads_like,
    same_but_for_spelling,
    score_direction,
    stage_of,
)
from pyro_mmnorm.data.frames import as_text, counted, named, numbers_or_none
from pyro_mmnorm.data.splits import SPLITS
from pyro_mmnorm.data.tables import CORNER, READERS, read_table

__all__ = ["UNKNOWN", "first_config"]

UNKNOWN = "CHANGE_ME"
"""Placeholder for a value that the user must fill in; a run refuses it."""

PEOPLE = re.compile(r"participant|subject|demograph|pheno|clinical|covariate|people|patients|dx|info")
MEANINGS: tuple[Meaning, ...] = ("age", "sex", "site", "diagnosis")
IDLE_WORDS = ("lh", "rh", "left", "right", "hemi", "both", "data", "type", "measure", "table", "tables", "stats")
TRUTH = re.compile(r"effect|reference_\w+")  # written by `mmnorm simulate` beside its tables
MOST_TABLES, MOST_LEVELS, FEWEST_REGIONS = 100, 40, 2
COVARIATES = "  # The norm depends on these: spline, linear or category. Never use the diagnosis."
MOST_GROUPS = 12


@dataclass(frozen=True)
class _Table:
    """A table of the folder: its relative path, its columns as text, and the name of the id column."""

    path: str
    frame: pd.DataFrame
    key: str

    @property
    def name(self) -> str:
        return Path(self.path).stem

    @property
    def ids(self) -> set[str]:
        return set(as_text(self.frame[self.key]))

    @property
    def numeric(self) -> list[str]:
        """Columns that contain only numbers and empty cells."""
        return [c for c in self.frame.columns if c != self.key and _is_number(self.frame[c])]


def first_config(folder: str | Path, beside: str | Path) -> tuple[str, list[str]]:
    """A commented configuration for the tables below a folder.

    One table describes the people: its columns have names such as age, sex or diagnosis. Every other table with some
    of their ids is a modality; tables of the left and right hemisphere are combined. Healthy people are identified only
    if their diagnosis is a common word for healthy.

    Args:
        folder: Folder of csv, tsv or parquet tables; subfolders are searched too.
        beside: Path of the configuration; `data.root` is relative to its folder.

    Returns:
        The YAML text, and a summary of the tables, one sentence each.

    Raises:
        InputError: Without a folder, without a table of people, or without any table of their regions.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     people = pd.DataFrame({"sub": ["a", "b"], "Age": [70, 71], "DX": ["HC", "AD"]})
        ...     people.to_csv(f"{folder}/people.csv", index=False)
        ...     table = pd.DataFrame({"sub": ["a", "b"], "insula": [2.7, 2.9], "cuneus": [1.8, 2.1]})
        ...     table.to_csv(f"{folder}/thickness.csv", index=False)
        ...     print(first_config(folder, "my.yaml")[1][1])
        thickness: 2 regions, 2 of 2 people
    """
    folder = Path(folder)
    tables, notes = _tables(folder)
    people = _people(tables, folder, notes)
    modalities = _modalities([table for table in tables if table is not people], people, notes)
    if not modalities:
        got = f"no table with regions of the people of {people.path}; {' '.join(notes)}".rstrip("; ")
        raise InputError(str(folder), got, "a table with one row per person and one column per region", "add it")
    summary = [f"{people.path}: table of {len(people.ids)} people, ids in {people.key!r}"]
    for m, parts in modalities.items():
        measured = set().union(*(part.ids for part in parts)) & people.ids
        regions = counted(sum(len(part.numeric) for part in parts), "region")
        summary.append(f"{m}: {regions}, {len(measured)} of {len(people.ids)} people")
    lines = [*_covariates(people), *_reference(people)]
    summary += [line.strip(" #") for line in lines if line.startswith("  #") and line != COVARIATES]
    root = os.path.relpath(folder.resolve(), Path(beside).resolve().parent)
    return "\n".join(_lines(root, people, modalities, notes)) + "\n", [*summary, *notes]


def _tables(folder: Path) -> tuple[list[_Table], list[str]]:
    if not folder.is_dir():
        raise InputError(str(folder), "no such folder", "a folder of csv, tsv or parquet tables", "check the path")
    paths = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in READERS and p.is_file() and not _hidden(p, folder)
    )
    paths = [path for path in paths if not TRUTH.fullmatch(path.stem)]
    if not paths and any(folder.glob("*/stats/aseg.stats")):
        todo = "write tables with FreeSurfer's asegstats2table and aparcstats2table, and add a table of the people"
        raise InputError(str(folder), "a FreeSurfer folder with one folder per person", "tables of all people", todo)
    if not 0 < len(paths) <= MOST_TABLES:
        got, expected = f"{len(paths)} tables", f"1 to {MOST_TABLES} that end in {', '.join(READERS)}"
        raise InputError(str(folder), got, expected, "choose the folder with the tables of one study")
    tables, notes = [], []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            frame = read_table(path)
        except InputError as error:
            notes.append(f"{name} was not read: {error.got}.")
            continue
        frame.columns = pd.Index([str(column).strip() for column in frame.columns], dtype=str)
        frame = frame.loc[:, ~frame.columns.duplicated()]
        key = _key(frame)
        if key is None:
            notes.append(f"{name} has no column of ids.")
        else:
            tables.append(_Table(name, frame, key))
    return tables, notes


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _key(frame: pd.DataFrame) -> str | None:
    """The column of ids: FreeSurfer's first column, or a name such as id, with a different value in every row."""
    names = [str(name) for name in frame.columns]
    likely = [name for name in names if reads_like("id", name)]
    if CORNER.fullmatch(names[0]) and names[0] not in likely:
        likely.insert(0, names[0])
    for name in likely:
        cells = as_text(frame[name])
        if (cells != "").all() and cells.is_unique:
            return name
    return likely[0] if likely else None


def _is_number(column: pd.Series) -> bool:
    numbers = numbers_or_none(column)
    return numbers is not None and bool(numbers.notna().any())


def _column(meaning: Meaning, table: _Table) -> str | None:
    """The column of this meaning, the shortest name of several; ages are numbers, the others have few levels."""
    likely = [str(name) for name in table.frame.columns if name != table.key and reads_like(meaning, str(name))]
    if meaning == "age":
        likely = [name for name in likely if name in table.numeric]
    else:
        likely = [name for name in likely if 1 < _levels(table.frame[name]) <= MOST_LEVELS]
    return min(likely, key=len, default=None)


def _levels(column: pd.Series) -> int:
    return len(set(as_text(column)) - {""})


def _people(tables: Sequence[_Table], folder: Path, notes: Sequence[str]) -> _Table:
    """The table with the most columns that describe people."""

    def score(table: _Table) -> tuple[int, int]:
        meanings = [_column(meaning, table) is not None for meaning in MEANINGS]
        return sum(meanings), int(PEOPLE.search(table.name.lower()) is not None)

    best = max(tables, key=score, default=None)
    if best is None or score(best) == (0, 0):
        got = "no table with age, sex or diagnosis"
        got = f"{got}; {' '.join(notes).removesuffix('.')}" if notes else got
        todo = "add one, with a column of ids such as participant_id"
        raise InputError(str(folder), got, "one table with one row per person", todo)
    return best


def _modalities(tables: Sequence[_Table], people: _Table, notes: list[str]) -> dict[str, list[_Table]]:
    modalities: dict[str, list[_Table]] = {}
    for table in tables:
        if len(table.numeric) < FEWEST_REGIONS:
            notes.append(f"{table.path} was excluded: {counted(len(table.numeric), 'column')} of numbers.")
        elif not table.ids & people.ids:
            own, theirs = named(sorted(table.ids), 1), named(sorted(people.ids), 1)
            notes.append(f"{table.path} was excluded: it has ids such as {own}, {people.path} such as {theirs}.")
        else:
            modalities.setdefault(_modality(table.name), []).append(table)
    return modalities


def _modality(stem: str) -> str:
    """A name from that of a file, without the hemisphere and uninformative words."""
    words = [word for word in re.split(r"[\W_]+", stem) if word and word.lower() not in IDLE_WORDS]
    name = "_".join(words) or "regions"
    return name if name[0].isalpha() else f"m_{name}"


def _lines(root: str, people: _Table, modalities: Mapping[str, list[_Table]], notes: Sequence[str]) -> Iterator[str]:
    """The configuration, line by line."""
    yield "# Written by mmnorm init from the names and content of columns. Check it, and correct what is wrong."
    yield "# Then check the data with mmnorm inspect, and start with mmnorm run."
    yield from (f"# {note}" for note in notes)
    yield from ("seed: 1", "", "data:", f"  root: {_scalar(root)}")
    yield from (
        f"  participants: {_scalar(people.path)}    # {len(people.frame)} rows",
        f"  id: {_scalar(people.key)}",
        "",
        "  modalities:",
    )
    for m, parts in modalities.items():
        keys = {part.key for part in parts if not CORNER.fullmatch(part.key)} - {people.key}
        own = f", id: {_scalar(min(keys))}" if keys else ""
        regions = sum(len(part.numeric) for part in parts)
        words = sorted({c for part in parts for c in part.frame.columns if c not in (part.key, *part.numeric)})
        out = f", exclude: {_flow(words)}" if words else ""
        yield f"    {m}:    # {regions} columns of numbers"
        yield f"      {{tables: {_flow([part.path for part in parts])}{own}{out}}}"
    yield ""
    yield from _covariates(people)
    yield from _reference(people)
    yield from _scores_and_split(people)


def _covariates(people: _Table) -> Iterator[str]:
    """The covariates of the norm."""
    kinds: dict[Meaning, str] = {"age": "spline", "sex": "category", "site": "category"}
    terms = {name: column for name in kinds if (column := _column(name, people))}
    for wanted in ("age", "sex"):
        if wanted not in terms:
            yield f"  # No column has a name like {wanted}."
    if terms:
        yield COVARIATES
        yield "  covariates:"
        for name, column in terms.items():
            long = f"{{column: {_scalar(column)}, kind: {kinds[name]}}}"
            yield f"    {name}: {kinds[name] if name == column else long}"
        empty = pd.concat([as_text(people.frame[column]) == "" for column in terms.values()], axis=1).any(axis=1)
        if empty.any():
            yield f"  missing_covariates: set_aside    # {counted(int(empty.sum()), 'row')} without one of these"
    yield ""


def _reference(people: _Table) -> Iterator[str]:
    """The healthy reference and the groups; the reference only if a diagnosis is a common word for healthy."""
    column = _column("diagnosis", people)
    if column is None:
        others = [
            str(name) for name in people.frame.columns
            if name != people.key and 1 < _levels(people.frame[name]) <= MOST_GROUPS
            and not any(reads_like(meaning, str(name)) for meaning in MEANINGS)
        ]  # fmt: skip
        if not others:
            yield "  reference: everyone    # no column could be a diagnosis"
            return
        yield f"  # No column has a name like diagnosis. It may be one of {', '.join(others)}."
        yield f"  reference: {{column: {UNKNOWN}, values: [{UNKNOWN}]}}    # CHANGE THIS, or write: reference: everyone"
        return
    counts = as_text(people.frame[column]).value_counts()
    values = [value for value in counts.index if value]
    well = [value for value in values if is_healthy(value)]
    yield f"  # {column}: {', '.join(f'{value} ({counts[value]})' for value in values)}."
    for spellings in same_but_for_spelling(values):
        names = " and ".join(map(repr, spellings))
        yield f"  # {names} are different groups: correct the table if they are the same."
    why = "healthy people" if well else "CHANGE THIS: which of the values above mean healthy?"
    yield f"  reference: {{column: {_scalar(column)}, values: {_flow(well or [UNKNOWN])}}}    # {why}"
    order = well + sorted(set(values) - set(well), key=stage_of)
    yield f"  groups: {{column: {_scalar(column)}, order: {_flow(order)}}}    # from healthy to most severe"
    if "" in counts:
        yield f"  exclude_subjects: {{{_scalar(column)}: ['']}}    # {counted(int(counts['']), 'row')} without it"


def _scores_and_split(people: _Table) -> Iterator[str]:
    scores = {name: way for name in people.numeric if (way := score_direction(name))}
    if scores:
        yield f"  scores: {{{', '.join(f'{_scalar(name)}: {way}' for name, way in scores.items())}}}"
    splits = [str(c) for c in people.frame.columns if set(as_text(people.frame[c])) <= set(SPLITS)]
    yield ""
    if splits:
        yield "  # This column assigns each person to train, calibrate, test or target."
        yield f"  split: {{column: {_scalar(splits[0])}}}"
    else:
        yield "  # Shares of healthy people for calibration and test; the others train. All other people are scored."
        yield "  split: {calibrate: 0.2, test: 0.2}"


def _scalar(value: str) -> str:
    """A value as YAML."""
    return yaml.safe_dump(value, allow_unicode=True, width=10_000).removesuffix("\n").removesuffix("\n...")


def _flow(values: Sequence[str]) -> str:
    return yaml.safe_dump(list(values), default_flow_style=True, allow_unicode=True, width=10_000).strip()
