"""The fields in which two JSON values differ."""

import json
from collections.abc import Iterator
from typing import Any

MAX_SHOWN_CHARS = 200


def differences(expected: Any, found: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted path of each field that differs, with both values; None stands for a field that is not there."""
    match expected, found:
        case dict(), dict():
            for key in dict.fromkeys([*expected, *found]):
                inner = f"{path}.{key}" if path else key
                yield from differences(expected.get(key), found.get(key), inner)
        case list(), list() if len(expected) == len(found):
            for number, (one, other) in enumerate(zip(expected, found, strict=True)):
                inner = f"{path}.{number}" if path else str(number)
                yield from differences(one, other, inner)
        case _ if expected != found:
            yield path, expected, found
        case _:
            return


def shown(value: Any) -> str:
    """A value as JSON, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
