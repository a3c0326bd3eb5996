"""Usual meanings of column names and labels: guesses for a person to check."""

import re
from collections.abc import Iterable
from typing import Literal

__all__ = [
    "Meaning",
    "is_healthy",
    "plain_word",
    "reads_like",
    "same_but_for_spelling",
    "score_direction",
    "stage_of",
]

Meaning = Literal["id", "age", "sex", "site", "diagnosis"]
"""Meaning of a column in a table of people."""

IDS = re.compile(
    r"(participant|subject|sub|subj|scan|mri|fs|file|patient|person|image|record)?[_\- ]?(id|key|name|label)"
    r"|sub(j|ject)?s?|eid|rid|ptid"
)
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
WHEN = {"at", "scan", "scanning", "mri", "visit", "interview", "baseline", "bl", "of", "the", "in", "years", "year"}
OF_WHOM = {"subject", "participant", "patient"}
MEANT: dict[str, tuple[set[str], set[str]]] = {
    "age": ({"age"}, WHEN | OF_WHOM | {"yrs", "yr", "y", "exact"}),
    "sex": ({"sex", "gender", "ptgender"}, OF_WHOM | {"at", "birth", "biological", "self", "reported"}),
    "site": ({"site", "sites", "scanner", "center", "centre"}, WHEN | {"id", "name", "code", "number", "no"}),
    "diagnosis": (
        {"dx", "diagnosis", "diagnostic", "diag", "group", "status", "case"},
        OF_WHOM | WHEN | {"clinical", "research", "study", "label", "name", "code", "control", "current", "consensus"},
    ),
}
"""Meaning -> words of which a name has at least one, and words that it may also contain, but no others."""

HEALTHY = re.compile(
    r"cn|nc|hc|cu|td|tdc|con|ctr?l|controls?|healthy(controls?|volunteers?|subjects?)?|normals?|cognitivelynormal"
    r"|normalcontrols?|neurotypical|typical(lydeveloping)?"
)
STAGES = ("smc", "scd", "emci", "mci", "lmci", "ad", "dementia")
SCORES = {
    "mmse": "higher_is_better",
    "moca": "higher_is_better",
    "adas": "higher_is_worse",
    "cdr": "higher_is_worse",
    "faq": "higher_is_worse",
}


def reads_like(meaning: Meaning, name: str) -> bool:
    """Whether a column of this name probably has that meaning.

    Examples:
        >>> [name for name in ("AGE_AT_SCAN", "Age (years)", "language", "age_group") if reads_like("age", name)]
        ['AGE_AT_SCAN', 'Age (years)']
    """
    if meaning == "id":
        return IDS.fullmatch(name.lower()) is not None
    words = {word.lower() for word in WORDS.findall(name)}
    core, optional = MEANT[meaning]
    return bool(words & core) and words <= core | optional


def is_healthy(label: str) -> bool:
    """Whether a diagnosis is a common word for healthy.

    Examples:
        >>> [label for label in ("CN", "Healthy Control", "AD", "1", "TD") if is_healthy(label)]
        ['CN', 'Healthy Control', 'TD']
    """
    return HEALTHY.fullmatch(plain_word(label)) is not None


def stage_of(label: str) -> tuple[int, str]:
    """Sort key of a diagnosis by the known stages of dementia; unknown ones come first."""
    plain = plain_word(label)
    return (STAGES.index(plain) if plain in STAGES else -1, plain)


def score_direction(name: str) -> str | None:
    """Direction of a cognitive score with a known name, else None.

    Examples:
        >>> score_direction("ADAS13"), score_direction("shoe size")
        ('higher_is_worse', None)
    """
    return next((way for start, way in SCORES.items() if name.lower().startswith(start)), None)


def same_but_for_spelling(labels: Iterable[str]) -> list[list[str]]:
    """Labels that differ only in case, spaces or punctuation.

    Examples:
        >>> same_but_for_spelling(["AD", "ad", "CN", "MCI", "m.c.i."])
        [['AD', 'ad'], ['MCI', 'm.c.i.']]
    """
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(plain_word(label) or label, []).append(label)
    return [spellings for spellings in alike.values() if len(spellings) > 1]


def plain_word(label: str) -> str:
    """A label in lower case, without spaces and punctuation.

    Examples:
        >>> plain_word("m.c.i. (late)")
        'mcilate'
    """
    return re.sub(r"[\W_]", "", label.lower())
