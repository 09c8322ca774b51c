"""Replace the words of the predecessor's manifests by those that mean the same here."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from services.orchestrator.workflows.manifest.diagnostics import Entries, FieldPath, Problem
from services.orchestrator.workflows.manifest.models.agents import PROMPT_SECTIONS
from services.orchestrator.workflows.manifest.models.base import normalise_word
from services.orchestrator.workflows.manifest.models.handoffs import CONDITION_TYPES, HANDOFF_TYPES
from services.orchestrator.workflows.manifest.models.tools import LIFECYCLE_TRIGGERS, TOOL_TYPES
from services.orchestrator.workflows.manifest.models.variables import (
    VariableSource,
)
from services.orchestrator.workflows.manifest.sections import Source
from services.orchestrator.workflows.spec import HookKind

TENANT = "enterprise_id"
"""What the predecessor first called an app_id."""

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Note:
    """A warning about the object, or a key of it, that was read otherwise than it is written."""

    keys: FieldPath
    message: str


Rewriting = Callable[[FieldPath, dict[str, Any], list[Note]], Any]
"""Returns what an object means, _ABSENT if it is to be skipped."""


def as_meant(section: str, source: Source) -> tuple[Source, list[Problem]]:
    """The section with the predecessor's words replaced by ours, and a warning for each of them."""
    rewriting = _REWRITINGS.get(section)
    if rewriting is None:
        return source, []
    notes: list[Note] = []
    raw = _rewritten(source.raw, (), rewriting, notes)
    problems = [
        Problem(
            source.file,
            ".".join((*source.wrapper, *map(str, one.keys))),
            one.message,
            severity="warning",
        )
        for one in notes
    ]
    return replace(source, raw={} if raw is _ABSENT else raw), problems


def _rewritten(value: Any, keys: FieldPath, rewriting: Rewriting, notes: list[Note]) -> Any:
    match value:
        case dict():
            inner = {
                key: _rewritten(one, (*keys, key), rewriting, notes) for key, one in value.items()
            }
            present = {key: one for key, one in inner.items() if one is not _ABSENT}
            return rewriting(keys, present, notes)
        case list():
            entries = [
                (number, _rewritten(one, (*keys, number), rewriting, notes))
                for number, one in enumerate(value)
            ]
            kept = [(number, one) for number, one in entries if one is not _ABSENT]
            return Entries([one for _, one in kept], [number for number, _ in kept])
        case _:
            return value


def _outputs(keys: FieldPath, value: dict[str, Any], notes: list[Note]) -> Any:
    if keys[:1] != ("models",) or "allowed_values" not in value or "values" in value:
        return value
    notes.append(Note((*keys, "allowed_values"), "is read as values"))
    return {("values" if key == "allowed_values" else key): one for key, one in value.items()}


def _variables(keys: FieldPath, value: dict[str, Any], notes: list[Note]) -> Any:
    if value.get("search_by") == TENANT:
        notes.append(Note((*keys, "search_by"), f"{TENANT} is read as app_id"))
        value = {**value, "search_by": "app_id"}
    if (
        isinstance(query := value.get("query_template"), dict)
        and (meant := _tenant(query)) != query
    ):
        notes.append(Note((*keys, "query_template"), f"{TENANT} is read as app_id"))
        value = {**value, "query_template": meant}
    if "trigger" in value and "transitions" in keys and "to" not in value:
        notes.append(Note(keys, "has no `to`: it sets the variable as a trigger does"))
        value = {**value, "to": None}
    if value.get("type") == "runtime" and keys[-1:] == ("source",):
        notes.append(
            Note((*keys, "type"), "runtime is read as computed: the runtime or a tool sets it")
        )
        return {"type": "computed", "default": value.get("default")}
    if keys[:1] == ("definitions",) and keys[-1:] == ("source",) and len(keys) == 3:
        return _source(keys, value, notes)
    if keys[:1] == ("definitions",) and len(keys) == 2 and "source" not in value:
        notes.append(Note(keys, "has no source: it is read as computed"))
        return {**value, "source": {"type": "computed"}}
    return value


