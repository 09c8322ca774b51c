"""Diagnostics of manifests: field, message, what was found, what is accepted, and a suggestion."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_UNION_TAG = re.compile(r"str|int|float|bool|(list|dict)\[.*\]")
"""How pydantic names the members of a union that are no models."""

Severity = Literal["error", "warning"]
FieldPath = tuple[str | int, ...]

_MAX_QUOTED_CHARS = 60
MISSING = "is missing"
NO_TYPE = "has no type"
NO_KEY = "there is no such key"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error or a warning about one field of a file.

    `found` quotes the file: it is shown to the author only, never on a card.
    """

    file: str
    path: str
    message: str
    found: str = ""
    accepted: tuple[str, ...] = ()
    hint: str = ""
    severity: Severity = "error"

    @property
    def line(self) -> str:
        """The problem in one line, without `found`."""
        location = f"{self.file}: {self.path}: " if self.path else f"{self.file}: "
        accepted = f" (accepted: {', '.join(self.accepted)})" if self.accepted else ""
        hint = f"; did you mean {self.hint}?" if self.hint else ""
        return f"{location}{self.message}{accepted}{hint}"


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(one for one in problems if one.severity == "error"))


def warnings(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(one for one in problems if one.severity == "warning"))


def closest_name(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar, an empty string if none is similar."""
    folded = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold(), folded, n=1)
    return folded[close[0]] if close else ""


class Entries(list[Any]):
    """A list from which entries were removed; `numbers` are the positions of the rest in the file."""

    def __init__(self, entries: Iterable[Any], numbers: Iterable[int]) -> None:
        super().__init__(entries)
        self.numbers = tuple(numbers)


def position_in_file(entries: Sequence[Any], number: int) -> int:
    """The position of an entry in the file's list."""
    return entries.numbers[number] if isinstance(entries, Entries) else number


def path_in(raw: Any, location: Sequence[str | int]) -> str:
    """A location in a model, as a dotted path in the file: names of map entries, no union tags."""
    path: list[str] = []
    for key in keys_in(raw, location):
        if isinstance(raw, list) and isinstance(key, int) and key < len(raw):
            path.append(str(position_in_file(raw, key)))
        else:
            path.append(str(key))
        raw = _child(raw, key)
    return ".".join(path)


def keys_in(raw: Any, location: Sequence[str | int]) -> FieldPath:
    """A location in a model, as keys and indexes of the raw value; the last one may be missing there."""
    keys: list[str | int] = []
    for depth, part in enumerate(location):
        match raw, part:
            case Mapping(), int() if part < len(raw):
                key: str | int = list(raw)[part]
            case Mapping(), str() if part in raw:
                key = part
            case Mapping(), str() if depth == len(location) - 1 and not _UNION_TAG.fullmatch(part):
                key = part
            case list(), int():
                key = part
            case _:
                continue
        keys.append(key)
        raw = _child(raw, key)
    return tuple(keys)


def _child(raw: Any, key: str | int) -> Any:
    match raw, key:
        case Mapping(), _:
            return raw.get(key)
        case list(), int() if key < len(raw):
            return raw[key]
        case _:
            return None


def problem_of(
    error: ErrorDetails, file: str, model: type[BaseModel], path_of: Callable[[FieldPath], str]
) -> Problem:
    """An error that pydantic found; `path_of` turns a location in the model into a path in the file."""
    location, context = error["loc"], error.get("ctx", {})
    path = path_of(location)
    match error["type"]:
        case "extra_forbidden":
            known = known_keys(model, location[:-1])
            hint = closest_name(str(location[-1]), known)
            return Problem(file, path, NO_KEY, accepted=known, hint=hint)
        case "missing" | "union_tag_not_found":
            return Problem(file, path, MISSING if error["type"] == "missing" else NO_TYPE)
        case "literal_error" | "union_tag_invalid":
            listed = str(context.get("expected") or context.get("expected_tags"))
            accepted = tuple(re.findall("'([^']*)'", listed))
            found = context.get("tag", error["input"])
            return Problem(
                file,
                path,
                "is not one of the accepted values",
                found=quoted(found),
                accepted=accepted,
                hint=closest_name(str(found), accepted),
            )
        case "model_type":
            keys = known_keys(model, location)
            return Problem(file, path, "is not an object", quoted(error["input"]), keys)
        case _:
            message = error["msg"].removeprefix("Value error, ")
            return Problem(file, path, message, found=quoted(error["input"]))


def quoted(value: object) -> str:
    """A value of the file, cut to fit into one line."""
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED_CHARS else f"{text[:_MAX_QUOTED_CHARS]}…"


def known_keys(model: type[BaseModel], location: Sequence[str | int] = ()) -> tuple[str, ...]:
    """The keys of the model at a location; none if there is no model."""
    found = _model_at(model, location)
    if found is None:
        return ()
    return tuple(field.alias or name for name, field in found.model_fields.items())


def _model_at(annotation: Any, location: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that contains a location."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return annotation
        field = annotation.model_fields.get(str(location[0]))
        return _model_at(field.annotation, location[1:]) if field else None
    if origin is Annotated:
        return _model_at(arguments[0], location)
    if origin in (list, dict) and location:
        return _model_at(arguments[-1], location[1:])
    if origin in (Union, UnionType):
        models = (_model_at(one, _without_union_tag(one, location)) for one in arguments)
        return next((found for found in models if found), None)
    return None


def _without_union_tag(member: Any, location: Sequence[str | int]) -> Sequence[str | int]:
    """The location inside a member of a tagged union; one that does not exist for another tag."""
    if not (isinstance(member, type) and issubclass(member, BaseModel)) or not location:
        return location
    tag = member.model_fields.get("type")
    tags = get_args(tag.annotation) if tag else ()
    return location[1:] if location[0] in tags else (*location, "no member")
