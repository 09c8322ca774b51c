"""What may change in the published schemas, and what only a raised GENERATION lets pass."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contracts import compatibility
from contracts.compatibility import breaks, main
from contracts.schema import FOLDER

Json = dict[str, Any]

NAME: Json = {"type": "string"}
PART: Json = {"type": "object", "title": "Part", "properties": {"text": NAME}, "required": ["text"]}
PICTURE: Json = {"type": "object", "title": "Picture", "properties": {"url": NAME}}


def whole(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": ["name"]}


def found(old: Json, new: Json) -> list[str]:
    return breaks({"a.json": json.dumps(old)}, {"a.json": json.dumps(new)})


def of(old: Json, new: Json) -> list[str]:
    """The breaks where only property `it` differs."""
    return found(whole(name=NAME, it=old), whole(name=NAME, it=new))


def referring(part: Json, **others: Json) -> Json:
    return {"$defs": {"Part": part, **others}, **whole(name=NAME, it={"$ref": "#/$defs/Part"})}


TREE: Json = {
    "type": "object",
    "properties": {"leaf": NAME, "branches": {"type": "array", "items": {"$ref": "#/$defs/Part"}}},
}

BREAKING: dict[str, tuple[Json, Json, str]] = {
    "another type": (NAME, {"type": "integer"}, "it: integer where it was string"),
    "a type where there was none": ({}, NAME, "it: string where it was anything"),
    "one of its types": (
        {"type": ["string", "null"]},
        NAME,
        "it: string where it was null or string",
    ),
    "an alternative": ({"anyOf": [NAME, {"type": "null"}]}, NAME, "it: no longer null"),
    "an alternative object": (
        {"anyOf": [PART, PICTURE]},
        {"anyOf": [PART, {"type": "null"}]},
        "it: no longer Picture",
    ),
    "a property of an alternative": (
        {"oneOf": [PART, PICTURE]},
        {"oneOf": [{**PART, "properties": {}, "required": []}, PICTURE]},
        "it.text: removed",
    ),
    "a member": ({"enum": ["a", "b"]}, {"enum": ["a"]}, 'it: no longer "b"'),
    "a member, to a constant": ({"enum": ["a", "b"]}, {"const": "a"}, 'it: no longer "b"'),
    "a constant": ({"const": "a"}, {"const": "b"}, 'it: no longer "a"'),
    "all but some values": (NAME, {**NAME, "enum": ["a"]}, 'it: only ["a"]'),
    "a lower maximum": ({"maximum": 9}, {"maximum": 8}, "it: maximum 8 where it was 9"),
    "a maximum at all": (NAME, {**NAME, "maxLength": 8}, "it: maxLength 8 where it was None"),
    "a higher minimum": ({"minimum": 0}, {"minimum": 1}, "it: minimum 1 where it was 0"),
    "a pattern": (NAME, {**NAME, "pattern": "^a"}, 'it: pattern "^a" where it was null'),
    "another format": (
        {**NAME, "format": "date"},
        {**NAME, "format": "date-time"},
        'it: format "date-time" where it was "date"',
    ),
    "what an array holds": (
        {"type": "array", "items": NAME},
        {"type": "array", "items": {"type": "integer"}},
        "it[]: integer where it was string",
    ),
    "what an array holds first": (
        {"prefixItems": [NAME]},
        {"prefixItems": [{"type": "integer"}]},
        "it[0]: integer where it was string",
    ),
    "how much an array holds": (
        {"prefixItems": [NAME]},
        {"prefixItems": [NAME, NAME]},
        "it: 2 first items where there were 1",
    ),
    "an array that goes on": (
        {"prefixItems": [NAME]},
        {"prefixItems": [NAME], "items": False},
        "it: refuses further items",
    ),
    "properties that are not named": (
        {"type": "object"},
        {"type": "object", "additionalProperties": False},
        "it: refuses properties that are not named",
    ),
    "what they hold": (
        {"type": "object", "additionalProperties": {}},
        {"type": "object", "additionalProperties": NAME},
        "it.*: string where it was anything",
    ),
}

HARMLESS: dict[str, tuple[Json, Json]] = {
    "other words": ({**NAME, "description": "a"}, {**NAME, "description": "b", "title": "It"}),
    "another type more": (NAME, {"anyOf": [NAME, {"type": "null"}]}),
    "another alternative more": ({"anyOf": [PART]}, {"anyOf": [PICTURE, PART]}),
    "a member more": ({"enum": ["a"]}, {"enum": ["b", "a"]}),
    "any member": ({**NAME, "enum": ["a"]}, NAME),
    "a higher maximum": ({"maximum": 8}, {"maximum": 9}),
    "no pattern": ({**NAME, "pattern": "^a"}, NAME),
    "any property": (
        {"type": "object", "additionalProperties": False},
        {"type": "object"},
    ),
    "a reference to the same": ({"anyOf": [NAME]}, NAME),
}


@pytest.mark.parametrize("kind", BREAKING)
def test_it_breaks_readers_or_writers_to_take_away(kind: str) -> None:
    old, new, said = BREAKING[kind]
    assert of(old, new) == [f"a.json: {said}"]


@pytest.mark.parametrize("kind", HARMLESS)
def test_it_breaks_nobody_to_change(kind: str) -> None:
    assert of(*HARMLESS[kind]) == []


def test_a_property_may_be_added_where_it_is_optional_and_never_removed() -> None:
    old, new = whole(name=NAME), whole(name=NAME, more=NAME)
    assert found(old, new) == []
    assert found(new, old) == ["a.json: more: removed"]
    assert found(old, {**new, "required": ["name", "more"]}) == ["a.json: more: newly required"]


def test_a_property_may_become_optional_and_not_required() -> None:
    strict, loose = whole(name=NAME), {**whole(name=NAME), "required": []}
    assert found(strict, loose) == []
    assert found(loose, strict) == ["a.json: name: newly required"]


def test_what_a_reference_leads_to_is_compared_wherever_it_is_kept() -> None:
    broken = {**PART, "properties": {"text": {"type": "integer"}}}
    assert found(referring(PART), whole(name=NAME, it=PART)) == []
    assert found(referring(PART), referring(broken)) == [
        "a.json: it.text: integer where it was string"
    ]


def test_a_schema_that_holds_itself_is_compared_once() -> None:
    felled = {**TREE, "properties": {**TREE["properties"], "leaf": {"type": "integer"}}}
    assert found(referring(TREE), referring(TREE)) == []
    assert found(referring(TREE), referring(felled)) == [
        "a.json: it.leaf: integer where it was string"
    ]


def test_a_file_may_be_added_and_never_removed() -> None:
    text = json.dumps(whole(name=NAME))
    assert breaks({}, {"a.json": text}) == []
    assert breaks({"a.json": text}, {}) == ["a.json: removed"]


def test_a_channel_keeps_its_address_and_its_messages() -> None:
    events = {"address": "evt.{app}", "messages": {"a": {}, "b": {}}}
    old = {"asyncapi": "3.0.0", "channels": {"events": events}}

    def said(**channels: Json) -> list[str]:
        return found(old, {"asyncapi": "3.0.0", "channels": channels})

    assert said(events=events, more=events) == []
    assert said() == ["a.json: channel events: removed"]
    assert said(events={**events, "address": "evt"}) == [
        "a.json: channel events: address evt.{app} became evt"
    ]
    assert said(events={**events, "messages": {"a": {}}}) == [
        "a.json: channel events: message b removed"
    ]


def test_a_break_passes_with_a_raised_generation_alone() -> None:
    old = {"a.json": "{}"}
    assert breaks(old, {"GENERATION": "1\n"}) == []
    assert breaks({**old, "GENERATION": "1\n"}, {"GENERATION": "1\n"}) == ["a.json: removed"]
    assert breaks({"GENERATION": "2\n"}, {"GENERATION": "1\n"}) == ["GENERATION: 1 where it was 2"]


def test_each_property_of_what_is_published_would_be_missed() -> None:
    for file in FOLDER.rglob("*.json"):
        old = json.loads(file.read_text())
        for name in old.get("properties", {}):
            new = {**old, "properties": {n: s for n, s in old["properties"].items() if n != name}}
            assert found(old, new) == [f"a.json: {name}: removed"], file
        assert found(old, old) == []


# -- the entry point ------------------------------------------------------------------------------


class Repository:
    """A repository with a folder of schemas."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "schemas"
        self.folder.mkdir()
        self._git("init", "--quiet")

    def write(self, schema: Json | None, generation: int = 0) -> None:
        target = self.folder / "events" / "a.json"
        target.parent.mkdir(exist_ok=True)
        target.unlink(missing_ok=True)
        if schema is not None:
            target.write_text(json.dumps(schema))
        if generation:
            (self.folder / "GENERATION").write_text(f"{generation}\n")

    def commit(self) -> None:
        self._git("add", "--all")
        who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        self._git(*who, "commit", "--quiet", "--no-gpg-sign", "--message", "a commit")

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self.folder.parent), *arguments], check=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path)
    monkeypatch.setattr(compatibility, "FOLDER", made.folder)
    monkeypatch.delenv("CI", raising=False)
    return made


