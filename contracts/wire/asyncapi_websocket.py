"""The AsyncAPI 3.0 document of the WebSocket: what a client receives, and what it may send."""

import re
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts.wire.client_messages import ClientMessage
from contracts.wire.frames import FRAMES, FrameData

Json = dict[str, Any]

ADDRESS = "/ws/{workflow_name}/{app_id}/{chat_id}/{user_id}"
SERVERS: Json = {
    "local": {
        "host": "127.0.0.1:8000",
        "protocol": "ws",
        "description": "The transport that `make run` starts; PORT moves it.",
    }
}
_REFERENCE = "#/components/schemas/{model}"
_QUERY: Json = {
    "after": {
        "type": "integer",
        "minimum": 0,
        "description": "The newest `seq` that the client has. Without it the client is ChatUI: its "
        "history is replayed without `seq`, and it may say its cursor by `client.resume`.",
    },
    "tail": {
        "type": "integer",
        "minimum": 1,
        "maximum": 500,
        "description": "Instead of `after`: only so many of the newest events, and those since the "
        "oldest open question, in `chat.history` frames. Earlier ones are pages of `GET "
        "/api/chats/{app_id}/{chat_id}/events?before=`.",
    },
    "events": {
        "enum": ["0", "1"],
        "description": "1 adds a `chat.event` frame for every event (operators only).",
    },
    "ticket": {
        "type": "string",
        "description": "A one-time ticket of `POST /api/ws-ticket`, instead of a token.",
    },
    "access_token": {
        "type": "string",
        "description": "A token, only with MOZAIKS_WS_ALLOW_QUERY_TOKEN=true.",
    },
}
_PARAMETERS: Json = {
    "workflow_name": {"description": "The chat's workflow."},
    "app_id": {"description": "The app (tenant) that the chat belongs to."},
    "chat_id": {"description": "The chat."},
    "user_id": {"description": "The chat's user."},
}


def document() -> Json:
    """The whole document; every schema is inside it."""
    frames = {data.__name__.removesuffix("Data"): data for data in FRAMES}
    messages = {message.__name__: message for message in get_args(ClientMessage)}
    models: list[type[BaseModel]] = [*frames.values(), *messages.values()]
    _, definitions = models_json_schema(
        [
            (model, "serialization" if issubclass(model, FrameData) else "validation")
            for model in models
        ],
        ref_template=_REFERENCE,
    )
    schemas: Json = definitions["$defs"]
    for name, data in frames.items():
        schemas[name] = frame_schema(data, {"$ref": _REFERENCE.format(model=data.__name__)})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mozaiks Runtime: WebSocket",
            "version": "1",
            "description": "One socket shows one chat at a time. The transport closes it with 1008 "
            "where the connection is refused for good (the last frame is a `chat.error`), with "
            "1013 where it may be tried again. Subprotocols `bearer, <token>` carry a token.",
        },
        "servers": SERVERS,
        "defaultContentType": "application/json",
        "channels": {
            "chat": {
                "address": ADDRESS,
                "description": "A chat as its user sees it.",
                "parameters": _PARAMETERS,
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"} for name in (*frames, *messages)
                },
                "bindings": {"ws": {"query": {"type": "object", "properties": _QUERY}}},
            }
        },
        "operations": {
            "showFrame": _operation("send", "The transport sends frames.", frames),
            "takeMessage": _operation("receive", "The transport takes messages.", messages),
        },
        "components": {
            "messages": {
                name: _message(name, model) for name, model in (frames | messages).items()
            },
            "schemas": schemas,
        },
    }


def frame_schema(data: type[FrameData], reference: Json) -> Json:
    """The JSON Schema of a whole frame: `data`, and what is repeated beside it."""
    fields = data.model_json_schema(mode="serialization", ref_template=_REFERENCE)["properties"]
    beside = [*data.promoted, *(["agent"] if "agent" in fields else []), "replay", "index"]
    return {
        "type": "object",
        "description": _summary(data),
        "properties": {
            "type": {"const": data.frame_type},
            "data": reference,
            "timestamp": {"type": "string", "format": "date-time"},
            "seq": {
                "type": "integer",
                "minimum": 0,
                "description": "Number of the event in its chat: the client's cursor.",
            },
            **{name: fields[name] for name in dict.fromkeys(beside)},
        },
        "required": ["type", "data"],
    }


def _message(name: str, model: type[BaseModel]) -> Json:
    return {
        "name": _type_of(model),
        "title": name,
        "summary": _summary(model),
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _type_of(model: type[BaseModel]) -> str:
    if issubclass(model, FrameData):
        return model.frame_type
    (kind,) = get_args(model.model_fields["type"].annotation)
    return str(kind)


def _summary(model: type[BaseModel]) -> str:
    return re.split(r"\n\s*\n", (model.__doc__ or "").strip())[0]


def _operation(action: str, summary: str, messages: Json) -> Json:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/chat"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/chat/messages/{name}"} for name in messages],
    }
