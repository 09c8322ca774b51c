"""The AsyncAPI 3.0 document of the bus: what another service may subscribe to, and what we order."""

from typing import Any, get_args

from contracts import commands, subjects
from contracts.events import EVENT_TYPES, Event
from contracts.live import Delta
from contracts.lookups import DataFound, DataRequested

_CHANNELS: dict[str, tuple[str, str]] = {
    "events": (
        "mozaiks.evt.{slot}.{app}.{chat}.{branch}",
        (
            "The events of chats, stored for ever in stream EVENTS; branch is chat or business. A message "
            "is one decision: one envelope or several, one a line, which follow one another."
        ),
    ),
    "business": (
        "mozaiks.evt.{slot}.{app}.{chat}.business",
        (
            "What workflows tell the rest of the company: subscribe with a durable consumer of your own. "
            "Exactly one envelope a message."
        ),
    ),
    "commands": (
        "mozaiks.cmd.{slot}.{app}.{chat}.{name}",
        "Orders to the orchestrator, in stream COMMANDS.",
    ),
    "timers": (
        "mozaiks.timer.{slot}.{app}.{chat}.{name}",
        "Orders that JetStream gives later, in stream COMMANDS.",
    ),
    "deltas": (
        "mozaiks.delta.{slot}.{app}.{chat}",
        "Text while it is streamed and progress of tools, in stream DELTAS, for minutes.",
    ),
    "lookups": (
        "mozaiks.lookup.{app}.{chat}.{request}",
        "What the orchestrator needs to know of data elsewhere, in stream LOOKUPS, for a minute.",
    ),
    "findings": (
        "mozaiks.found.{app}.{chat}.{request}",
        "What persistence found, in stream LOOKUPS, for a minute.",
    ),
    "live": (
        "mozaiks.live.{slot}.{app}.{chat}.{kind}",
        (
            "Events and deltas republished once stored: a plain subscription, no consumer. Kind is "
            "chat, business or delta."
        ),
    ),
    "dead_letters": ("mozaiks.dlq.{service}.{subject}", "What could never be handled, and why."),
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "slot": {
        "description": "CRC-32 (as of zlib) of `app.chat`, both as they are in the subject, modulo "
        f"{subjects.SLOTS}: two digits."
    },
    "branch": {"enum": list(get_args(subjects.Branch))},
    "kind": {"enum": [*get_args(subjects.Branch), "delta"]},
}
_HEADERS: dict[str, Any] = {
    "Mozaiks-Categories": {
        "type": "string",
        "description": "The categories of the message's events, each once, with commas between: "
        f"{', '.join(subjects.CATEGORIES)}.",
    },
    "traceparent": {"type": "string", "description": "W3C trace context of the first event."},
}
_CLOUD_EVENT: dict[str, Any] = {
    "ce-specversion": {"const": "1.0"},
    "ce-id": {"type": "string", "description": "`app.chat.seq`, the ids as in the subject."},
    "ce-source": {"type": "string", "description": "`/apps/app/chats/chat`, likewise."},
    "ce-type": {"type": "string", "description": "`mozaiks.type.vN`."},
}
"""The required attributes of CloudEvents 1.0, in NATS binary mode."""


def document() -> dict[str, Any]:
    """The whole document; message payloads point at the JSON Schemas beside it."""
    events = {kind: f"events/{kind}.v{body.version}.json" for kind, body in EVENT_TYPES.items()}
    business = [k for k, body in EVENT_TYPES.items() if body.category == "business"]
    orders = {
        order.model_fields["name"].default: f"commands/{order.model_fields['name'].default}.json"
        for order in get_args(commands.Command)
    }
    chunk = {model.__name__: f"live/{model.__name__}.json" for model in get_args(Delta)}
    asked = {DataRequested.__name__: f"lookups/{DataRequested.__name__}.json"}
    told = {DataFound.__name__: f"lookups/{DataFound.__name__}.json"}
    carried = {
        "events": list(events),
        "business": business,
        "commands": list(orders),
        "timers": list(orders),
        "deltas": list(chunk),
        "lookups": list(asked),
        "findings": list(told),
        "live": [*events, *chunk],
        "dead_letters": [],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mozaiks Runtime",
            "version": "1",
            "description": "Ids in subjects are encoded: see contracts/subjects.py, `token`.",
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name, carried[name]) for name in _CHANNELS},
        "operations": _operations(),
        "components": {
            "messages": {
                name: _message(name, ref)
                for name, ref in {**orders, **chunk, **asked, **told}.items()
            }
            | {name: _event_message(name, ref, EVENT_TYPES[name]) for name, ref in events.items()}
        },
    }


def _message(name: str, ref: str) -> dict[str, Any]:
    return {"name": name, "contentType": "application/json", "payload": _schema({"$ref": ref})}


def _event_message(name: str, ref: str, event: type[Event]) -> dict[str, Any]:
    """What a message says of one of its events, a line."""
    this = {"type": {"const": name}, "version": {"const": event.version}, "body": {"$ref": ref}}
    line = {"allOf": [{"$ref": "envelope.json"}, {"properties": this}]}
    is_business = event.category == "business"
    headers = {**_HEADERS, **(_CLOUD_EVENT if is_business else {})}
    required = [header for header in headers if header != "traceparent"]
    return {
        "name": name,
        "contentType": "application/json" if is_business else "application/jsonl",
        "headers": {"type": "object", "properties": headers, "required": required},
        "payload": _schema(line),
    }


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"schemaFormat": "application/schema+json", "schema": schema}


def _channel(name: str, messages: list[str]) -> dict[str, Any]:
    address, description = _CHANNELS[name]
    fields = [part.strip("{}") for part in address.split(".") if part.startswith("{")]
    parameters = {field: _PARAMETERS.get(field, {}) for field in fields}
    return {
        "address": address,
        "description": description,
        "parameters": parameters,
        "messages": {m: {"$ref": f"#/components/messages/{m}"} for m in messages},
    }


def _operations() -> dict[str, Any]:
    def operation(action: str, channel: str, summary: str) -> dict[str, Any]:
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
        }

    return {
        "appendDecision": operation("send", "events", "Only the orchestrator appends."),
        "publishBusinessEvent": operation("send", "business", "Stated by workflows through it."),
        "setTimer": operation("send", "timers", "Set by the orchestrator; due, it is a command."),
        "takeCommand": operation("receive", "commands", "Only the orchestrator takes orders."),
        "streamText": operation("send", "deltas", "Sent while a model speaks."),
        "lookUp": operation("send", "lookups", "Asked by the orchestrator."),
        "tellFinding": operation("send", "findings", "Answered by persistence."),
        "showLive": operation("send", "live", "Republished by JetStream itself."),
        "buryMessage": operation("send", "dead_letters", "By any service that gives up on one."),
    }
