"""Faults: what is wrong with a configuration, in our words."""

import difflib
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pyro_mmnorm.errors import InputError

__all__ = ["told"]


def _known_keys(record: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys of the record at `path`, in which free names, such as that of a modality, are passed over."""
    for part in path:
        field = record.model_fields.get(str(part))
        record = (_record_of(field.annotation) if field else None) or record
    return list(record.model_fields)


def _record_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_record_of(part) for part in getattr(annotation, "__args__", ()))
    return next((record for record in found if record), None)


_BRANCH = re.compile(r"[A-Z]\w+Config|str|int|float|bool|literal\[.*|(dict|list)\[.*")
"""What pydantic adds to a path to tell the parts of a union apart."""


def _key(fault: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in fault["loc"] if not _BRANCH.fullmatch(str(part)))


def _expected(fault: Mapping[str, Any]) -> str:
    text = re.sub(r"^(Input|List|Dictionary|Keys) should (be|have) | after validation, not \d+$", "", fault["msg"])
    return re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", text)


def told(error: ValidationError, where: str, record: type[BaseModel]) -> InputError:
    """The most telling fault of a pydantic report, in our words: a misspelt key before the one it leaves missing.

    Args:
        error: The report.
        where: Name of the source.
        record: That did not take it.

    Examples:
        >>> class Size(BaseModel, extra="forbid"):
        ...     width: int = 1
        >>> try:
        ...     Size.model_validate({"widht": 2})
        ... except ValidationError as error:
        ...     print(told(error, "size.yaml", Size))
        size.yaml: widht: unknown key; expected one of width. Did you mean 'width'?
    """
    faults = error.errors()
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    key = _key(fault)
    if fault["type"] == "extra_forbidden":
        *parents, last = fault["loc"]
        known = _known_keys(record, parents)
        close = difflib.get_close_matches(str(last), known, n=1)
        hint = f"did you mean {close[0]!r}" if close else "remove it"
        return InputError(f"{where}: {key}", "unknown key", f"one of {', '.join(known)}", hint)
    if fault["type"] == "missing":
        return InputError(f"{where}: {key}", "nothing there", "a value: this key is compulsory", "add it")
    if fault["type"] == "value_error":  # of a validator above, which writes `got; expected`
        got, _, expected = fault["msg"].removeprefix("Value error, ").partition("; ")
        return InputError(f"{where}: {key}", got, expected, "mend this value")
    expected = " or ".join(dict.fromkeys(_expected(other) for other in faults if _key(other) == key))
    return InputError(f"{where}: {key}", reprlib.repr(fault["input"]), expected, "mend this value")
