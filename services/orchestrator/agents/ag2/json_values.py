"""Turn whatever a tool, a hook or a provider hands over into JSON values that the log can keep."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic_core import from_json, to_json, to_jsonable_python

from contracts.json_preview import CUT

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=>)")
MAX_DEPTH = 100
"""Levels of nesting; pydantic's JSON parser reads 200, and an event adds some of its own."""


def jsonable(value: Any) -> Any:
    """The value as JSON values; what JSON cannot represent becomes text. Never raises.

    Text is valid UTF-8, NaN and infinities become null, and what is nested deeper than MAX_DEPTH, or
    contains itself, is left out with a mark.
    """
    try:
        plain = to_jsonable_python(value, fallback=text_of_object, inf_nan_mode="null")
        encoded = json.dumps(
            plain, ensure_ascii=False, allow_nan=False
        )  # pydantic's models keep NaN
        encoded.encode()
        if encoded.count("[") + encoded.count("{") <= MAX_DEPTH or _is_shallow(plain):
            return plain
    except Exception:  # noqa: BLE001, S110  whatever the value's own methods raise: see below
        pass
    return _converted(value, MAX_DEPTH, ())


def json_copy(value: Any) -> Any:
    """A deep copy of JSON values, several times as fast as `jsonable`; the same where they are not."""
    try:
        return from_json(to_json(value, inf_nan_mode="null"))
    except ValueError:
        return jsonable(value)


def utf8(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot encode.

    Two halves of one character that a provider sent separately are joined.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return joined.encode(errors="replace").decode()
    return text


def text_of_object(value: object) -> str:
    """`str(value)`; the name of its type where that fails, or says no more.

    Python's own texts of objects, functions and classes hold addresses and names of modules, which are
    of no use to a model and differ from run to run.
    """
    kind = type(value)
    if isinstance(value, type):
        return f"<class {value.__name__}>"
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return f"<{kind.__name__}>"
    try:
        return _ADDRESS.sub("", utf8(str(value)))
    except Exception:  # noqa: BLE001  it is the value's own method
        return f"<{type(value).__name__}>"


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """JSON values with every text in them changed, keys included."""
    match value:
        case str():
            return change(value)
        case list():
            return [map_texts(item, change) for item in value]
        case dict():
            return {change(key): map_texts(item, change) for key, item in value.items()}
        case _:
            return value


def _is_shallow(value: Any, depth: int = MAX_DEPTH) -> bool:
    match value:
        case dict():
            return depth > 0 and all(_is_shallow(item, depth - 1) for item in value.values())
        case list():
            return depth > 0 and all(_is_shallow(item, depth - 1) for item in value)
        case _:
            return True


def _converted(value: Any, depth: int, parents: tuple[int, ...]) -> Any:
    """As `jsonable`, one value after the other."""
    if id(value) in parents:
        return f"{CUT} contains itself"
    inside = (*parents, id(value))
    match value:
        case None | bool():
            return value
        case str():
            return utf8(str(value))
        case bytes() | bytearray() | memoryview():
            return _text_of_bytes(bytes(value))
        case Mapping() | list() | tuple() | set() | frozenset() if depth == 0:
            return f"{CUT} nested deeper than {MAX_DEPTH} levels"
        case Mapping():
            return {
                text_of_object(key): _converted(item, depth - 1, inside)
                for key, item in _items(value)
            }
        case list() | tuple() | set() | frozenset():
            return [_converted(item, depth - 1, inside) for item in _elements(value)]
        case _:
            return _converted_object(value, depth, inside)


def _converted_object(value: Any, depth: int, parents: tuple[int, ...]) -> Any:
    try:
        plain = to_jsonable_python(value, fallback=text_of_object, inf_nan_mode="null")
        json.dumps(plain, ensure_ascii=False).encode()
    except Exception:  # noqa: BLE001  a model or dataclass with such a value, or an odd object
        fields = getattr(value, "__dict__", None)
        if isinstance(fields, dict) and fields and depth > 0:
            return _converted(fields, depth, parents)
        return text_of_object(value)
    if isinstance(plain, dict | list):
        return _converted(plain, depth, parents)
    return plain


def _items(value: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    try:
        return list(value.items())
    except Exception:  # noqa: BLE001  it is the value's own method
        return []


def _elements(value: Iterable[Any]) -> Iterable[Any]:
    try:
        return list(value)
    except Exception:  # noqa: BLE001  it is the value's own method
        return []


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()
