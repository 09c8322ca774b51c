"""A recorded chat is replayed with the real tools, and fails at the first event that differs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.codec import Fact
from contracts.events.turn import RUNTIME, ModelCallFailed, VariablesChanged
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import build_model_factory
from services.orchestrator.testkit import Component, PlayedChat, play
from services.orchestrator.testkit.cassette import (
    Cassette,
    NotRecordableError,
    cassette_of,
    compared,
    first_difference,
)
from services.orchestrator.testkit.replay import check_cassette, replay_cassette
from services.orchestrator.workflows.loading import LoadedWorkflow, load
from services.orchestrator.workflows.spec import DataReference
from tests.orchestrator.agents.execution.test_failed_model_calls import policy
from tests.orchestrator.agents.provider_stub import ErrorReply, ProviderStub, Reply, StreamedReply
from tests.orchestrator.agents.provider_turn import PROVIDER
from tests.orchestrator.chat_harness import SHIPPED
from tests.story import ANA, NEWSROOM, given, heard, says, speaks, start, stop_answer

CHATS: dict[str, tuple[str, list[Any]]] = {
    "questions": ("Generator", ["A garden planner", "Approve"]),
    "components": (
        "Postcard",
        ["a birthday", Component({"approved": True}), Component({"quantity": 10})],
    ),
    "a selector": ("Helpdesk", ["My bill is wrong", "thanks"]),
    "a random speaker": ("Brainstorm", ["A picnic"]),
    "a chat that waits": ("HelloWorld", ["hi"]),
}


async def played(name: str) -> tuple[Path, PlayedChat]:
    workflow, inputs = CHATS[name]
    return SHIPPED / workflow, await play(SHIPPED / workflow, inputs)


def recorded(folder: Path, chat: PlayedChat) -> Cassette:
    loaded = load(folder)
    assert isinstance(loaded, LoadedWorkflow), loaded.problems
    return cassette_of(chat.facts, loaded.workflow)


@pytest.mark.parametrize("name", CHATS)
async def test_a_recorded_chat_is_replayed_event_by_event(name: str, tmp_path: Path) -> None:
    folder, chat = await played(name)
    path = tmp_path / "cassette.json"
    path.write_text(recorded(folder, chat).to_json())
    again = await check_cassette(folder, path)
    assert (again.ended, again.texts) == (chat.ended, chat.texts)


@pytest.fixture
def kitchen(tmp_path: Path) -> Path:
    """A workflow whose client sets variables, and which looks others up in a database."""
    folder = tmp_path / "Kitchen"
    folder.mkdir()
    static = {"type": "static", "value": "usual"}
    lookup = {"type": "data_reference", "database_name": "shop", "collection": "menus"}
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Kitchen", "orchestration_pattern": "DefaultPattern"},
        "agents": {"agents": [{"name": "Cook", "system_message": "{table} {salt} {soup}"}]},
        "context_variables": {
            "definitions": {
                "table": {"source": static, "settable_by": "user"},
                "salt": {"source": static, "settable_by": "user"},
                "price": {"source": {"type": "static", "value": 3}},
                "soup": {"source": {**lookup, "default": "water"}},
            }
        },
    }
    for name, section in sections.items():
        (folder / f"{name}.json").write_text(json.dumps(section))
    return folder


async def test_what_a_client_set_and_what_lookups_found_is_recorded_and_replayed(
    kitchen: Path, tmp_path: Path
) -> None:
    variables = {"table": "by the window", "salt": "usual", "ui_page": "menu", "price": 0}
    chat = await play(kitchen, variables=variables, data={"soup": "leek"})
    cassette = recorded(kitchen, chat)
    assert cassette.variables == {"table": "by the window", "ui_page": "menu"}
    assert cassette.data == {"soup": "leek"}
    path = tmp_path / "cassette.json"
    path.write_text(cassette.to_json())
    again = await check_cassette(kitchen, path)
    assert again.variables == chat.variables


def test_a_lookup_that_found_two_values_is_not_recorded() -> None:
    reference = DataReference("soup", "shop", "menus", refresh="per_phase")
    workflow = replace(NEWSROOM, references=(reference,))
    changes = [VariablesChanged(turn=n, agent=RUNTIME, changed={"soup": n}) for n in (0, 1)]
    story = given(start(message="Hi"), *changes)
    with pytest.raises(NotRecordableError, match="the lookup of soup found another value"):
        cassette_of(story.facts, workflow)


async def test_the_first_event_that_differs_is_named_and_updated_on_request(
    tmp_path: Path,
) -> None:
    folder, chat = await played("components")
    cassette = recorded(folder, chat)
    path = tmp_path / "sale.json"
    number = next(n for n, one in enumerate(cassette.events) if one["type"] == "business.logged")
    cassette.events[number]["metadata"]["price"] = 99
    path.write_text(cassette.to_json())
    with pytest.raises(AssertionError, match=r"^sale\.json: event \d+ \(business\.logged\): "):
        await check_cassette(folder, path)
    await check_cassette(folder, path, update=True)
    await check_cassette(folder, path)
    assert json.loads(path.read_text())["events"][number]["metadata"]["price"] == 3.5


async def test_a_model_call_that_was_not_recorded_fails_the_chat_by_name() -> None:
    folder, chat = await played("a chat that waits")
    cassette = recorded(folder, chat).model_copy(update={"replies": []})
    again = await replay_cassette(folder, cassette)
    difference = first_difference(cassette.events, compared(again.events))
    assert difference is not None
    assert "chat.failed" in json.dumps(compared(again.events))
    assert "call 0 of turn" in json.dumps(compared(again.events))


def test_a_cassette_has_no_ids_prompts_or_tokens_of_the_recorded_chat() -> None:
    story = given(start(message="Write about rain."), speaks(), says("It rains."))
    text = cassette_of(story.facts, NEWSROOM).to_json()
    assert ANA not in text
    assert '"message": "Write about rain."' in text


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ((), "no events"),
        (
            given(start(message="Hi"), speaks(), heard("Wait!")).facts,
            "the user acted while an agent was working",
        ),
        (
            given(start(message="Hi"), speaks(), stop_answer()).facts,
            "the user or a budget stopped an answer",
        ),
    ],
)
def test_what_cannot_be_repeated_is_not_recorded(facts: tuple[Fact, ...], why: str) -> None:
    with pytest.raises(NotRecordableError, match=why):
        cassette_of(facts, NEWSROOM)


DIFFERENCES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], str | None]] = {
    "none": ([{"type": "a"}], [{"type": "a"}], None),
    "a type": ([{"type": "a"}], [{"type": "b"}], 'event 1 (a): type: expected "a", found "b"'),
    "a nested field": (
        [{"type": "a", "parts": [{"text": "x"}]}],
        [{"type": "a", "parts": [{"text": "y"}]}],
        'event 1 (a): parts.0.text: expected "x", found "y"',
    ),
    "a field that is gone": (
        [{"type": "a", "text": "x"}],
        [{"type": "a"}],
        'event 1 (a): text: expected "x", found null',
    ),
    "an event too few": ([{"type": "a"}, {"type": "b"}], [{"type": "a"}], "event 2 (b) is missing"),
    "an event too many": (
        [{"type": "a"}],
        [{"type": "a"}, {"type": "b"}],
        "event 2 (b) was not expected",
    ),
}


@pytest.mark.parametrize(
    ("expected", "found", "difference"), DIFFERENCES.values(), ids=DIFFERENCES.keys()
)
def test_the_first_difference_is_named_by_event_and_field(
    expected: list[dict[str, Any]], found: list[dict[str, Any]], difference: str | None
) -> None:
    assert first_difference(expected, found) == difference


def test_a_cassette_is_read_as_it_was_written() -> None:
    cassette = cassette_of(given(start(message="Hi"), speaks(), says("Hello.")).facts, NEWSROOM)
    assert Cassette.model_validate_json(cassette.to_json()) == cassette


async def test_failed_model_calls_of_a_provider_are_no_part_of_a_cassette(tmp_path: Path) -> None:
    requests: list[str] = []

    def provider(body: Mapping[str, Any]) -> Reply:
        """Refuses a schema, and answers every second request of an agent with nothing."""
        if body.get("response_format", {}).get("type") == "json_schema":
            return ErrorReply(400, None, "This response_format type is unavailable now")
        if "response_format" in body:
            names = body["messages"][-1]["content"].partition("One of: ")[2]
            return StreamedReply([json.dumps({"next": names.split(",")[-1].strip(" .")})])
        requests.append("")
        return StreamedReply(() if len(requests) % 2 else ("We ", "look into it."))

    folder = SHIPPED / "Helpdesk"
    with ProviderStub(provider).running() as stub:
        async with shared_http_client() as client:
            settings = replace(PROVIDER, base_url=stub.url)
            models = build_model_factory(settings, client, 0, {}, policy())
            chat = await play(folder, ["My bill is wrong", "thanks"], models=models)
    failed = {fact.event.code for fact in chat.facts if isinstance(fact.event, ModelCallFailed)}
    assert failed == {"RESPONSE_FORMAT_REFUSED", "MODEL_EMPTY"}
    path = tmp_path / "cassette.json"
    path.write_text(recorded(folder, chat).to_json())
    again = await check_cassette(folder, path)
    assert again.texts == chat.texts
