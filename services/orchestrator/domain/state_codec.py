"""The state of a chat as JSON and back, for a closed list of classes: those that a state can consist of.

The list is read off the annotations of `ChatState`, so that a field of a new kind is part of it, and a
text never names code. Objects that a state has several times are written once.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from contracts.events import EVENT_TYPES
from services.orchestrator.domain.state import ChatState

_PLAIN = (str, int, float, bool, type(None))


class NoStateError(ValueError):
    """A value that no state consists of, or JSON that is no state."""


@cache
def _classes() -> Mapping[str, type]:
    """The classes that a state can consist of, by name."""
    found: dict[str, type] = {one.__name__: one for one in EVENT_TYPES.values()}
    _collect(ChatState, found)
    return found


def _collect(kind: Any, found: dict[str, type]) -> None:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType) or origin is not None:
        for one in get_args(kind):
            _collect(one, found)
    if not isinstance(kind, type) or not (is_dataclass(kind) or issubclass(kind, BaseModel)):
        return
    if found.setdefault(kind.__name__, kind) is not kind:
        raise NoStateError(f"two classes of a state are called {kind.__name__}")
    if is_dataclass(kind) and kind.__name__ not in _collected(found):
        found[f"*{kind.__name__}"] = kind  # its fields are being collected
        for one in get_type_hints(kind).values():
            _collect(one, found)


def _collected(found: Mapping[str, type]) -> set[str]:
    return {name[1:] for name in found if name.startswith("*")}


def encode(state: ChatState) -> Any:
    """The state as a JSON value. Raises NoStateError for a value of another class."""
    return _Encoder().encode(state)


class _Encoder:
    """Counts the objects in the order in which they end, as the decoder does."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no two objects have the same id

    def encode(self, value: Any) -> Any:
        if isinstance(value, _PLAIN):
            return value
        known = self._numbers.get(id(value))
        if known is not None:
            return {"r": known}
        encoded = self._object(value)
        self._numbers[id(value)] = len(self._kept)
        self._kept.append(value)
        return encoded

    def _object(self, value: Any) -> Any:
        kind = type(value)
        match value:
            case tuple():
                return {"t": [self.encode(one) for one in value]}
            case list():
                return {"l": [self.encode(one) for one in value]}
            case frozenset():
                return {"s": sorted(self.encode(one) for one in value)}
            case datetime():
                return {"d": value.isoformat()}
            case Mapping():
                return {"m": [[self.encode(k), self.encode(v)] for k, v in value.items()]}
            case BaseModel() if _classes().get(kind.__name__) is kind:
                return {"c": kind.__name__, "b": value.model_dump(mode="json")}
            case _ if _classes().get(kind.__name__) is kind:
                return {"c": kind.__name__, "f": self._fields(value)}
            case _:
                raise NoStateError(f"{kind.__name__} is nothing that a state consists of")

    def _fields(self, value: Any) -> dict[str, Any]:
        found = ((one, getattr(value, one.name)) for one in fields(value))
        return {one.name: self.encode(it) for one, it in found if not _is_default(one, it)}


def _is_default(field: Field[Any], value: Any) -> bool:
    if field.default is not MISSING:
        return type(field.default) is type(value) and bool(field.default == value)
    return False


def decode(value: Any) -> ChatState:
    """The state of a JSON value. Raises NoStateError."""
    try:
        state = _Decoder().decode(value)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, ValidationError) as broken:
        raise NoStateError(f"no state: {type(broken).__name__}") from broken
    if not isinstance(state, ChatState):
        raise NoStateError("no state")
    return state


class _Decoder:
    def __init__(self) -> None:
        self._known: list[Any] = []

    def decode(self, value: Any) -> Any:
        if isinstance(value, _PLAIN):
            return value
        if "r" in value:
            return self._known[value["r"]]
        found = self._object(value)
        self._known.append(found)
        return found

    def _object(self, value: Mapping[str, Any]) -> Any:
        match value:
            case {"t": list() as items}:
                return tuple(self._each(items))
            case {"l": list() as items}:
                return self._each(items)
            case {"s": list() as items}:
                return frozenset(self._each(items))
            case {"d": str() as text}:
                return datetime.fromisoformat(text)
            case {"m": list() as items}:
                return {self.decode(key): self.decode(one) for key, one in items}
            case {"c": str() as name, "b": dict() as body}:
                return _classes()[name].__pydantic_validator__.validate_python(body)  # type: ignore[attr-defined]
            case {"c": str() as name, "f": dict() as given}:
                return _classes()[name](**{field: self.decode(one) for field, one in given.items()})
            case _:
                raise NoStateError("no state")

    def _each(self, items: Sequence[Any]) -> list[Any]:
        return [self.decode(one) for one in items]
