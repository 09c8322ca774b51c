"""The AsyncAPI documents name every message, and the one of the WebSocket describes real frames."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema  # type: ignore[import-untyped]
import pytest

from contracts import asyncapi_nats as nats_asyncapi
from contracts.wire import asyncapi_websocket
from contracts.wire.client_messages import ClientMessage
from contracts.wire.frames import FRAMES
from tests.contracts.wire.test_frames import golden_frames

DOCUMENT = asyncapi_websocket.document()
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_every_reference_of_the_documents_leads_somewhere() -> None:
    for document in (DOCUMENT, nats_asyncapi.document()):
        for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
            found: Any = document
            for step in reference.split("/"):
                found = found[step]


def test_both_documents_name_a_server() -> None:
    assert DOCUMENT["servers"]["local"]["protocol"] == "ws"
    assert nats_asyncapi.document()["servers"]["local"]["protocol"] == "nats"


def test_every_frame_and_every_client_message_is_a_message_of_its_direction() -> None:
    sent = DOCUMENT["operations"]["showFrame"]["messages"]
    taken = DOCUMENT["operations"]["takeMessage"]["messages"]
    assert len(sent) == len(FRAMES)
    assert len(taken) == len(get_args(ClientMessage))
    assert len(DOCUMENT["components"]["messages"]) == len(sent) + len(taken)


def test_golden_frames_are_valid_against_their_schemas() -> None:
    by_type: dict[str, list[Any]] = {}
    for name in DOCUMENT["components"]["messages"]:
        kind = SCHEMAS[name]["properties"]["type"]["const"]
        by_type.setdefault(kind, []).append(name)
    for frame in golden_frames():
        schema = {
            "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in by_type[frame["type"]]],
            "components": {"schemas": SCHEMAS},
        }
        jsonschema.validate(frame, schema)


@pytest.mark.parametrize("model", [*FRAMES, *get_args(ClientMessage)], ids=lambda one: one.__name__)
def test_every_model_of_the_wire_is_described(model: type[Any]) -> None:
    assert model.__doc__, model.__name__


def test_the_written_document_is_this_one() -> None:
    folder = Path(asyncapi_websocket.__file__).parents[1] / "schemas"
    assert json.loads((folder / "websocket.asyncapi.json").read_text()) == DOCUMENT
