"""The AsyncAPI 3.0 document of NATS: what services publish and subscribe to."""

from typing import Any, get_args

from pydantic import BaseModel

from contracts import commands, subjects
from contracts.business_events import Milestone, RuntimeBusinessEvent
from contracts.chat_pages import (
    ChatIdsFound,
    ChatIdsRequested,
    ChatsFound,
    ChatsRequested,
    StartedChatsFound,
    StartedChatsRequested,
)
from contracts.deltas import Delta
from contracts.events import EVENT_TYPES, Event
from contracts.explanation import ExplanationFound, ExplanationRequested
from contracts.inspection import InspectionFound, InspectionRequested
from contracts.lookups import (
    DataFound,
    DataRequested,
    ForksFound,
    ForksRequested,
    InboxFound,
    InboxRequested,
    MessagesFound,
    MessagesRequested,
    RestoreFound,
    RestoreRequested,
    SnapshotFound,
    SnapshotRequested,
    WorkflowStatsFound,
    WorkflowStatsRequested,
)
from contracts.metrics_pages import STATUS_HEADER, TYPE_HEADER, MetricsPageRequested
from contracts.peers import PeerAnnounced, PeerHoldings
from contracts.readiness import ReadinessRequested, ReadinessShown
from contracts.runtime_log import ModelCallsFound, ModelCallsRequested

