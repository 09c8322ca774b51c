"""The Event Reference: every event, command and delta, from the models in contracts/."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from contracts import asyncapi_nats
from contracts.commands import Command
from contracts.deltas import Delta
from contracts.envelope import Envelope
from contracts.events import EVENT_TYPES
from docs.generators.schema_tables import field_table, meaning

PAGE = Path(__file__).parents[1] / "reference" / "events.md"
_HEAD = """# Event Reference

Every message on NATS, generated from the models in `contracts/`. JSON Schemas are in `contracts/schemas/`, the AsyncAPI document
is `contracts/schemas/asyncapi.json`, and `contracts/examples/` has an example of each event. How messages travel is described in
[Event Pipeline](../runtime/event_pipeline.md).
"""


def text() -> str:
    lines = [_HEAD, *_subjects(), "## Envelope\n", *_model(Envelope), "## Events\n"]
    for name, body in EVENT_TYPES.items():
        lines.append(f"### {name}\n")
        lines.append(f"Version {body.version}, category `{body.category}`.\n")
        lines.extend(_model(body))
    lines.append("## Commands\n")
    for command in get_args(Command):
        lines.append(f"### {command.model_fields['name'].default}\n")
        lines.extend(_model(command))
    lines.append("## Deltas\n")
    for delta in get_args(Delta):
        lines.append(f"### {delta.__name__}\n")
        lines.extend(_model(delta))
    return "\n".join(lines).rstrip() + "\n"


def _subjects() -> Iterator[str]:
    """The channels of the AsyncAPI document, and what the parts of their addresses mean."""
    channels = asyncapi_nats.document()["channels"].values()
    yield "## Subjects\n"
    yield "| subject | messages |"
    yield "|---|---|"
    yield from (f"| `{one['address']}` | {meaning(one)} |" for one in channels)
    yield ""
    parts = {name: part for one in channels for name, part in one.get("parameters", {}).items()}
    yield "| part | meaning |"
    yield "|---|---|"
    for name, part in parts.items():
        values = ", ".join(f"`{value}`" for value in part.get("enum", ()))
        if about := meaning(part) or values:
            yield f"| `{name}` | {about} |"
    yield ""


def _model(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema(mode="serialization")
    if schema.get("description"):
        yield schema["description"].strip() + "\n"
    yield from field_table(schema)
