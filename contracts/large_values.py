"""Large values of events: stored as objects by digest, while the event has their beginning and a reference.

A message of the event log has at most 1 MB by default. So once the events of a decision take more than
INLINE_BYTES, their largest values are replaced by a preview of the same JSON type, and the envelope
names for each the place in the body, and the size, type and SHA-256 of the whole value, which is an
object of store `values` before the event is appended. Readers that need no more than the preview need
not know about it. Pure: nothing is stored or read here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.json_preview import preview_of_text, pruned

INLINE_BYTES = 768 * 1024
"""What the events of one message may take before values are kept apart: three quarters of NATS's default limit."""
MAX_BYTES = 8 * 1024 * 1024
"""Limit of the values of one decision that are kept apart, together; and of one result of a tool."""
PREVIEW_CHARS = 1_000
REST_BYTES = 4 * PREVIEW_CHARS + 500
"""What a value leaves in its event at most: its preview in UTF-8, and the reference."""
MIN_BYTES = 2 * REST_BYTES
"""A smaller value is never kept apart alone: too little would be saved."""

_JSON: TypeAdapter[Any] = TypeAdapter(Any)

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

MEMBERS: Mapping[str, Sequence[str]] = {
    "chat.started": ("variables/*",),
    "turn.conversation_processed": ("prompt", "changes/*/text", "changes/*/messages"),
    "turn.model_requested": ("prompt/*", "parts/*/text", "parts/*/data"),
    "turn.model_responded": ("text", "files/*/data", "native/parts/*/block", "native/parts/*/own"),
    "turn.output_structured": ("data/*",),
    "turn.tool_invoked": ("arguments/*", "caption"),
    "turn.tool_returned": ("parts/*/text", "parts/*/data"),
    "turn.completed": ("text",),
    "turn.variables_changed": ("changed/*",),
    "ui.tool_requested": ("payload/*", "default/*"),
    "ui.tool_answered": ("response/*",),
}
"""By event type, the places whose values may be kept apart; `*` stands for each key or index."""
FIELDS: Mapping[str, Sequence[str]] = {
    "chat.started": ("variables",),
    "turn.conversation_processed": ("changes",),
    "turn.output_structured": ("data",),
    "turn.tool_invoked": ("arguments",),
    "turn.variables_changed": ("changed",),
    "ui.tool_requested": ("payload", "default"),
    "ui.tool_answered": ("response",),
}
"""The fields that are kept apart as one value where they have too many members."""


class ValueReference(BaseModel):
    """A value that is stored as an object of its chat: `digest` is the SHA-256 of its bytes, in hex."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, description="In bytes.")
    media_type: str


class StoredValue(ValueReference):
    """The whole value of a place of an event's body, which has only its beginning.

    `path` is a JSON Pointer (RFC 6901) into the body.
    """

    path: str


@dataclass(frozen=True, slots=True)
class LargeValue:
    """The bytes of a value, and the reference to them."""

    reference: ValueReference
    data: bytes

    @classmethod
    def of(cls, data: bytes, media_type: str) -> "LargeValue":
        digest = sha256(data).hexdigest()
        return cls(ValueReference(digest=digest, size=len(data), media_type=media_type), data)

    @classmethod
    def of_json(cls, value: Any) -> "LargeValue":
        """The value of text, or any other JSON value."""
        if isinstance(value, str):
            return cls.of(value.encode(), TEXT)
        return cls.of(_JSON.dump_json(value), JSON)


class SplitBody(NamedTuple):
    """An event's body with previews, and the values in whose place they are."""

    body: dict[str, Any]
    stored: tuple[StoredValue, ...] = ()
    values: tuple[LargeValue, ...] = ()


class _Place(NamedTuple):
    """A value in one of several bodies."""

    event: int
    path: tuple[str | int, ...]
    size: int


