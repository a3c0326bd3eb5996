"""Participants: inclusion and exclusion of subjects, and their covariates, groups and scores."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, get_args

import pandas as pd

from pyro_mmnorm.core.errors import InputError, check_known, hint
from pyro_mmnorm.data.frames import as_numbers, as_text, by_id, column_of, counted, named, numbers_or_none, text_of

__all__ = [
    "Kind",
    "check_label_leakage",
    "covariate_columns",
    "excluded",
    "filled_labels",
    "group_labels",
    "joined",
    "plain_column",
    "reference_subjects",
    "score_columns",
]

type Kind = Literal["spline", "linear", "category", "one_hot"]
"""How a covariate enters the model: by a spline, linearly, by one column per category or per whole number."""

WHERE = "participants"


def joined(
    values: Mapping[str, pd.DataFrame], participants: pd.DataFrame, key: str | None, notes: list[str]
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Tables and participants by id, sorted, for subjects who are in both.

    Args:
        values: modality -> table, with ids as the column `key` or as the index.
        participants: One row per subject, with ids in the same way.
        key: Name of the id; None if it is the index of every frame.
        notes: Sentences on excluded subjects are appended.

    Returns:
        The tables and the participants, with the same index; NaN for a subject without a row in a table.

    Raises:
        InputError: On ids that are absent, empty, duplicated, or without any participant.

    Examples:
        >>> table = pd.DataFrame({"id": ["b", "a"], "insula": [2.7, 2.9]})
        >>> tables, people = joined({"thickness": table}, pd.DataFrame({"id": ["a", "b"], "age": [70, 71]}), "id", [])
        >>> tables["thickness"]["insula"].to_dict()
        {'a': 2.9, 'b': 2.7}
    """
    people = by_id(participants, key, WHERE)
    tables = {m: by_id(frame, key, f"modality {m!r}") for m, frame in values.items()}
    measured: set[str] = set()
    for m, table in tables.items():
        if table.index.intersection(people.index).empty:
            got = f"no id in common with the participants: {named(table.index)} here, {named(people.index)} there"
            raise InputError(f"modality {m!r}", got, "identical ids", "use the same spelling in both tables")
        strangers = table.index.difference(people.index)
        if len(strangers):
            notes.append(
                f"modality {m!r}: {counted(len(strangers), 'row')} without a participant excluded: {named(strangers)}"
            )
        measured.update(table.index)
    absent = people.index[~people.index.isin(measured)]
    if len(absent):
        notes.append(f"{counted(len(absent), 'participant')} without a row in any modality excluded: {named(absent)}")
    ids = people.index.drop(absent).sort_values()
    return {m: table.reindex(ids) for m, table in tables.items()}, people.loc[ids]


def reference_subjects(
    people: pd.DataFrame, reference: tuple[str, Sequence[Hashable]] | None, *, needed: bool
) -> pd.Series:
    """True for reference (healthy) subjects, [n].

    Args:
        people: Participants by id.
        reference: Column, and its values in healthy subjects, compared as text; None: all subjects are healthy.
        needed: Whether it is an error that nobody is healthy.

    Raises:
        InputError: When the column is absent, or (`needed`) nobody has one of the values.

    Examples:
        >>> people = pd.DataFrame({"dx": ["CN", "AD"]}, index=["a", "b"])
        >>> reference_subjects(people, ("dx", ["CN"]), needed=True).tolist()
        [True, False]
    """
    if reference is None:
        return pd.Series(True, index=people.index)
    column, values = reference
    labels = as_text(column_of(people, column, WHERE))
    healthy = labels.isin([text_of(value) for value in values])
    if needed and not healthy.any():
        known = [label for label in sorted(labels.unique()) if label]
        got, expected = f"no subject with {named(values)}", f"some of its values: {named(known, 10)}"
        raise InputError(f"reference column {column!r}", got, expected, "name the healthy value")
    return healthy


