"""Validate a section of a manifest, and keep all of it that is valid.

An invalid value is removed, and what cannot be without it: the other checks see the rest, so that every
problem of a workflow is reported at once. What was removed is remembered, so that nothing is reported
that merely follows from it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from services.orchestrator.workflows.manifest.diagnostics import (
    MISSING,
    NO_KEY,
    NO_TYPE,
    Entries,
    FieldPath,
    Problem,
    keys_in,
    known_keys,
    position_in_file,
    problem_of,
    quoted,
)
from services.orchestrator.workflows.manifest.losses import EVERYTHING, NOTHING_LOST, Losses
from services.orchestrator.workflows.manifest.sections import Source

M = TypeVar("M", bound=BaseModel)

_MAX_ROUNDS = 30
"""Each round removes what the one before made invalid, from the inside out."""
_ABSENT = ("missing", "union_tag_not_found")
_KINDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "agents": {"agents": "agent"},
        "context_variables": {"definitions": "variable"},
        "structured_outputs": {"models": "model", "registry": "registration"},
        "tools": {"tools": "tool"},
    }
)
"""By section and key: what the entries there are, if others refer to them by name."""


@dataclass(frozen=True, slots=True)
class ValidSection(Generic[M]):
    """What is valid of a section: None if nothing is. `source` is what is left of the file."""

    value: M | None
    source: Source
    problems: tuple[Problem, ...] = ()
    losses: Losses = NOTHING_LOST


def validate_section(
    name: str, source: Source, model: type[M], *, ignores_keys: bool = False
) -> ValidSection[M]:
    """Validate what was read from a file. With `ignores_keys`, an unknown key is a warning."""
    problems: list[Problem] = []
    losses = NOTHING_LOST
    if (nothing := _nothing_known(name, source, model, ignores_keys=ignores_keys)) is not None:
        return ValidSection(None, source, (nothing,), lost_section(name))
    for _ in range(_MAX_ROUNDS):
        try:
            value = model.model_validate(_model_input(name, source.raw))
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
        else:
            return ValidSection(value, source, tuple(problems), losses)
        found = [_ignored(one) if ignores_keys else one for one in _once(errors, source, model)]
        problems += [one for one in found if not (_follows(one, losses) or one in problems)]
        targets = {_removed(error, source.raw) for error in errors}
        losses = losses | _losses(name, errors, targets, source, model)
        if () in targets:
            break
        source = replace(source, raw=without(source.raw, targets))
    return ValidSection(None, source, tuple(problems), losses | lost_section(name))


def lost_section(name: str) -> Losses:
    """That a whole section could not be read."""
    kinds = _KINDS.get(name, {}).values()
    return Losses({kind: frozenset({EVERYTHING}) for kind in kinds})


def without(raw: Any, removed: Collection[FieldPath]) -> Any:
    """The value without what is at these keys; lists remember the positions in the file."""
    here = {keys[0] for keys in removed if len(keys) == 1}

    def kept(key: str | int, value: Any) -> Any:
        inner = {keys[1:] for keys in removed if len(keys) > 1 and keys[0] == key}
        return without(value, inner) if inner else value

    match raw:
        case dict():
            return {key: kept(key, value) for key, value in raw.items() if key not in here}
        case list():
            rest = [number for number in range(len(raw)) if number not in here]
            entries = (kept(number, raw[number]) for number in rest)
            return Entries(entries, (position_in_file(raw, number) for number in rest))
        case _:
            return raw


def value_at(raw: Any, keys: Sequence[str | int]) -> Any:
    """The value at these keys. Raises LookupError if there is none."""
    for key in keys:
        match raw:
            case dict():
                raw = raw[key]
            case list() if isinstance(key, int):
                raw = raw[key]
            case _:
                raise KeyError(key)
    return raw


def _model_input(name: str, raw: Any) -> Any:
    return (
        {"workflow_name": "unread", **raw} if name == "workflow" and isinstance(raw, dict) else raw
    )


def _nothing_known(
    name: str, source: Source, model: type[BaseModel], *, ignores_keys: bool
) -> Problem | None:
    """The problem of a file that is another thing than this section: one, whatever is in it."""
    raw, known = source.raw, known_keys(model)
    if name == "workflow" or not isinstance(raw, dict) or set(raw) & set(known):
        return None
    if ignores_keys and name == "ui_config":
        return None  # nothing is lost with it
    if len(raw) < (1 if ignores_keys else 2):  # a single key may be a misspelt one
        return None
    path = source.path_of(())
    message = "has none of the keys of this section"
    return Problem(source.file, path, message, quoted(", ".join(raw)), known)


def _once(
    errors: Iterable[ErrorDetails], source: Source, model: type[BaseModel]
) -> Iterator[Problem]:
    """The problems, each once: what follows from another one is left out.

    A misspelt key is not also a missing one, and a value that is none of several types is one problem.
    """
    found = [(error, problem_of(error, source.file, model, source.path_of)) for error in errors]
    misspelt = {
        (error["loc"][:-1], problem.hint) for error, problem in found if problem.message == NO_KEY
    }
    paths = [problem.path for _, problem in found]
    seen: set[str] = set()
    for error, problem in found:
        if error["type"] == "missing" and (error["loc"][:-1], str(error["loc"][-1])) in misspelt:
            continue
        is_outer = error["type"].endswith("_type") and any(
            other.startswith(f"{problem.path}.") for other in paths
        )
        if is_outer or problem.path in seen:
            continue
        seen.add(problem.path)
        same = [other.message for _, other in found if other.path == problem.path]
        yield replace(problem, message=" or ".join(dict.fromkeys(same)))


def _follows(problem: Problem, losses: Losses) -> bool:
    """Whether something is missing only because it was removed as invalid."""
    absent = problem.message in (MISSING, NO_TYPE)
    return absent and losses.covers(problem.file, problem.path)


def _ignored(problem: Problem) -> Problem:
    if problem.message != NO_KEY:
        return problem
    return replace(
        problem,
        message="is ignored, as the predecessor ignored it",
        accepted=(),
        severity="warning",
    )


def _removed(error: ErrorDetails, raw: Any) -> FieldPath:
    """The keys of what is removed because of an error."""
    keys = keys_in(raw, error["loc"])
    if error["type"] in _ABSENT:
        return keys[:-1] if error["type"] == "missing" else keys
    while keys:
        try:
            value_at(raw, keys)
        except LookupError:
            keys = keys[:-1]
        else:
            break
    return keys


def _losses(
    name: str,
    errors: Iterable[ErrorDetails],
    targets: Iterable[FieldPath],
    source: Source,
    model: type[BaseModel],
) -> Losses:
    kinds = _KINDS.get(name, {})
    names: dict[str, frozenset[str]] = {}
    for keys in targets:
        if keys and (kind := kinds.get(str(keys[0]))) is not None and len(keys) < 3:
            is_whole = len(keys) == 1 or kind == "tool"
            lost = EVERYTHING if is_whole else _name_of(source.raw, keys)
            names[kind] = names.get(kind, frozenset()) | {lost}
    paths: set[str] = set()
    for error in errors:
        place = source.path_of(error["loc"])
        if error["type"] != "extra_forbidden":
            head = len(source.wrapper) + 2
            paths.add(".".join(place.split(".")[:head]))
            continue
        hint = problem_of(error, source.file, model, source.path_of).hint
        if not hint:
            continue
        paths.add(source.path_of((*error["loc"][:-1], hint)))
        if len(error["loc"]) == 1 and hint in kinds:
            names[kinds[hint]] = frozenset({EVERYTHING})
    return Losses(names, frozenset(f"{source.file}: {path}" for path in paths))


def _name_of(raw: Any, keys: FieldPath) -> str:
    """The name of an entry: its key in a map, or what it says itself; EVERYTHING if it is unknown."""
    if isinstance(keys[1], str):
        return keys[1]
    entry = value_at(raw, keys)
    names = [entry.get(key) for key in ("name", "key", "agent")] if isinstance(entry, dict) else []
    return next((name for name in names if isinstance(name, str)), EVERYTHING)
