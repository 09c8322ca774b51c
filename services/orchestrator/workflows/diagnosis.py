"""What is wrong with a manifest: where, what was found, what is accepted, and what was likely meant."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Severity = Literal["error", "warning"]
Path = tuple[str | int, ...]

_SHOWN = 60
NO_TYPE = "has no type"


@dataclass(frozen=True, slots=True)
class Problem:
    """`found` quotes the file: shown to its author, never on a card."""

    file: str
    where: str
    what: str
    found: str = ""
    accepted: tuple[str, ...] = ()
    hint: str = ""
    severity: Severity = "error"

    @property
    def line(self) -> str:
        """All but what was found, as one line."""
        place = f"{self.file}: {self.where}: " if self.where else f"{self.file}: "
        accepted = f" (accepted: {', '.join(self.accepted)})" if self.accepted else ""
        hint = f"; did you mean {self.hint}?" if self.hint else ""
        return f"{place}{self.what}{accepted}{hint}"


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(one for one in problems if one.severity == "error"))


def warnings(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(one for one in problems if one.severity == "warning"))


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was likely meant, or nothing."""
    folded = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold(), folded, n=1)
    return folded[close[0]] if close else ""


def path_in(raw: Any, location: Sequence[str | int]) -> str:
    """A place in the model as its author wrote it: names for the entries of a map, no union tags."""
    shown: list[str] = []
    for place, part in enumerate(location):
        match raw, part:
            case Mapping(), int() if part < len(raw):
                key = list(raw)[part]
            case Mapping(), str() if part in raw or place == len(location) - 1:
                key = part
            case list(), int():
                key = part
            case _:
                if place < len(location) - 1:
                    continue
                key = part
        shown.append(str(key))
        raw = _inner(raw, key)
    return ".".join(shown)


def _inner(raw: Any, key: str | int) -> Any:
    match raw, key:
        case Mapping(), _:
            return raw.get(key)
        case list(), int() if key < len(raw):
            return raw[key]
        case _:
            return None


def from_validation(
    broken: ValidationError, file: str, model: type[BaseModel], where: Callable[[Path], str]
) -> list[Problem]:
    """What pydantic found; `where` tells a place in the model as its author wrote it."""
    return [_problem(error, file, model, where) for error in broken.errors(include_url=False)]


def _problem(
    error: ErrorDetails, file: str, model: type[BaseModel], where: Callable[[Path], str]
) -> Problem:
    location, context = error["loc"], error.get("ctx", {})
    place = where(location)
    match error["type"]:
        case "extra_forbidden":
            owner = _model_at(model, location[:-1])
            known = _keys(owner) if owner else ()
            likely = nearest(str(location[-1]), known)
            return Problem(file, place, "there is no such key", accepted=known, hint=likely)
        case "missing" | "union_tag_not_found":
            return Problem(file, place, "is missing" if error["type"] == "missing" else NO_TYPE)
        case "literal_error" | "union_tag_invalid":
            listed = str(context.get("expected") or context.get("expected_tags"))
            accepted = tuple(re.findall("'([^']*)'", listed))
            found = context.get("tag", error["input"])
            return Problem(
                file,
                place,
                "is none of the accepted values",
                found=shown(found),
                accepted=accepted,
                hint=nearest(str(found), accepted),
            )
        case _:
            what = error["msg"].removeprefix("Value error, ")
            return Problem(file, place, what, found=shown(error["input"]))


def shown(value: object) -> str:
    """A value of the file, short enough for one line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _keys(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _model_at(annotation: Any, location: Sequence[str | int]) -> type[BaseModel] | None:
    """The model in which a place lies."""
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
        tries = (_model_at(one, _untagged(one, location)) for one in arguments)
        return next((found for found in tries if found), None)
    return None


def _untagged(member: Any, location: Sequence[str | int]) -> Sequence[str | int]:
    """The place below a member of a tagged union; nowhere if the tag is another's."""
    if not (isinstance(member, type) and issubclass(member, BaseModel)) or not location:
        return location
    tag = member.model_fields.get("type")
    tags = get_args(tag.annotation) if tag else ()
    return location[1:] if location[0] in tags else (*location, "no member")
