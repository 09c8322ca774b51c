"""The AsyncAPI 3.0 document of the bus: what another service may subscribe to, and what we order."""

from typing import Any, get_args

from contracts import commands, subjects
from contracts.events import EVENT_TYPES
from contracts.live import Delta
from contracts.lookups import DataFound, DataRequested

_CHANNELS: dict[str, tuple[str, str]] = {
    "events": (
        "mozaiks.evt.{app}.{chat}.{category}",
        "The facts, stored for ever in stream EVENTS; category is runtime, ui or business.",
    ),
    "business": (
        "mozaiks.evt.{app}.{chat}.business",
        "What workflows tell the rest of the company: subscribe with a durable consumer of your own.",
    ),
    "commands": (
        "mozaiks.cmd.{app}.{chat}.{name}",
        "Orders to the orchestrator, in stream COMMANDS.",
    ),
    "deltas": (
        "mozaiks.delta.{app}.{chat}",
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
        "mozaiks.live.{app}.{chat}.{kind}",
        "Events and deltas republished once stored: a plain subscription, no consumer.",
    ),
    "dead_letters": ("mozaiks.dlq.{service}.{subject}", "What could never be handled, and why."),
}


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
                name: {
                    "name": name,
                    "contentType": "application/json",
                    "payload": {"schemaFormat": "application/schema+json", "schema": {"$ref": ref}},
                }
                for name, ref in {**events, **orders, **chunk, **asked, **told}.items()
            }
        },
    }


def _channel(name: str, messages: list[str]) -> dict[str, Any]:
    address, description = _CHANNELS[name]
    fields = [part.strip("{}") for part in address.split(".") if part.startswith("{")]
    parameters: dict[str, Any] = {field: {} for field in fields}
    if "category" in parameters:
        parameters["category"] = {"enum": list(subjects.CATEGORIES)}
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
        "stateFact": operation("send", "events", "Only the orchestrator appends."),
        "publishBusinessEvent": operation("send", "business", "Stated by workflows through it."),
        "takeCommand": operation("receive", "commands", "Only the orchestrator takes orders."),
        "streamText": operation("send", "deltas", "Sent while a model speaks."),
        "lookUp": operation("send", "lookups", "Asked by the orchestrator."),
        "tellFinding": operation("send", "findings", "Answered by persistence."),
        "showLive": operation("send", "live", "Republished by JetStream itself."),
        "buryMessage": operation("send", "dead_letters", "By any service that gives up on one."),
    }
