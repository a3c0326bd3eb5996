"""Tables on disk: readers of csv, tsv and parquet, and the cohort that a configuration describes."""

import csv
import re
from collections.abc import Callable, Iterator
from itertools import batched, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pyro_mmnorm.config import Config, DataConfig, read_config
from pyro_mmnorm.core.errors import InputError, hint
from pyro_mmnorm.core.files import require_pyarrow
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.frames import by_id, named, numbers_or_none

__all__ = ["cohort_of", "input_files", "read_cohort", "read_frames", "read_table"]

CORNER = re.compile(r"|Subject|[Mm]easure:\w+|[lr]h\.[\w.-]+|volume|area|thickness|mean")
"""Name of the id column in tables of FreeSurfer's commands: `Measure:volume`, `lh.aparc.area`, or empty."""

CELLS = 500_000  # of a text table, held as text at a time


def read_table(path: str | Path, *, ids: str | None = None) -> pd.DataFrame:
    r"""A table as it is on disk, one row a subject.

    Cells of csv and tsv stay text, so that `007` and `1.50` keep their spelling; `Cohort.from_frames` converts them,
    since it can name the subject and the region of a cell that is not a number. With `ids`, columns of numbers are
    converted block by block, so that a large table of regions is never held as text.

    Args:
        path: A file that ends in .csv, .tsv or .parquet.
        ids: Name of the column of ids. It and the first column stay text; every other column of csv and tsv in which
            all cells are numbers or empty becomes float64. None: every column stays text.

    Returns:
        The table with its columns in order; a column name may occur twice.

    Raises:
        InputError: When the file is missing, of another format, empty, ragged, or cannot be read; and for parquet
            without pyarrow.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "people.csv"
        ...     _ = path.write_text("id,age\n007,70\n")
        ...     read_table(path).iloc[0].to_dict(), read_table(path, ids="id").iloc[0].to_dict()
        ({'id': '007', 'age': '70'}, {'id': '007', 'age': 70.0})
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        expected = f"a table that ends in {', '.join(READERS)}"
        raise InputError(str(path), f"ending {path.suffix!r}", expected, "save it in one of these formats")
    if not path.is_file():
        raise _missing(path)
    return READERS[path.suffix.lower()](path, ids)


def _missing(path: Path) -> InputError:
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    if folder != path.parent:
        return InputError(str(path), "no such folder", f"a table; {folder} exists", "check data.root")
    beside = [other.name for other in folder.iterdir()]
    return InputError(str(path), "no such file", "a table", hint(path.name, beside, "check its name and data.root"))


def _rows(path: Path, separator: str) -> Iterator[list[str]]:
    """The header, then every row; rows of another length are refused, since they would shift or lose cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            yield (header := next(reader, []))
            for row in reader:
                if row and len(row) != len(header):
                    got = f"{len(row)} cells in line {reader.line_num}, {len(header)} in the header"
                    raise InputError(str(path), got, "as many cells in every row", "correct that line")
                if row:
                    yield row
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"no UTF-8: {error.reason}", "text in UTF-8", "save it as CSV UTF-8") from error
    except csv.Error as error:
        raise InputError(str(path), str(error), "text with closed quotes", "correct the table") from error


def _read_text(path: Path, separator: str, ids: str | None) -> pd.DataFrame:
    """A csv or tsv; see `read_table`."""
    rows = _rows(path, separator)
    header = next(rows)
    places = set(range(len(header)))
    text = {place for place in places if ids is None or place == 0 or header[place].strip() == ids}
    columns = _columns(rows, text, places - text)
    if not any(len(column) for column in columns.values()):
        raise InputError(str(path), "no row below the header", "one row a subject", "check how it was written")
    if len(header) == 1:
        todo = "a .csv is separated by commas and a .tsv by tabs: rename or save it accordingly"
        raise InputError(str(path), f"one column only, {header[0][:40]!r}", "an id and other columns", todo)
    if mixed := places - set(columns):
        columns |= _columns(islice(_rows(path, separator), 1, None), mixed, set())
    frame = pd.DataFrame({place: columns[place] for place in sorted(columns)})
    return frame.set_axis(pd.Index(header, dtype=str), axis=1)


