"""Parse the JSON of clients, and say which field is wrong, what was found and what is accepted."""

import json
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from pydantic import TypeAdapter, ValidationError

from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.errors import ApiError, bad_request

MAX_DEPTH = 32
"""Levels of objects and lists in one another: more than any form has."""
MAX_SHOWN = 40
"""Characters of a rejected value, or of a name, that an error message repeats."""
MAX_PROBLEMS = 5
"""Problems that one error message names."""

_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def parse_object(name: str, data: str | bytes) -> dict[str, Any]:
    """The JSON object in a text; `name` is what an error calls the whole of it.

    Raises ApiError: no JSON object, too deep, or a number that not every JSON client can hold.
    """
    try:
        found = _OBJECT.validate_json(data)
    except ValidationError as error:
        raise validation_error(error, name) from error
    _check(name, found)
    return found


def _check(name: str, found: dict[str, Any]) -> None:
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _members(value)]
        if not all(map(_is_portable, level)):
            raise _number_error(found)
        if not level:
            return
    if any(isinstance(value, dict | list) for value in level):
        raise bad_request(name, f"is nested more than {MAX_DEPTH} levels deep")


def _members(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _is_portable(value: Any) -> bool:
    """Whether every JSON client reads back the same number."""
    if isinstance(value, int):
        return -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
    return not isinstance(value, float) or isfinite(value)


def _number_error(found: dict[str, Any]) -> ApiError:
    path, value = next((path, value) for path, value in _leaves(found) if not _is_portable(value))
    if isinstance(value, int):
        problem = (
            f"found an integer beyond {MAX_SAFE_INTEGER} (2**53 - 1), must be sent as a string"
        )
    else:
        problem = "found a number that is infinite or not a number, must be finite"
    return bad_request(_joined(path), problem)


def _leaves(found: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Everything inside with its path, level by level."""
    level: list[tuple[tuple[str | int, ...], Any]] = [((), found)]
    while level:
        level = [
            ((*path, key), inner)
            for path, value in level
            if isinstance(value, dict | list)
            for key, inner in (value.items() if isinstance(value, dict) else enumerate(value))
        ]
        yield from level


def validation_error(error: ValidationError, name: str) -> ApiError:
    """The first problems that pydantic found, by their fields; `name` is what the whole is called."""
    problems = [
        (_joined(found["loc"]) or name, _problem(found))
        for found in error.errors(include_url=False)[:MAX_PROBLEMS]
    ]
    (field, first), *others = problems
    return bad_request(field, "; ".join([first, *(f"{name}: {why}" for name, why in others)]))


def _joined(path: Iterable[str | int]) -> str:
    return ".".join(_shortened(str(step)) for step in path if step != "[key]")


def _problem(found: Mapping[str, Any]) -> str:
    match found["type"]:
        case "missing":
            return "is required"
        case "value_error":
            return str(found["ctx"]["error"])
        case "json_invalid":
            return f"is not valid JSON: {found['ctx']['error']}"
        case "dict_type" | "model_type" | "model_attributes_type":
            accepted = "must be an object"
        case _:
            accepted = _accepted(found["msg"])
    return ", ".join(part for part in (shown(found["input"]), accepted) if part)


def _accepted(message: str) -> str:
    """pydantic's `Input should be a valid string` as `must be a valid string`."""
    _, should, rest = message.partition(" should ")
    return f"must {rest}" if should else f"{message[:1].lower()}{message[1:]}"


def shown(value: Any) -> str:
    """A rejected value as an error message names it; empty for what is no JSON."""
    match value:
        case None | bool() | int() | float():
            return f"found {_shortened(json.dumps(value))}"
        case str() if len(value) <= MAX_SHOWN:
            return f"found {json.dumps(value, ensure_ascii=False)}"
        case str():
            return f"found {len(value)} characters"
        case dict():
            return "found an object"
        case list():
            return "found a list"
        case _:
            return ""


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
