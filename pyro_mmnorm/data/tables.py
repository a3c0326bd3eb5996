"""Tables on disk: csv, tsv and parquet in, and the cohort that a configuration describes."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from pyro_mmnorm.config import Config, DataConfig, read_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.frames import by_id, hint, named

__all__ = ["cohort_of", "input_files", "read_cohort", "read_frames", "read_table"]

CORNER = re.compile(r"|Subject|[Mm]easure:\w+|[lr]h\.[\w.-]+|volume|area|thickness|mean")
"""What FreeSurfer's table commands write above the ids: `Measure:volume`, `lh.aparc.area`, or nothing at all."""


def read_table(path: str | Path) -> pd.DataFrame:
    r"""A table as it stands, one row a subject.

    Cells of csv and tsv stay text, so that `007` and `1.50` keep their spelling; `Cohort.from_frames` makes the
    numbers, since it can name the subject and the region of a cell that is none.

    Args:
        path: A file that ends in .csv, .tsv or .parquet.

    Returns:
        The table with its columns in order; a column name may stand twice.

    Raises:
        InputError: When the file is missing, of another kind, empty, ragged, or not to be read.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "people.csv"
        ...     _ = path.write_text("id,age\n007,70\n")
        ...     read_table(path).iloc[0].to_dict()
        {'id': '007', 'age': '70'}
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        expected = f"a table that ends in {', '.join(READERS)}"
        raise InputError(str(path), f"ending {path.suffix!r}", expected, "save it in one of these forms")
    if not path.is_file():
        raise _missing(path)
    return READERS[path.suffix.lower()](path)


def _missing(path: Path) -> InputError:
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    if folder != path.parent:
        return InputError(str(path), "no such folder", f"a table; {folder} exists", "check data.root")
    beside = [other.name for other in folder.iterdir()]
    return InputError(str(path), "no such file", "a table", hint(path.name, beside, "check its name and data.root"))


def _read_text(path: Path, separator: str) -> pd.DataFrame:
    """Rows of equal length: a cut or shifted row must not pass for missing cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            header = next(reader, [])
            rows = []
            for row in reader:
                if row and len(row) != len(header):
                    got = f"{len(row)} cells in line {reader.line_num}, {len(header)} in the header"
                    raise InputError(str(path), got, "as many cells in every row", "mend that line")
                if row:
                    rows.append(row)
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"no UTF-8: {error.reason}", "text in UTF-8", "save it as CSV UTF-8") from error
    except csv.Error as error:
        raise InputError(str(path), str(error), "text with closed quotes", "mend the table") from error
    if not rows:
        raise InputError(str(path), "no row below the header", "one row a subject", "check how it was written")
    if len(header) == 1:
        todo = "a .csv is separated by commas and a .tsv by tabs: rename or save it accordingly"
        raise InputError(str(path), f"one column only, {header[0][:40]!r}", "an id and other columns", todo)
    return pd.DataFrame(rows, columns=pd.Index(header, dtype=str), dtype=str)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(path), str(error).split("\n")[0], "a parquet file", "write it again") from error
    if not isinstance(frame.index, pd.RangeIndex):
        name = frame.index.name
        frame = frame.reset_index(names="" if name is None else str(name))
    return frame


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: _read_text(path, ","),
    ".tsv": lambda path: _read_text(path, "\t"),
    ".parquet": _read_parquet,
}
"""Ending of a file -> how to read it."""


def read_cohort(config: Config | str | Path, *, everyone: Literal["target"] | None = None) -> Cohort:
    """The cohort that a configuration describes.

    Args:
        config: A configuration, or the path of one.
        everyone: `target` reads new people for scoring, see `Cohort.from_frames`.

    Raises:
        InputError: On anything in the configuration or its tables that cannot be used.

    Examples:
        >>> cohort = read_cohort("configs/abide.yaml")  # doctest: +SKIP
        >>> model = MMVAE.for_cohort(cohort)  # doctest: +SKIP
    """
    config = config if isinstance(config, Config) else read_config(config)
    return cohort_of(config, *read_frames(config.data), everyone=everyone)


def read_frames(data: DataConfig) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Modality -> its tables side by side, and the participants, as they stand on disk.

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
    """One table by id: in the column `key`, or in the first column below a corner cell of FreeSurfer's."""
    table = read_table(path)
    columns = [str(name).strip() for name in table.columns]
    if key not in columns and not CORNER.fullmatch(columns[0]):
        expected = f"it among {named(columns, 5)}, or FreeSurfer's corner cell first, such as Measure:volume"
        todo = hint(key, columns, "name the id column alike in all tables")
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
    """The cohort of tables that are read already, by the rules of a configuration.

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
    """The participants and every table, in the order of the configuration: what provenance is told by.

    Examples:
        >>> from pyro_mmnorm.config import parse_config
        >>> text = "data: {participants: p.csv, id: id, modalities: {t: {tables: [t.csv]}}, reference: everyone}"
        >>> [path.name for path in input_files(parse_config(text))]
        ['p.csv', 't.csv']
    """
    data = config.data
    tables = [table for modality in data.modalities.values() for table in modality.tables]
    return [Path(data.root) / name for name in dict.fromkeys([data.participants, *tables])]