def _columns(rows: Iterator[list[str]], text: set[int], numeric: set[int]) -> dict[int, pd.Series]:
    """Columns by place: `text` as text; of `numeric`, those in which every cell is a number or empty, as float64."""
    cells: dict[int, list[str]] = {place: [] for place in text}
    numbers: dict[int, list[Floats]] = {place: [] for place in numeric}
    width = max(1, len(text) + len(numeric))
    for block in batched(rows, max(1, CELLS // width)):
        columns = list(zip(*block, strict=True))
        for place, column in cells.items():
            column.extend(columns[place])
        for place in list(numbers):
            converted = numbers_or_none(pd.Series(columns[place], dtype=object))
            if converted is None:
                del numbers[place]
            else:
                numbers[place].append(converted.to_numpy())
    found = {place: pd.Series(column, dtype=str) for place, column in cells.items()}
    return found | {place: pd.Series(np.concatenate([[], *parts])) for place, parts in numbers.items()}


def _read_parquet(path: Path, _: str | None) -> pd.DataFrame:
    arrow = require_pyarrow(str(path))
    try:
        frame = pd.read_parquet(path)
    except (arrow.ArrowException, OSError) as error:
        raise InputError(str(path), str(error).split("\n")[0], "a parquet file", "write it again") from error
    if not isinstance(frame.index, pd.RangeIndex):
        name = frame.index.name
        frame = frame.reset_index(names="" if name is None else str(name))
    return frame


READERS: dict[str, Callable[[Path, str | None], pd.DataFrame]] = {
    ".csv": lambda path, ids: _read_text(path, ",", ids),
    ".tsv": lambda path, ids: _read_text(path, "\t", ids),
    ".parquet": _read_parquet,
}
"""Ending of a file -> its reader, a function of path and name of the id column."""


def read_cohort(config: Config | str | Path, *, everyone: Literal["target"] | None = None) -> Cohort:
    """The cohort that a configuration describes.

    Args:
        config: A configuration, or the path of one.
        everyone: `target` reads new people for scoring, see `Cohort.from_frames`.

    Raises:
        InputError: On invalid values in the configuration or its tables.

    Examples:
        >>> cohort = read_cohort("configs/abide.yaml")  # doctest: +SKIP
        >>> model = MMVAE.for_cohort(cohort)  # doctest: +SKIP
    """
    config = config if isinstance(config, Config) else read_config(config)
    return cohort_of(config, *read_frames(config.data), everyone=everyone)


def read_frames(data: DataConfig) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Modality -> its tables joined by id, and the participants.

    Raises:
        InputError: As `read_table`; and when a table has no id column, empty or duplicated ids.
    """
    root = Path(data.root)
    tables = {}
    for name, modality in data.modalities.items():
        parts = [_modality_table(root / table, modality.id or data.id) for table in modality.tables]
        tables[name] = pd.concat(parts, axis=1, sort=True).rename_axis(index=data.id)
    return tables, read_table(root / data.participants)


def _modality_table(path: Path, key: str) -> pd.DataFrame:
    """One table by id: the column `key`, or the first column if its name is one of FreeSurfer's."""
    table = read_table(path, ids=key)
    columns = [str(name).strip() for name in table.columns]
    if key not in columns and not CORNER.fullmatch(columns[0]):
        expected = f"it among {named(columns, 5)}, or a first column of FreeSurfer, such as Measure:volume"
        todo = hint(key, columns, "use the same name for the id column in all tables")
        raise InputError(str(path), f"id column {key!r} is absent", expected, todo)
    if key not in columns:
        table = table.set_axis([key, *columns[1:]], axis=1)
    return by_id(table, key, str(path))


def cohort_of(
    config: Config,
    tables: dict[str, pd.DataFrame],
    participants: pd.DataFrame,
    *,
    everyone: Literal["target"] | None = None,
) -> Cohort:
    """The cohort of tables that have been read, by the rules of a configuration.

    Raises:
        InputError: As `Cohort.from_frames`.
    """
    data, split = config.data, config.data.split
    rules: dict[str, Any] = {
        rule: {name: getattr(modality, rule) for name, modality in data.modalities.items()}
        for rule in ("include", "exclude", "totals", "zeros")
    }
    return Cohort.from_frames(
        tables,
        participants,
        id=data.id,
        covariates={name: (covariate.column, covariate.kind) for name, covariate in data.covariates.items()},
        reference=None if data.reference == "everyone" else (data.reference.column, data.reference.values),
        groups=(data.groups.column, data.groups.order) if data.groups else None,
        scores=data.scores,
        adjust=data.adjust,
        split=split.column or (split.calibrate, split.test),
        stratify=split.stratify,
        everyone=everyone,
        exclude_subjects=data.exclude_subjects,
        missing_covariates=data.missing_covariates,
        seed=config.seed,
        **rules,
    )


def input_files(config: Config) -> list[Path]:
    """The files of a configuration in order, for the provenance: participants, then every table.

    Examples:
        >>> from pyro_mmnorm.config import parse_config
        >>> text = "data: {participants: p.csv, id: id, modalities: {t: {tables: [t.csv]}}, reference: everyone}"
        >>> [path.name for path in input_files(parse_config(text))]
        ['p.csv', 't.csv']
    """
    data = config.data
    tables = [table for modality in data.modalities.values() for table in modality.tables]
    return [Path(data.root) / name for name in dict.fromkeys([data.participants, *tables])]
