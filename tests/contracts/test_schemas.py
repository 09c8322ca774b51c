"""The published schemas and the AsyncAPI document say what the code does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from contracts import commands, schema, subjects
from contracts.asyncapi_nats import document
from contracts.events import EVENT_TYPES, Event
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted
from contracts.ids import AppId, ChatId, ChatKey
from contracts.schema import FOLDER, differences, documents, main
from tests.logs import decisions

FILES = sorted(FOLDER.rglob("*.json"))
RETIRED = {
    f"events/{kind}.v{version}.json"
    for kind, body in EVENT_TYPES.items()
    for version in range(1, body.version)
}


def test_the_folder_holds_what_the_code_says() -> None:
    assert differences() == []


def test_the_folder_holds_nothing_but_generated_files_and_retired_versions() -> None:
    assert {file.relative_to(FOLDER).as_posix() for file in FILES} == set(documents()) | RETIRED


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_an_event_is_named_family_and_past_and_its_version_counts_from_one(kind: str) -> None:
    family, _, fact = kind.partition(".")
    assert family in {"chat", "turn", "human", "ui", "business", "run", "budget"}
    assert fact
    assert EVENT_TYPES[kind].version >= 1


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.name != "asyncapi.json"], ids=lambda file: file.stem
)
def test_a_schema_is_a_json_schema(file: Path) -> None:
    Draft202012Validator.check_schema(json.loads(file.read_text()))


def test_a_change_that_was_not_written_out_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "FOLDER", tmp_path)
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "envelope.json").write_text("{}")
    (tmp_path / "events/chat.failed.v1.json").unlink()
    assert main(["--check"]) == 1
    told = capsys.readouterr().out
    assert "envelope.json differs" in told
    assert "chat.failed.v1.json differs" in told


def test_writing_leaves_retired_versions_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(schema, "FOLDER", tmp_path)
    retired = tmp_path / "events/turn.usage_recorded.v1.json"
    retired.parent.mkdir()
    retired.write_text("{}")
    schema.write()
    assert retired.read_text() == "{}"
    assert schema.differences() == []


def test_the_bus_is_described_in_asyncapi_3() -> None:
    described = document()
    assert described["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(described["info"])
    for channel in described["channels"].values():
        named = {part[1:-1] for part in channel["address"].split(".") if part.startswith("{")}
        assert set(channel["parameters"]) == named
    for operation in described["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert "$ref" in operation["channel"]


def test_every_reference_of_the_document_leads_somewhere() -> None:
    described = document()
    references = list(_references(described))
    assert references
    for reference in references:
        assert _resolved(described, reference), reference


def test_the_document_carries_every_event_and_order_and_what_is_streamed() -> None:
    described = document()
    orders = {order.model_fields["name"].default for order in get_args(commands.Command)}
    assert set(described["channels"]["events"]["messages"]) == set(EVENT_TYPES)
    for channel in ("commands", "timers"):
        assert set(described["channels"][channel]["messages"]) == orders
    assert set(described["channels"]["business"]["messages"]) == {"business.logged"}
    assert set(described["channels"]["live"]["messages"]) == {
        *EVENT_TYPES,
        "TextStreamed",
        "ToolProgressed",
        "WaitReported",
    }


def test_the_addresses_of_the_document_are_those_that_are_built() -> None:
    key = ChatKey(AppId("a"), ChatId("c"))
    built = {
        "events": subjects.event(key, "ui"),
        "timers": subjects.timer(key, "start_chat"),
        "business": subjects.event(key, "business"),
        "commands": subjects.command(key, "start_chat"),
        "deltas": subjects.delta(key),
        "live": subjects.live(key).replace("*", "chat"),
        "lookups": subjects.lookup(key, "r-1"),
        "findings": subjects.found(key, "r-1"),
    }
    filled = {"slot": subjects.slot(key), "app": "a", "chat": "c", "branch": "chat"}
    filled |= {"kind": "chat", "name": "start_chat", "request": "r-1"}
    for name, subject in built.items():
        assert document()["channels"][name]["address"].format(**filled) == subject


def test_the_document_says_how_events_are_carried() -> None:
    key = ChatKey(AppId("acme.corp"), ChatId("c"))
    logged = BusinessLogged(log_event_type="x", message="x")
    events: list[Event] = [ChatCompleted(reason="x", turns=1), logged]
    for decision in decisions(events, key):
        one = decision.first
        message = document()["components"]["messages"][one.type]
        of_line = message["payload"]["schema"]["allOf"]
        assert of_line[0] == {"$ref": "envelope.json"}
        assert of_line[1]["properties"]["type"] == {"const": one.type}
        assert set(message["headers"]["required"]) == set(decision.headers)
        Draft202012Validator(message["headers"]).validate(decision.headers)
        assert message["contentType"] == (
            "application/json" if one.category == "business" else "application/jsonl"
        )


def _references(node: Any) -> Iterator[str]:
    match node:
        case dict():
            for key, value in node.items():
                if key == "$ref":
                    yield value
                else:
                    yield from _references(value)
        case list():
            for value in node:
                yield from _references(value)
        case _:
            return


def _resolved(described: Any, reference: str) -> bool:
    if not reference.startswith("#/"):
        return (FOLDER / reference).is_file()
    node = described
    for part in reference[2:].split("/"):
        if part not in node:
            return False
        node = node[part]
    return True