def test_a_break_since_the_last_commit_is_told_and_fails(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write(whole(name=NAME, more=NAME))
    repository.commit()
    assert main() == 0
    repository.write(whole(name=NAME))
    assert main() == 1
    assert "contracts/schemas/events/a.json: more: removed (since " in capsys.readouterr().out
    repository.write(whole(name=NAME), generation=1)
    assert main() == 0


def test_under_ci_the_last_commit_itself_is_judged(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write(whole(name=NAME))
    repository.commit()
    monkeypatch.setenv("CI", "true")
    assert main() == 0  # nothing came before it
    repository.write(None)
    repository.commit()
    assert main() == 1


def test_a_break_of_an_earlier_commit_is_still_one(repository: Repository) -> None:
    repository.write(whole(name=NAME, more=NAME), generation=1)
    repository.commit()
    repository.write(whole(name=NAME))
    repository.commit()
    repository.write(whole(name=NAME, other=NAME))
    repository.commit()
    assert main() == 1
    repository.write(whole(name=NAME, other=NAME), generation=2)
    repository.commit()
    assert main() == 0


def test_without_a_history_there_is_nothing_to_compare_with(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    repository.write(whole(name=NAME))
    assert main() == 0
    monkeypatch.setattr(compatibility, "FOLDER", tmp_path_factory.mktemp("unpacked"))
    assert main() == 0


def test_a_schema_inside_an_asyncapi_document_is_compared_too() -> None:
    def document(**fields: str) -> str:
        properties = {name: {"type": type_} for name, type_ in fields.items()}
        schemas = {"Frame": {"type": "object", "properties": properties}}
        return json.dumps({"asyncapi": "3.0.0", "channels": {}, "components": {"schemas": schemas}})

    old = {"socket.json": document(text="string")}
    assert breaks(old, {"socket.json": document(text="string", more="integer")}) == []
    assert breaks(old, {"socket.json": document(more="integer")}) == [
        "socket.json: Frame.text: removed"
    ]