def split(events: Sequence[tuple[str, dict[str, Any]]], size: int, limit: int) -> list[SplitBody]:
    """The bodies of a decision's events, given with their types, without as many of their largest
    values as it takes until they have at most `limit` of the `size` bytes that they have now.

    They may have more, where no more of them can be kept apart.
    """
    chosen: list[_Place] = []
    for place in sorted(_places(events, MEMBERS), key=lambda one: -one.size):
        if size <= limit:
            break
        chosen.append(place)
        size -= place.size - REST_BYTES
    for field in _places(events, FIELDS):
        if size <= limit:
            break
        members = [one for one in chosen if _is_within(one, field)]
        chosen = [*(one for one in chosen if one not in members), field]
        size -= field.size - sum(one.size - REST_BYTES for one in members) - REST_BYTES
    return [_split_body(body, _of_event(number, chosen)) for number, (_, body) in enumerate(events)]


def joined(
    body: Mapping[str, Any], stored: Iterable[StoredValue], data: Mapping[str, bytes]
) -> dict[str, Any]:
    """A body with the whole values in the place of their previews; `data` are the bytes by digest.

    Raises KeyError for a digest without bytes, LookupError and ValueError for a reference that does
    not fit the body.
    """
    whole: Any = dict(body)
    for one in stored:
        value = parsed(one, data[one.digest])
        whole = _replaced(whole, _steps(one.path), value)
    assert isinstance(whole, dict)  # noqa: S101  a path has at least one step
    return whole


def parsed(reference: ValueReference, data: bytes) -> Any:
    """The text or JSON value of these bytes. Raises ValueError."""
    return data.decode() if reference.media_type == TEXT else _JSON.validate_json(data)


def _places(
    events: Sequence[tuple[str, dict[str, Any]]], patterns: Mapping[str, Sequence[str]]
) -> list[_Place]:
    return [
        _Place(number, path, size)
        for number, (kind, body) in enumerate(events)
        for pattern in patterns.get(kind, ())
        for path, value in _matches(body, pattern.split("/"))
        if (size := _size(value)) >= MIN_BYTES
    ]


def _matches(
    value: Any, pattern: Sequence[str], path: tuple[str | int, ...] = ()
) -> Iterable[tuple[tuple[str | int, ...], Any]]:
    if not pattern:
        if value is not None:
            yield path, value
        return
    step, *rest = pattern
    match value:
        case dict() if step == "*":
            for key, member in value.items():
                yield from _matches(member, rest, (*path, key))
        case list() if step == "*":
            for index, member in enumerate(value):
                yield from _matches(member, rest, (*path, index))
        case dict() if step in value:
            yield from _matches(value[step], rest, (*path, step))
        case _:
            return


def _size(value: Any) -> int:
    """In bytes of JSON."""
    match value:
        case str() | dict() | list():
            return len(_JSON.dump_json(value))
        case _:
            return 0


def _is_within(place: _Place, field: _Place) -> bool:
    return place.event == field.event and place.path[: len(field.path)] == field.path


def _of_event(number: int, places: Iterable[_Place]) -> list[_Place]:
    return [place for place in places if place.event == number]


def _split_body(body: dict[str, Any], places: Sequence[_Place]) -> SplitBody:
    stored: list[StoredValue] = []
    values: list[LargeValue] = []
    short: Any = body
    for place in places:
        value = _at(body, place.path)
        large = LargeValue.of_json(value)
        pointer = "".join(f"/{_escaped(step)}" for step in place.path)
        stored.append(StoredValue(**large.reference.model_dump(), path=pointer))
        values.append(large)
        short = _replaced(short, place.path, _preview(value))
    return SplitBody(short, tuple(stored), tuple(values))


def _preview(value: Any) -> Any:
    match value:
        case str():
            return preview_of_text(value, PREVIEW_CHARS)
        case list() if value and isinstance(value[0], dict):
            return []  # its elements have a form of their own, which a mark has not
        case _:
            return pruned(value, PREVIEW_CHARS)


def _at(value: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        value = value[step]
    return value


def _replaced(value: Any, path: Sequence[str | int], new: Any) -> Any:
    """A copy of a JSON value in which one place has another value."""
    if not path:
        return new
    step, *rest = path
    if isinstance(value, list):
        index = int(step)
        return [*value[:index], _replaced(value[index], rest, new), *value[index + 1 :]]
    return {**value, step: _replaced(value[step], rest, new)}


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


def _steps(pointer: str) -> list[str | int]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