def excluded(
    people: pd.DataFrame, healthy: pd.Series, rules: Mapping[str, Sequence[Hashable]], notes: list[str]
) -> pd.Series:
    """True for subjects with one of the values to exclude, such as a quality flag, [n]; '' means an empty cell.

    Raises:
        InputError: When a column is absent.

    Examples:
        >>> people = pd.DataFrame({"flag": [True, False]}, index=["a", "b"])
        >>> excluded(people, pd.Series([True, True], index=["a", "b"]), {"flag": [True]}, []).tolist()
        [True, False]
    """
    out = pd.Series(False, index=people.index)
    for column, values in rules.items():
        hit = as_text(column_of(people, column, WHERE)).isin([text_of(value) for value in values])
        well, ill = int((hit & healthy).sum()), int((hit & ~healthy).sum())
        notes.append(f"{well} reference and {ill} other subjects excluded by {column}")
        out |= hit
    return out


def covariate_columns(
    people: pd.DataFrame,
    covariates: Mapping[str, tuple[str, Kind]],
    *,
    missing: Literal["error", "set_aside"],
    notes: list[str],
) -> pd.DataFrame:
    """One column per covariate, float64 or text, for the subjects who have all of them.

    Args:
        people: Participants by id.
        covariates: covariate -> column and kind.
        missing: `error`, or `set_aside` to exclude subjects with an empty cell.
        notes: Sentences on excluded subjects are appended.

    Raises:
        InputError: On an absent column, an unknown kind, a cell that is not a finite number, or (`error`) empty cells.

    Examples:
        >>> people = pd.DataFrame({"age_at_scan": ["70", "71"], "sex": [1.0, 2.0]}, index=["a", "b"])
        >>> terms = {"age": ("age_at_scan", "spline"), "sex": ("sex", "category")}
        >>> covariate_columns(people, terms, missing="error", notes=[]).to_dict("list")
        {'age': [70.0, 71.0], 'sex': ['1', '2']}
    """
    check_known("missing_covariates", missing, ("error", "set_aside"))
    kinds = get_args(Kind.__value__)
    columns: dict[str, pd.Series] = {}
    for name, (source, kind) in covariates.items():
        check_known(f"covariate {name!r}", kind, kinds)
        column = column_of(people, source, WHERE)
        text = as_text(column)
        columns[name] = text.mask(text == "") if kind == "category" else as_numbers(column, WHERE)
    frame = pd.DataFrame(columns, index=people.index)
    for name in covariates:
        empty = people.index[frame[name].isna()]
        if missing == "error":
            _check_filled(f"covariate {name!r}", empty, "fill these cells, or write missing_covariates: set_aside")
        elif len(empty):
            notes.append(f"{counted(len(empty), 'subject')} without {name} excluded: {named(empty)}")
    frame = frame.dropna()
    if not len(frame):
        todo = "check exclude_subjects and missing_covariates"
        raise InputError(WHERE, "no subject left", "subjects with all covariates", todo)
    return frame


def filled_labels(people: pd.DataFrame, column: str) -> pd.Series:
    """A column of labels as text, [n].

    Raises:
        InputError: When it is absent, or has empty cells: without a diagnosis nobody is healthy or a patient.

    Examples:
        >>> filled_labels(pd.DataFrame({"stage": [1.0, 2.0]}), "stage").tolist()
        ['1', '2']
    """
    label = as_text(column_of(people, column, WHERE))
    todo = f"fill these cells, or exclude the subjects with exclude_subjects: {{{column}: ['']}}"
    _check_filled(f"column {column!r}", label.index[label == ""], todo)
    return label


def _check_filled(where: str, empty: pd.Index, todo: str) -> None:
    """Refuse subjects with an empty cell."""
    if len(empty):
        got = f"no value for {counted(len(empty), 'subject')}: {named(empty, 5)}"
        raise InputError(where, got, "a value for every subject", todo)