def _source(keys: FieldPath, value: dict[str, Any], notes: list[Note]) -> dict[str, Any]:
    """A source, or in place of one with a mistake a computed one: a tool may set the variable."""
    try:
        _SOURCE.validate_python(value)
    except ValidationError as invalid:
        wrong = [one for one in invalid.errors() if one["type"] != "extra_forbidden"]
        if wrong:
            reason = wrong[0]["msg"].partition("\n")[0]
            notes.append(Note(keys, f"is not valid, and is read as computed: {reason}"))
            return {"type": "computed", "default": value.get("default")}
    return value


def _tenant(query: Any) -> Any:
    match query:
        case str():
            return re.sub(rf"(\{{\{{\s*runtime\.){TENANT}(\s*\}}\}})", r"\1app_id\2", query)
        case dict():
            return {
                ("app_id" if key == TENANT else key): _tenant(one) for key, one in query.items()
            }
        case list():
            return [_tenant(one) for one in query]
        case _:
            return query


_SOURCE: TypeAdapter[VariableSource] = TypeAdapter(VariableSource)


def _agents(keys: FieldPath, value: dict[str, Any], notes: list[Note]) -> Any:
    if keys[-1:] == ("prompt_sections",):
        unknown = [key for key in value if key not in PROMPT_SECTIONS]
        notes += [
            Note((*keys, key), "is no section of a prompt, and is ignored") for key in unknown
        ]
        return {key: one for key, one in value.items() if key not in unknown}
    if isinstance(content := value.get("content"), list) and "prompt_sections" in keys:
        value = {**value, "content": "\n".join(map(str, content))}
    limit = value.get("max_consecutive_auto_reply")
    if isinstance(limit, int) and limit < 1:
        notes.append(Note((*keys, "max_consecutive_auto_reply"), f"{limit} is ignored"))
        return {key: one for key, one in value.items() if key != "max_consecutive_auto_reply"}
    return value


def _hooks(keys: FieldPath, value: dict[str, Any], notes: list[Note]) -> Any:
    kind = value.get("hook_type")
    if len(keys) == 2 and isinstance(kind, str) and kind not in get_args(HookKind):
        notes.append(Note((*keys, "hook_type"), f"{kind} is not known: the hook is never called"))
        return _ABSENT
    return value


def _handoffs(keys: FieldPath, value: dict[str, Any], notes: list[Note]) -> Any:
    if keys[:1] != ("handoff_rules",) or len(keys) != 2:
        return value
    kind, chosen = value.get("handoff_type"), value.get("condition_type")
    if isinstance(kind, str) and normalise_word(kind) not in HANDOFF_TYPES:
        notes.append(Note((*keys, "handoff_type"), f"{kind} is not known: the rule is skipped"))
        return _ABSENT
    if isinstance(chosen, str) and normalise_word(chosen) not in CONDITION_TYPES:
        notes.append(Note((*keys, "condition_type"), f"{chosen} is not known and read as llm"))
        value = {**value, "condition_type": "llm"}
    return value


def _tools(keys: FieldPath, value: dict[str, Any], notes: list[Note]) -> Any:
    if keys[-1:] == ("ui",) and value.get("mode") not in ("inline", "artifact", None):
        notes.append(Note((*keys, "mode"), f"{value['mode']} is not known and ignored"))
        return {key: one for key, one in value.items() if key != "mode"}
    if len(keys) != 2 or keys[0] not in ("tools", "lifecycle_tools"):
        return value
    trigger = value.get("trigger")
    if (
        keys[0] == "lifecycle_tools"
        and isinstance(trigger, str)
        and normalise_word(trigger) not in LIFECYCLE_TRIGGERS
    ):
        notes.append(Note((*keys, "trigger"), f"{trigger} is not known: the tool is never called"))
        return _ABSENT
    for key in ("tool_type", "type"):
        kind = value.get(key)
        if isinstance(kind, str) and normalise_word(kind) not in TOOL_TYPES:
            notes.append(Note((*keys, key), f"{kind} is not known and ignored"))
            value = {name: one for name, one in value.items() if name != key}
    if "caller" in value and "agent" not in value:
        return {("agent" if key == "caller" else key): one for key, one in value.items()}
    return value


_REWRITINGS: Mapping[str, Rewriting] = {
    "agents": _agents,
    "hooks": _hooks,
    "structured_outputs": _outputs,
    "context_variables": _variables,
    "handoffs": _handoffs,
    "tools": _tools,
}