_CHANNELS: dict[str, tuple[str, str]] = {
    "events": (
        "mozaiks.evt.{slot}.{app}.{chat}.{branch}",
        (
            "The events of chats, in stream EVENTS; branch is chat or business. A message holds one "
            "decision: one or more envelopes in order, one a line."
        ),
    ),
    "business": (
        "mozaiks.evt.{slot}.{app}.{chat}.business",
        (
            "Business events of workflows: subscribe with a durable consumer of your own. "
            "Exactly one envelope a message."
        ),
    ),
    "milestones": (
        "mozaiks.business.{app}.{chat}.{kind_of_event}",
        (
            "Business events of the runtime itself, in stream BUSINESS, for a week: beginnings and ends "
            "of chats, with RUNTIME_BUSINESS_EVENTS=all also of agents' turns, tool calls and questions."
        ),
    ),
    "commands": (
        "mozaiks.cmd.{slot}.{app}.{chat}.{name}",
        "Commands to the orchestrator, in stream COMMANDS.",
    ),
    "timers": (
        "mozaiks.timer.{slot}.{app}.{chat}.{name}",
        "Commands that JetStream delivers later, in stream COMMANDS.",
    ),
    "deltas": (
        "mozaiks.delta.{slot}.{app}.{chat}",
        "Streamed text and progress of tools, in stream DELTAS, for minutes.",
    ),
    "lookups": (
        "mozaiks.lookup.{app}.{chat}.{request}",
        "Lookups of data that persistence can read, in stream LOOKUPS, for a minute.",
    ),
    "findings": (
        "mozaiks.found.{app}.{chat}.{request}",
        "Answers to lookups, in stream LOOKUPS, for a minute.",
    ),
    "message_queries": (
        "mozaiks.query.messages.{app}.{chat}.{request}",
        "Requests for a page of a chat's transcript, in stream LOOKUPS, for a minute.",
    ),
    "message_answers": (
        "mozaiks.found.messages.{app}.{chat}.{request}",
        "Pages of transcripts, in stream LOOKUPS, for a minute.",
    ),
    "stats_queries": (
        "mozaiks.query.stats.{app}.{workflow}.{request}",
        "Requests for the statistics of one app's workflow, in stream LOOKUPS, for a minute.",
    ),
    "stats_answers": (
        "mozaiks.found.stats.{app}.{workflow}.{request}",
        "Statistics of workflows, in stream LOOKUPS, for a minute.",
    ),
    "snapshot_queries": (
        "mozaiks.query.snapshot.{app}.{chat}.{request}",
        "Requests for the snapshot of a chat, in stream LOOKUPS, for a minute.",
    ),
    "snapshot_answers": (
        "mozaiks.found.snapshot.{app}.{chat}.{request}",
        "Snapshots of chats, in stream LOOKUPS, for a minute.",
    ),
    "inbox_queries": (
        "mozaiks.query.inbox.{app}.{request}",
        "Requests for a page of open questions of an app, in stream LOOKUPS, for a minute.",
    ),
    "inbox_answers": (
        "mozaiks.found.inbox.{app}.{request}",
        "Pages of open questions, in stream LOOKUPS, for a minute.",
    ),
    "chat_queries": (
        "mozaiks.query.chats.{app}.{request}",
        "Requests for a page of the chats of a user, in stream LOOKUPS, for a minute.",
    ),
    "chat_answers": (
        "mozaiks.found.chats.{app}.{request}",
        "Pages of chats, in stream LOOKUPS, for a minute.",
    ),
    "forks_queries": (
        "mozaiks.query.forks.{app}.{chat}.{request}",
        "Requests for the forks of a chat, in stream LOOKUPS, for a minute.",
    ),
    "forks_answers": (
        "mozaiks.found.forks.{app}.{chat}.{request}",
        "Pages of forks, in stream LOOKUPS, for a minute.",
    ),
    "chat_id_queries": (
        "mozaiks.query.chat_ids.{app}.{request}",
        "Requests for the ids of an app's chats, in stream LOOKUPS, for a minute.",
    ),
    "chat_id_answers": (
        "mozaiks.found.chat_ids.{app}.{request}",
        "Ids of chats, in stream LOOKUPS, for a minute.",
    ),
    "started_chat_queries": (
        "mozaiks.query.started_chats.{app}.{request}",
        "Requests for a user's chats in the order of their starts, in stream LOOKUPS, for a minute.",
    ),
    "started_chat_answers": (
        "mozaiks.found.started_chats.{app}.{request}",
        "Pages of chats in the order of their starts, in stream LOOKUPS, for a minute.",
    ),
    "model_call_queries": (
        "mozaiks.query.model_calls.{app}.{request}",
        "Requests for a page of the runtime log of an app, in stream LOOKUPS, for a minute.",
    ),
    "model_call_answers": (
        "mozaiks.found.model_calls.{app}.{request}",
        "Pages of runtime logs, in stream LOOKUPS, for a minute.",
    ),
    "restore_queries": (
        "mozaiks.query.restore.{app}.{chat}.{request}",
        "Requests to restore a chat's events from the archive, in stream LOOKUPS, for a minute.",
    ),
    "restore_answers": (
        "mozaiks.found.restore.{app}.{chat}.{request}",
        "Answers that they are restored, in stream LOOKUPS, for a minute.",
    ),
    "inbox": (
        "mozaiks.inbox.{app}",
        (
            "Changes of inboxes, on core NATS: a JSON list of users (`user:ana`) and roles "
            "(`role:finance`) for whom other questions are open than before."
        ),
    ),
    "live": (
        "mozaiks.live.{slot}.{app}.{chat}.{kind}",
        (
            "Events and deltas republished once stored: a plain subscription, no consumer. Kind is "
            "chat, business or delta."
        ),
    ),
    "peers": (
        "mozaiks.peers.{durable}.all",
        (
            "Announcements of the processes that consume one queue, on core NATS. Where a reply subject "
            "is given, each of them answers there with what it holds."
        ),
    ),
    "peer": (
        "mozaiks.peers.{durable}.{process}",
        (
            "Empty messages on core NATS that ask whether a process is connected: the server answers "
            "503 where it is not, the process answers nothing."
        ),
    ),
    "metrics_pages": (
        subjects.METRICS_PAGES,
        "Requests for a page of the metrics service, on core NATS, with a reply subject.",
    ),
    "metrics_answers": (
        "mozaiks.metrics.answer.{request}",
        (
            f"Pages of the metrics service, on core NATS: compressed by zlib, with `{STATUS_HEADER}` and "
            f"`{TYPE_HEADER}` in their headers."
        ),
    ),
    "explanations": (
        subjects.EXPLANATIONS,
        "Requests to explain a chat, on core NATS, with a reply subject; one orchestrator answers.",
    ),
    "explained": (
        "mozaiks.explained.{request}",
        "What a chat waits for and why, on core NATS: compressed by zlib.",
    ),
    "inspections": (
        subjects.INSPECTIONS,
        (
            "Requests to show a model call as it was sent, a workflow, or an edited copy of one, on core "
            "NATS, with a reply subject; one orchestrator answers."
        ),
    ),
    "inspected": (
        "mozaiks.inspected.{request}",
        "What an orchestrator shows, on core NATS: compressed by zlib.",
    ),
    "readiness": (
        subjects.READINESS,
        "Requests on core NATS, with a reply subject: every process of every service answers.",
    ),
    "readiness_answers": (
        "mozaiks.readiness.answer.{request}",
        "Whether a process is ready, and what it waits for, on core NATS.",
    ),
    "dead_letters": (
        "mozaiks.dlq.{service}.{subject}",
        "Messages that could not be handled, with the reason.",
    ),
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "slot": {
        "description": "CRC-32 (as of zlib) of `app.chat`, both as they are in the subject, modulo "
        f"{subjects.SLOTS}: two digits."
    },
    "kind_of_event": {"enum": [kind for one in get_args(Milestone) for kind in get_args(one)]},
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


LOOKUPS: dict[str, type[BaseModel]] = {
    "lookups": DataRequested,
    "findings": DataFound,
    "message_queries": MessagesRequested,
    "message_answers": MessagesFound,
    "stats_queries": WorkflowStatsRequested,
    "stats_answers": WorkflowStatsFound,
    "snapshot_queries": SnapshotRequested,
    "snapshot_answers": SnapshotFound,
    "inbox_queries": InboxRequested,
    "inbox_answers": InboxFound,
    "chat_queries": ChatsRequested,
    "chat_answers": ChatsFound,
    "model_call_queries": ModelCallsRequested,
    "model_call_answers": ModelCallsFound,
    "forks_queries": ForksRequested,
    "forks_answers": ForksFound,
    "chat_id_queries": ChatIdsRequested,
    "chat_id_answers": ChatIdsFound,
    "started_chat_queries": StartedChatsRequested,
    "started_chat_answers": StartedChatsFound,
    "restore_queries": RestoreRequested,
    "restore_answers": RestoreFound,
}
"""The message of each channel of lookups."""
PEERS: tuple[type[BaseModel], ...] = (PeerAnnounced, PeerHoldings)
"""An announcement, and the answer to one."""
EXPLAINED: tuple[type[BaseModel], ...] = (ExplanationRequested, ExplanationFound)
"""A request to explain a chat, and the answer to one."""
INSPECTED: tuple[type[BaseModel], ...] = (InspectionRequested, InspectionFound)
"""A request to show something, and the answer to one."""
READY: tuple[type[BaseModel], ...] = (ReadinessRequested, ReadinessShown)
"""A request of all processes, and the answer of one."""
MILESTONE_SCHEMA = f"business/{RuntimeBusinessEvent.__name__}.json"
METRICS_SCHEMA = f"metrics/{MetricsPageRequested.__name__}.json"


def document() -> dict[str, Any]:
    """The whole document; message payloads point at the JSON Schemas beside it."""
    events = {kind: f"events/{kind}.v{body.version}.json" for kind, body in EVENT_TYPES.items()}
    business = [k for k, body in EVENT_TYPES.items() if body.category == "business"]
    command_refs = {
        command.model_fields[
            "name"
        ].default: f"commands/{command.model_fields['name'].default}.json"
        for command in get_args(commands.Command)
    }
    chunk = {model.__name__: f"live/{model.__name__}.json" for model in get_args(Delta)}
    lookups = {model.__name__: f"lookups/{model.__name__}.json" for model in LOOKUPS.values()}
    peers = {model.__name__: f"peers/{model.__name__}.json" for model in PEERS}
    pages = {MetricsPageRequested.__name__: METRICS_SCHEMA}
    pages |= {model.__name__: f"explanations/{model.__name__}.json" for model in EXPLAINED}
    pages |= {model.__name__: f"inspections/{model.__name__}.json" for model in INSPECTED}
    pages |= {model.__name__: f"readiness/{model.__name__}.json" for model in READY}
    carried = {
        "events": list(events),
        "business": business,
        "milestones": [RuntimeBusinessEvent.TYPE],
        "commands": list(command_refs),
        "timers": list(command_refs),
        "deltas": list(chunk),
        **{channel: [model.__name__] for channel, model in LOOKUPS.items()},
        "live": [*events, *chunk],
        "peers": list(peers),
        "peer": [],
        "inbox": [],
        "metrics_pages": [MetricsPageRequested.__name__],
        "metrics_answers": [],
        "explanations": [ExplanationRequested.__name__],
        "explained": [ExplanationFound.__name__],
        "inspections": [InspectionRequested.__name__],
        "inspected": [InspectionFound.__name__],
        "readiness": [ReadinessRequested.__name__],
        "readiness_answers": [ReadinessShown.__name__],
        "dead_letters": [],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mozaiks Runtime",
            "version": "1",
            "description": "Ids in subjects are encoded: see contracts/subjects.py, `token`.",
        },
        "servers": {
            "local": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "The nats-server that `make run` starts; NATS_PORT moves it.",
            }
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name, carried[name]) for name in _CHANNELS},
        "operations": _operations(),
        "components": {
            "messages": {
                name: _message(name, ref)
                for name, ref in {**command_refs, **chunk, **lookups, **peers, **pages}.items()
            }
            | {RuntimeBusinessEvent.TYPE: _milestone_message()}
            | {name: _event_message(name, ref, EVENT_TYPES[name]) for name, ref in events.items()}
        },
    }