def group_labels(
    people: pd.DataFrame, healthy: pd.Series, groups: tuple[str, Sequence[Hashable]] | None
) -> tuple[pd.Series, tuple[str, ...]]:
    """Group of every subject, [n], and the non-empty groups in order.

    Without `groups` they are `reference` and `target`. Without an order, groups of healthy subjects come first, and
    otherwise the order is alphabetical.

    Raises:
        InputError: On empty cells, or a group that is missing from the order.

    Examples:
        >>> people = pd.DataFrame({"dx": ["CN", "AD"]}, index=["a", "b"])
        >>> healthy = pd.Series([True, False], index=["a", "b"])
        >>> group_labels(people, healthy, ("dx", []))[1]
        ('CN', 'AD')
    """
    if groups is None:
        label = healthy.map({True: "reference", False: "target"}).astype(str)
        order = ["reference", "target"]
    else:
        column, given = groups
        label = filled_labels(people, column)
        found = sorted(label.unique(), key=lambda group: (not healthy[label == group].all(), group))
        order = [text_of(group) for group in given] or found
        beyond = [group for group in found if group not in order]
        if beyond:
            got = f"group {named(beyond)}, such as for {label.index[label == beyond[0]][0]!r}"
            todo = hint(beyond[0], order, "add it to the order")
            raise InputError(f"groups column {column!r}", got, f"one of {named(order, 10)}", todo)
    return label.rename("group"), tuple(group for group in order if (label == group).any())


def check_label_leakage(
    design: pd.DataFrame, sources: Mapping[str, str], label_columns: Sequence[str], labels: Sequence[pd.Series]
) -> None:
    """Refuse a covariate that is the diagnosis, under whatever name.

    Args:
        design: Covariates, [n, c].
        sources: covariate -> its column of the participants.
        label_columns: The columns of the reference and of the groups.
        labels: Labels, [n] each: no covariate may divide the subjects exactly as one of them.

    Raises:
        InputError: When a covariate is one of these columns, or one to one with one of these labels.

    Examples:
        >>> design = pd.DataFrame({"sex": ["F", "M", "F"]})
        >>> check_label_leakage(design, {"sex": "gender"}, ["dx"], [pd.Series([True, True, False])])
    """
    for name, source in sources.items():
        if source in label_columns:
            got = f"column {source!r}, which defines the reference or the groups"
        elif any(_same_partition(design[name], label) for label in labels):
            got = "values that are one to one with the reference or the groups"
        else:
            continue
        todo = "remove it: deviations given the diagnosis do not show its effect"
        raise InputError(f"covariate {name!r}", got, "a covariate that is not the diagnosis", todo)


def _same_partition(one: pd.Series, other: pd.Series) -> bool:
    pairs = pd.DataFrame({"one": one, "other": other}).drop_duplicates()
    return len(pairs) == one.nunique() == other.nunique()


def plain_column(people: pd.DataFrame, column: str) -> pd.Series:
    """A column as numbers if all its cells are numbers, else as text; NaN where empty.

    Examples:
        >>> plain_column(pd.DataFrame({"rating": ["OK", "", "fail"]}), "rating").isna().tolist()
        [False, True, False]
    """
    text = as_text(column_of(people, column, WHERE))
    numbers = numbers_or_none(text)
    return text.mask(text == "") if numbers is None else numbers


def score_columns(people: pd.DataFrame, directions: Mapping[str, str]) -> pd.DataFrame:
    """Clinical or cognitive scores as numbers, NaN where not measured, [n, s].

    Raises:
        InputError: On an absent column, an unknown direction, or a cell that is not a number.

    Examples:
        >>> score_columns(pd.DataFrame({"MMSE": ["29", ""]}), {"MMSE": "higher_is_better"})["MMSE"].tolist()
        [29.0, nan]
    """
    known = ("higher_is_worse", "higher_is_better")
    for name, direction in directions.items():
        check_known(f"score {name!r}", direction, known)
    return pd.DataFrame(
        {name: as_numbers(column_of(people, name, WHERE), WHERE) for name in directions}, index=people.index
    )
