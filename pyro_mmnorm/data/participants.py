"""Admission: who is let in, and what is known of them, from a table of participants."""

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
"""How a covariate enters the model: numbers by a spline, a line or one column a whole unit, text as categories."""

WHERE = "participants"


def joined(
    values: Mapping[str, pd.DataFrame], participants: pd.DataFrame, key: str | None, notes: list[str]
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Tables and participants by id, sorted, for everybody who is in both.

    Args:
        values: modality -> table, with ids as the column `key` or as the index.
        participants: One row a subject, likewise.
        key: Name of the id; None when the index of every frame holds it.
        notes: Gains a sentence for whoever was set aside.

    Returns:
        The tables and the participants, with the same index; a subject without a row in a table has NaN there.

    Raises:
        InputError: On ids that are absent, empty, duplicated, or shared by no participant.

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
            raise InputError(
                f"modality {m!r}", got, "the same ids, letter by letter", "spell them alike in both tables"
            )
        strangers = table.index.difference(people.index)
        if len(strangers):
            notes.append(
                f"modality {m!r}: {counted(len(strangers), 'row')} without a participant set aside: {named(strangers)}"
            )
        measured.update(table.index)
    absent = people.index[~people.index.isin(measured)]
    if len(absent):
        notes.append(f"{counted(len(absent), 'participant')} without a row in any modality set aside: {named(absent)}")
    ids = people.index.drop(absent).sort_values()
    return {m: table.reindex(ids) for m, table in tables.items()}, people.loc[ids]


def reference_subjects(
    people: pd.DataFrame, reference: tuple[str, Sequence[Hashable]] | None, *, needed: bool
) -> pd.Series:
    """True for the healthy, [n].

    Args:
        people: Participants by id.
        reference: Column and the values that mean healthy, compared as text; None: everybody is.
        needed: Whether nobody healthy is an error.

    Raises:
        InputError: When the column is absent, or when nobody has one of the values.

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
        found = [label for label in sorted(labels.unique()) if label]
        got = f"no subject with {named(values)}"
        raise InputError(
            f"reference column {column!r}", got, f"some of its values: {named(found, 10)}", "name the healthy value"
        )
    return healthy


def excluded(
    people: pd.DataFrame, healthy: pd.Series, rules: Mapping[str, Sequence[Hashable]], notes: list[str]
) -> pd.Series:
    """True for subjects with one of the excluding values, such as a quality flag, [n]; '' stands for an empty cell.

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
        notes.append(f"{well} reference and {ill} other subjects set aside by {column}")
        out |= hit
    return out


def covariate_columns(
    people: pd.DataFrame,
    covariates: Mapping[str, tuple[str, Kind]],
    *,
    missing: Literal["error", "set_aside"],
    notes: list[str],
) -> pd.DataFrame:
    """One column a covariate, float64 or text, for the subjects who have them all.

    Args:
        people: Participants by id.
        covariates: covariate -> column and kind.
        missing: `error`, or `set_aside` whoever has an empty cell.
        notes: Gains a sentence for whoever was set aside.

    Raises:
        InputError: On an absent column, an unknown kind, a cell that is no finite number, or (`error`) empty cells.

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
        if len(empty) and missing == "error":
            got = f"no value for {counted(len(empty), 'subject')}: {named(empty, 5)}"
            todo = "fill these cells, or write missing_covariates: set_aside"
            raise InputError(f"covariate {name!r}", got, "a value for every subject", todo)
        if len(empty):
            notes.append(f"{counted(len(empty), 'subject')} without {name} set aside: {named(empty)}")
    frame = frame.dropna()
    if not len(frame):
        todo = "see what exclude_subjects and missing_covariates set aside"
        raise InputError(WHERE, "nobody left", "subjects with all covariates", todo)
    return frame


def filled_labels(people: pd.DataFrame, column: str) -> pd.Series:
    """A column of labels as text, [n].

    Raises:
        InputError: When it is absent or has empty cells: whoever has no diagnosis is neither healthy nor a patient.

    Examples:
        >>> filled_labels(pd.DataFrame({"stage": [1.0, 2.0]}), "stage").tolist()
        ['1', '2']
    """
    label = as_text(column_of(people, column, WHERE))
    empty = label.index[label == ""]
    if len(empty):
        got = f"no value for {counted(len(empty), 'subject')}: {named(empty, 5)}"
        todo = f"fill these cells, or set the subjects aside with exclude_subjects: {{{column}: ['']}}"
        raise InputError(f"column {column!r}", got, "a value for every subject", todo)
    return label


def group_labels(
    people: pd.DataFrame, healthy: pd.Series, groups: tuple[str, Sequence[Hashable]] | None
) -> tuple[pd.Series, tuple[str, ...]]:
    """Group of every subject, [n], and the groups that have members, in order.

    Without `groups` they are `reference` and `target`. Without an order, groups of healthy subjects come first and
    the alphabet decides the rest.

    Raises:
        InputError: On empty cells, or on a group that the order lacks.

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
    design: pd.DataFrame, sources: Mapping[str, str], told_by: Sequence[str], truths: Sequence[pd.Series]
) -> None:
    """Refuse a covariate that is the diagnosis under its own or another name.

    Args:
        design: Covariates, [n, c].
        sources: covariate -> the participants' column it came from.
        told_by: The columns that tell who is healthy and who is in which group.
        truths: The labels themselves, [n] each: no covariate may divide the subjects exactly as one of them does.

    Raises:
        InputError: When a covariate is one of these columns, or one to one with these labels.

    Examples:
        >>> design = pd.DataFrame({"sex": ["F", "M", "F"]})
        >>> check_label_leakage(design, {"sex": "gender"}, ["dx"], [pd.Series([True, True, False])])
    """
    for name, source in sources.items():
        if source in told_by:
            got = f"column {source!r}, which tells who is healthy or in which group"
        elif any(_same_partition(design[name], truth) for truth in truths):
            got = "values that tell the reference subjects from the others, one to one"
        else:
            continue
        todo = "leave it out: a norm that knows the diagnosis hides what the diagnosis does"
        raise InputError(f"covariate {name!r}", got, "a covariate that is not the diagnosis", todo)


def _same_partition(one: pd.Series, other: pd.Series) -> bool:
    pairs = pd.DataFrame({"one": one, "other": other}).drop_duplicates()
    return len(pairs) == one.nunique() == other.nunique()


def plain_column(people: pd.DataFrame, column: str) -> pd.Series:
    """A column as numbers when all its cells are, else as text; NaN where empty.

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
        InputError: On an absent column, an unknown direction, or a cell that is no number.

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