def _message(name: str, ref: str) -> dict[str, Any]:
    return {"name": name, "contentType": "application/json", "payload": _schema({"$ref": ref})}


def _event_message(name: str, ref: str, event: type[Event]) -> dict[str, Any]:
    """One event of a message: a line."""
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


def _milestone_message() -> dict[str, Any]:
    headers = {**_CLOUD_EVENT, "traceparent": _HEADERS["traceparent"]}
    headers["ce-id"] = {"type": "string", "description": "`id` of the event."}
    return {
        **_message(RuntimeBusinessEvent.TYPE, MILESTONE_SCHEMA),
        "headers": {"type": "object", "properties": headers, "required": list(_CLOUD_EVENT)},
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
        "publishBusinessEvent": operation(
            "send", "business", "Published by tools of workflows through the orchestrator."
        ),
        "publishMilestone": operation(
            "send", "milestones", "Published by persistence, derived from events."
        ),
        "setTimer": operation(
            "send", "timers", "Set by the orchestrator; when due it becomes a command."
        ),
        "takeCommand": operation("receive", "commands", "Only the orchestrator takes commands."),
        "streamText": operation("send", "deltas", "Published while a model streams."),
        "lookUp": operation("send", "lookups", "Requested by the orchestrator."),
        "answerLookup": operation("send", "findings", "Answered by persistence."),
        "queryMessages": operation("send", "message_queries", "Requested by the transport."),
        "answerMessages": operation("send", "message_answers", "Answered by persistence."),
        "queryStats": operation("send", "stats_queries", "Requested by the transport."),
        "answerStats": operation("send", "stats_answers", "Answered by persistence."),
        "queryInbox": operation("send", "inbox_queries", "Requested by the transport."),
        "answerInbox": operation("send", "inbox_answers", "Answered by persistence."),
        "queryChats": operation("send", "chat_queries", "Requested by the transport."),
        "answerChats": operation("send", "chat_answers", "Answered by persistence."),
        "queryChatIds": operation("send", "chat_id_queries", "Requested by the transport."),
        "answerChatIds": operation("send", "chat_id_answers", "Answered by persistence."),
        "announceInbox": operation("send", "inbox", "Published by persistence."),
        "showLive": operation("send", "live", "Republished by JetStream itself."),
        "announcePeer": operation("send", "peers", "Published by each orchestrator, and answered."),
        "probePeer": operation(
            "send", "peer", "Published by two other orchestrators, every 0.2 s."
        ),
        "requestExplanation": operation("send", "explanations", "Requested by the transport."),
        "explain": operation("send", "explained", "Answered by one orchestrator."),
        "requestInspection": operation("send", "inspections", "Requested by the transport."),
        "inspect": operation("send", "inspected", "Answered by one orchestrator."),
        "requestReadiness": operation("send", "readiness", "Requested by the transport."),
        "answerReadiness": operation("send", "readiness_answers", "Answered by every process."),
        "requestMetricsPage": operation("send", "metrics_pages", "Requested by the transport."),
        "answerMetricsPage": operation("send", "metrics_answers", "Answered by metrics."),
        "publishDeadLetter": operation(
            "send", "dead_letters", "Published by the service that gives up on a message."
        ),
    }
