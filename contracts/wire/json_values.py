"""Free-form JSON on the wire: integers that JavaScript cannot hold are sent as strings."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from contracts.ids import Seq

MAX_SAFE_INTEGER = 2**53 - 1
"""ECMA-262, Number.MAX_SAFE_INTEGER: beyond it a JavaScript client reads another number."""


def is_safe(value: Any) -> bool:
    """Whether every integer in a JSON value can be read by JavaScript."""
    match value:
        case bool():
            return True
        case int():
            return -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
        case Mapping():
            return all(map(is_safe, value.values()))
        case list() | tuple():
            return all(map(is_safe, value))
        case _:
            return True


def with_safe_integers(value: Any) -> Any:
    """The same value, each unsafe integer as a string of its digits."""
    return value if is_safe(value) else _safe(value)


def _safe(value: Any) -> Any:
    match value:
        case Mapping():
            return {key: _safe(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_safe(inner) for inner in value]
        case _:
            return value if is_safe(value) else str(value)


JsonObject = Annotated[
    dict[str, Any],
    BeforeValidator(with_safe_integers),
    Field(
        description="A JSON object. Integers beyond ±(2^53 - 1) are strings.",
        examples=[{"colours": 2}],
    ),
]

_SHOWN = WithJsonSchema({"type": "integer", "maximum": MAX_SAFE_INTEGER}, mode="serialization")
"""Only the schema of what is written promises it: a limit for readers would be a breaking change of the
models of messages that had none."""

ShownInteger = Annotated[int, _SHOWN]
"""A count that HTTP answers have, too: none gets beyond what JavaScript reads."""
ShownSeq = Annotated[Seq, _SHOWN]
"""The same of the position of an event."""
