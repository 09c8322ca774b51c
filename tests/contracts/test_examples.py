"""One golden message for every type and version ever released, and the schema that it meets."""

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import (  # type: ignore[import-untyped]  # it ships no types
    Draft202012Validator,
    FormatChecker,
)

import contracts
from contracts import event_log
from contracts.codec import Origin, decode, encode, open_event, seal
from contracts.envelope import Envelope
from contracts.event_log import EMPTY
from contracts.events import EVENT_TYPES
from contracts.ids import delivery_of
from contracts.schema import FOLDER
from contracts.subjects import branch, event

HERE = Path(contracts.__path__[0]) / "examples"
EXAMPLES = sorted(HERE.glob("*.json"))
CHATS = sorted((HERE / "messages").iterdir())
RELEASED = {
    f"{kind}.v{version}.json"
    for kind, body in EVENT_TYPES.items()
    for version in range(1, body.version + 1)
}


def schema(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def meets(document: Any, name: str) -> list[str]:
    validator = Draft202012Validator(schema(name), format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_every_released_version_has_an_example_and_a_schema() -> None:
    assert {example.name for example in EXAMPLES} == RELEASED
    assert {file.name for file in (FOLDER / "events").iterdir()} == RELEASED


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_meets_the_schemas_of_its_version(example: Path) -> None:
    document = json.loads(example.read_text())
    assert example.name == f"{document['type']}.v{document['version']}.json"
    assert meets(document, "envelope.json") == []
    assert meets(document["body"], f"events/{example.name}") == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_is_stored_as_it_was_written(example: Path) -> None:
    data = example.read_bytes()
    assert json.loads(encode(decode(data))) == json.loads(data)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_opens_as_a_current_event_that_meets_its_schema(example: Path) -> None:
    stored = decode(example.read_bytes())
    opened = open_event(stored)
    assert type(opened) is EVENT_TYPES[stored.type]
    again = _sealed_again(stored)
    assert meets(again, "envelope.json") == []
    assert meets(again["body"], f"events/{opened.type}.v{opened.version}.json") == []
    assert open_event(decode(json.dumps(again).encode())) == opened


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_stands_where_its_type_says(example: Path) -> None:
    stored = decode(example.read_bytes())
    assert stored.category == EVENT_TYPES[stored.type].category
    assert event(stored.key, stored.category).endswith(branch(stored.category))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_names_its_delivery_and_but_for_a_beginning_the_event_before(
    example: Path,
) -> None:
    stored = decode(example.read_bytes())
    if stored.type == "chat.erased":  # no command of the chat has erased it
        assert stored.runner is None
    else:
        assert stored.runner is not None
        assert delivery_of(stored.runner) is not None
    assert (stored.previous is None) == (stored.seq == 1)
    assert stored.previous is None or len(stored.previous) == 43


@pytest.mark.parametrize("example", CHATS, ids=lambda example: example.stem)
def test_an_outsider_finds_the_slot_and_the_chain_with_the_standard_library(example: Path) -> None:
    seq, previous = 0, None
    for message in json.loads(example.read_text()):
        _, kind, slot, app, chat, branch = message["subject"].split(".")
        assert (kind, slot) == ("evt", f"{zlib.crc32(f'{app}.{chat}'.encode()) % 64:02}")
        lines = message["data"].encode().split(b"\n")
        assert branch == "chat" or len(lines) == 1
        for line in lines:
            envelope = json.loads(line)
            assert envelope["seq"] == seq + 1
            assert envelope.get("previous") == previous
            digest = hashlib.sha256(line).digest()
            seq, previous = envelope["seq"], base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.mark.parametrize("example", CHATS, ids=lambda example: example.stem)
def test_a_chat_of_the_examples_is_read_and_written_as_it_stands(example: Path) -> None:
    """Canonical bytes are for ever: what was released is sealed to the same bytes again."""
    head, branches = EMPTY, list[str]()
    for message in json.loads(example.read_text()):
        found = event_log.read(message["subject"], message["data"].encode())
        assert found.follows(head)
        events = [one.event for one in found.events if one.event is not None]
        origins = [_origin(one.envelope) for one in found.events]
        again = event_log.seal(events, head, origins)
        assert again.data.decode() == message["data"]
        assert again.headers == message["headers"]
        for line in message["data"].split("\n"):
            assert meets(json.loads(line), "envelope.json") == []
        head, branches = found.head, [*branches, found.branch]
    assert branches == ["chat", "business", "chat"]


def _sealed_again(stored: Envelope) -> Any:
    fact = seal(open_event(stored), stored.seq, _origin(stored))
    assert fact.envelope.event_id == stored.event_id
    return json.loads(encode(fact.envelope))


def _origin(stored: Envelope) -> Origin:
    return Origin(
        stored.key,
        stored.workflow_name,
        stored.time,
        stored.cause,
        stored.actor,
        stored.runner,
        stored.trace,
        stored.previous,
    )
