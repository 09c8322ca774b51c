"""One golden message for every type and version ever released, and the schema that it meets."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import (  # type: ignore[import-untyped]  # it ships no types
    Draft202012Validator,
    FormatChecker,
)

import contracts
from contracts.codec import Origin, decode, encode, open_event, seal
from contracts.envelope import Envelope
from contracts.events import EVENT_TYPES
from contracts.schema import FOLDER
from contracts.subjects import event

EXAMPLES = sorted((Path(contracts.__path__[0]) / "examples").iterdir())
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
    assert event(stored.key, stored.category).endswith(stored.category)


def _sealed_again(stored: Envelope) -> Any:
    origin = Origin(
        stored.key,
        stored.workflow_name,
        stored.time,
        stored.cause,
        stored.actor,
        stored.runner,
        stored.trace,
    )
    fact = seal(open_event(stored), stored.seq, origin)
    assert fact.envelope.event_id == stored.event_id
    return json.loads(encode(fact.envelope))
