"""The WebSocket Reference: every frame and every client message, from their models."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from contracts.wire.client_messages import ClientMessage
from contracts.wire.frames import FRAMES, FrameData
from docs.generators.schema_tables import field_table

PAGE = Path(__file__).parents[1] / "reference" / "websocket.md"
_HEAD = """# WebSocket Reference

The messages of `/ws/{workflow_name}/{app_id}/{chat_id}/{user_id}`, generated from their models in `contracts/wire/`. The same models make
the AsyncAPI document `contracts/schemas/websocket.asyncapi.json`. How a connection works is described in
[Transport & Streaming](../runtime/transport_and_streaming.md). Server-sent events and JSON pages carry the same frames.

## Frames of the transport

A frame is a JSON object with `type`, `data` and `timestamp`, and with `seq` where it belongs to an event. Some members of `data` are
repeated beside `type`, as ChatUI expects them there; so is `agent` wherever `data` has it.
"""


def text() -> str:
    lines = [_HEAD]
    for name, frames in groupby(sorted(FRAMES, key=_frame_type), key=_frame_type):
        lines.append(f"### {name}\n")
        for frame in frames:
            lines.extend(_frame(frame))
    lines.append("## Messages of the client\n")
    for message in get_args(ClientMessage):
        (name,) = get_args(message.model_fields["type"].annotation)
        lines.append(f"### {name}\n")
        lines.extend(_model(message))
    return "\n".join(lines).rstrip() + "\n"


def _frame_type(frame: type[FrameData]) -> str:
    return frame.frame_type


def _frame(frame: type[FrameData]) -> Iterator[str]:
    yield from _model(frame)
    if frame.promoted:
        yield f"Repeated beside `type`: {', '.join(f'`{name}`' for name in frame.promoted)}.\n"


def _model(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema(mode="validation")
    if schema.get("description"):
        yield schema["description"].strip() + "\n"
    yield from field_table(schema)
