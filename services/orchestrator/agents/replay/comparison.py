"""What of two events is compared, and how a difference is told.

Compared are type and body. Not compared is what is different in every run, or no decision of this code:

* times, the runner, the trace and the chain of digests, which are of the envelope;
* of `chat.started` the versions of the workflow; `chat.tool_code_changed`;
* of a model's answer what the provider says of it (tokens, model, ids, native form); `turn.usage_recorded`;
* of a model's failure all but its code; the waits between its attempts; texts that were interrupted; summaries of a conversation;
* of a question the moment at which it expires or is escalated, but whether it does;
* of a model request the options, which are of a provider, and the digest where the prompt differs;
* of a tool's result where its large values are kept.

Ids are derived from the chat, the turn and the call, and are compared.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.events import Event
from contracts.events.chat import ChatStarted
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.turn import (
    ConversationProcessed,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    ToolReturned,
    TurnFailed,
)
from services.orchestrator.agents.replay.differences import differences, shown

_CHAT_STARTED = frozenset({"workflow_version", "tools_version"})
_REQUESTED = frozenset({"options"})
_RESPONDED = frozenset(
    {"metadata", "files", "tokens", "model", "provider", "finish_reason", "response_id", "native"}
)
_CALL_FAILED = frozenset({"message", "text", "reasoning", "max_tokens", "context_window", "final"})
_TURN_FAILED = frozenset({"waits"})
_PROMPT_PARTS = (("Context variables:", "context variables"), ("The user's files:", "files"))


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field of an event: its dotted path, the recorded value and the one of this code.

    `part` says which part of a prompt it is, `diff` shows texts of several lines as a unified diff.
    """

    path: str
    recorded: Any
    found: Any
    part: str | None = None
    diff: tuple[str, ...] = ()


def compared(event: Event) -> dict[str, Any]:
    """The type and the fields of an event that are compared."""
    body = event.model_dump(mode="json", exclude=set(_excluded(event)))
    match event:
        case HumanAsked() | UiToolRequested():
            body["expires_at"] = event.expires_at is not None
            if body.get("escalation") is not None:
                body["escalation"].pop("at", None)
        case ToolReturned():
            for part in body["parts"]:
                part.pop("whole", None)
        case _:
            pass
    return {"type": event.type, **body}


def _excluded(event: Event) -> frozenset[str]:
    match event:
        case ChatStarted():
            return _CHAT_STARTED
        case ModelRequested():
            return _REQUESTED
        case ModelResponded():
            return _RESPONDED
        case ModelCallFailed():
            return _CALL_FAILED
        case TurnFailed():
            return _TURN_FAILED
        case _:
            return frozenset()


def is_same(recorded: Event, found: Event) -> bool:
    """Whether two events are the same as far as they are compared."""
    if recorded == found:
        return True
    recorded, found = _comparable(recorded, found)
    return recorded.type == found.type and compared(recorded) == compared(found)


def _comparable(recorded: Event, found: Event) -> tuple[Event, Event]:
    """Both without what the log, which is of an earlier release, does not have."""
    match recorded:
        case ModelRequested(offered=None):
            return recorded, found.model_copy(update={"offered": None})
        case ConversationProcessed(base=""):  # version 1 has messages: the next digest is of them
            without = {"changes": [], "base": ""}
            return recorded.model_copy(update=without), found.model_copy(update=without)
        case _:
            return recorded, found


def field_differences(recorded: Event, found: Event) -> list[FieldDifference]:
    """The fields in which an event differs from the recorded one; the type alone where that differs."""
    if recorded.type != found.type:
        return [FieldDifference("type", recorded.type, found.type)]
    recorded, found = _comparable(recorded, found)
    both = compared(recorded), compared(found)
    fields = [_difference(*one) for one in differences(*both)]
    if isinstance(recorded, ModelRequested) and any(one.path != "digest" for one in fields):
        fields = [one for one in fields if one.path != "digest"]  # it follows from the others
    return [_of_prompt(one) if isinstance(recorded, ModelRequested) else one for one in fields]


def _difference(path: str, recorded: Any, found: Any) -> FieldDifference:
    is_text = isinstance(recorded, str) and isinstance(found, str)
    diff = _unified(recorded, found) if is_text and "\n" in recorded + found else ()
    return FieldDifference(path, recorded, found, diff=diff)


def _unified(recorded: str, found: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(
        recorded.splitlines(), found.splitlines(), "recorded", "now", lineterm="", n=1
    )
    return tuple(lines)


def _of_prompt(one: FieldDifference) -> FieldDifference:
    match one.path:
        case "digest":
            part = "the conversation before the request, which has another digest"
        case "offered":
            part = "the schemas of the tools or the form of the answer"
        case "prompt.1":
            part = "the form of the answer in words"
        case "prompt.0":
            part = ", ".join(changed_prompt_parts(one.recorded, one.found))
        case path if path.startswith("parts"):
            part = "the message that begins the turn"
        case _:
            return one
    return FieldDifference(one.path, one.recorded, one.found, part, one.diff)


def changed_prompt_parts(recorded: str, found: str) -> list[str]:
    """Which parts of a system prompt differ: the system message, context variables, files."""
    before, after = _prompt_parts(recorded), _prompt_parts(found)
    return [
        name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)
    ]


def _prompt_parts(prompt: str) -> dict[str, str]:
    heads = dict(_PROMPT_PARTS)
    pattern = "|".join(map(re.escape, heads))
    pieces = re.split(rf"(?:^|\n\n)({pattern})\n", prompt)
    parts = {"system message": pieces[0]}
    for head, text in zip(pieces[1::2], pieces[2::2], strict=True):
        parts[heads[head]] = text
    return parts


def texts(fields: Sequence[FieldDifference]) -> list[str]:
    """The differences as lines for people."""
    lines: list[str] = []
    for one in fields:
        part = "" if one.part is None else f" ({one.part})"
        lines.append(f"  {one.path}{part}")
        if one.diff:
            lines += [f"    {line}" for line in one.diff]
        else:
            lines.append(f"    recorded  {shown(one.recorded)}")
            lines.append(f"    now       {shown(one.found)}")
    return lines
