"""Answers that are recorded, and what is and is not the same request."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ag2.events import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResult,
    ToolResultEvent,
    ToolResultsEvent,
)
from ag2.events.types import Usage
from ag2.response import ResponseSchema
from nats.js.api import KeyValueConfig

from contracts import subjects
from contracts.events.parts import Tokens
from contracts.events.turn import ModelRequested, ModelResponded, UsageRecorded
from contracts.ids import AppId, ChatId, ChatKey, new_chat_id
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.orchestrator.agents.answers import Answers, Recording, recording, request_digest
from services.orchestrator.agents.tools import build_handoff
from services.orchestrator.turns import Outcome, Spoke
from services.orchestrator.workflows.spec import Handoff
from tests.orchestrator.agents.asking import MANNER, OURS, answer
from tests.orchestrator.agents.provider_stub import ANSWERS, ProviderStub, Streams
from tests.orchestrator.agents.stage import MemoryJournal
from tests.orchestrator.world import bus_to
from tests.story import EDITOR, KEY

HEARD = ModelRequest([TextInput("Write about rain.")])
MOST = 100_000


@dataclass
class Record:
    """A record of one test's own, and a provider that is asked where it has nothing."""

    answers: Answers
    stub: ProviderStub

    async def answer(self, key: ChatKey = KEY, **provider: Any) -> tuple[Outcome, MemoryJournal]:
        manner = replace(MANNER, answers=self.answers)
        return await answer(self.stub, manner, replace(OURS, **provider), key=key)


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    async with bus_to(nats.url) as bus:
        yield bus


async def record(bus: Bus, stub: ProviderStub, seed: int | None = 7, most: int = MOST) -> Record:
    config = KeyValueConfig(bucket=f"answers-{new_chat_id()}")
    bucket = await bus.js.create_key_value(config)
    return Record(Answers(bucket, Recording(seed), most), stub)


@pytest.mark.broker
async def test_the_same_request_is_answered_from_the_record_and_costs_nothing(bus: Bus) -> None:
    with ProviderStub(ANSWERS, Streams(words=("Never.",))).running() as stub:
        ours = await record(bus, stub)
        first, _ = await ours.answer()
        again, journal = await ours.answer(ChatKey(KEY.app, ChatId("another")))
        assert len(stub.bodies) == 1
    assert first == again == Spoke("At last.", None)
    assert [text for _, _, text in journal.shown] == ["At last."]
    assert [type(event) for event in journal.events] == [
        ModelRequested,
        ModelResponded,
        UsageRecorded,
    ]
    (spent,) = journal.of(UsageRecorded)
    assert (spent.cached, spent.cost) == (True, 0.0)
    assert spent.tokens == Tokens(prompt=0, completion=0, total=0)
    assert journal.of(ModelResponded)[0].model == "m"


@pytest.mark.broker
async def test_nothing_that_was_said_to_one_app_is_told_to_another(bus: Bus) -> None:
    with ProviderStub(ANSWERS).running() as stub:
        ours = await record(bus, stub)
        await ours.answer()
        _, journal = await ours.answer(ChatKey(AppId("other"), KEY.chat))
        assert len(stub.bodies) == 2
    assert not journal.of(UsageRecorded)[0].cached


@pytest.mark.broker
async def test_without_a_shared_seed_a_record_is_one_chats_own(bus: Bus) -> None:
    with ProviderStub(ANSWERS).running() as stub:
        ours = await record(bus, stub, seed=None)
        for chat in ("one", "two", "one"):
            await ours.answer(ChatKey(KEY.app, ChatId(chat)))
        assert len(stub.bodies) == 2


@pytest.mark.broker
async def test_another_model_or_warmth_is_another_request(bus: Bus) -> None:
    with ProviderStub(ANSWERS).running() as stub:
        ours = await record(bus, stub)
        for _ in range(2):
            await ours.answer()
            await ours.answer(model="gpt-4.1-nano")
            await ours.answer(temperature=0.5)
        assert len(stub.bodies) == 3


@pytest.mark.broker
@pytest.mark.parametrize(
    ("said", "most"), [(Streams(finish="length"), MOST), (ANSWERS, 100)], ids=["cut", "large"]
)
async def test_an_answer_that_is_cut_or_too_large_is_not_recorded(
    bus: Bus, said: Streams, most: int
) -> None:
    with ProviderStub(said).running() as stub:
        ours = await record(bus, stub, most=most)
        await ours.answer()
        outcome, _ = await ours.answer()
        assert len(stub.bodies) == 2
    assert outcome == Spoke("At last.", None)


@pytest.mark.broker
async def test_a_record_that_is_away_fails_no_turn(bus: Bus) -> None:
    with ProviderStub(ANSWERS).running() as stub:
        ours = await record(bus, stub)
        await bus.js.delete_stream(subjects.bucket_stream(ours.answers._bucket._name))
        outcome, journal = await ours.answer()
    assert outcome == Spoke("At last.", None)
    assert not journal.of(UsageRecorded)[0].cached


@pytest.mark.broker
async def test_a_record_that_cannot_be_read_is_asked_afresh(bus: Bus) -> None:
    with ProviderStub(ANSWERS).running() as stub:
        ours = await record(bus, stub)
        await ours.answer()
        bucket = ours.answers._bucket
        (place,) = await bucket.keys()
        await bucket.put(place, b'{"type": "os.system"}')
        outcome, _ = await ours.answer()
        assert len(stub.bodies) == 2
    assert outcome == Spoke("At last.", None)


@pytest.mark.parametrize(
    ("wanted", "seed", "drawn", "how"),
    [
        (None, None, None, None),
        (None, 7, None, Recording(7)),
        (None, 7, 8, Recording(7)),
        (None, None, 8, Recording(8)),
        (True, None, None, Recording(None)),
        (False, 7, 8, None),
    ],
)
def test_answers_are_recorded_where_that_is_wanted_or_a_seed_is_given(
    *, wanted: bool | None, seed: int | None, drawn: int | None, how: Recording | None
) -> None:
    assert recording(wanted=wanted, seed=seed, drawn=drawn) == how


TOOL = build_handoff(Handoff(EDITOR, "when it is time")).schema
ANSWER = ResponseSchema.from_schema({"type": "object", "properties": {}}, name="plan")


def digest(**changed: Any) -> str:
    asked = {"whom": [7], "prompt": ["Write."], "messages": [HEARD], "tools": [], "schema": None}
    return request_digest(**{**asked, **changed})


def test_whatever_an_answer_depends_on_makes_another_request() -> None:
    others = [
        digest(),
        digest(whom=[8]),
        digest(prompt=["Write well."]),
        digest(messages=[HEARD, HEARD]),
        digest(tools=[TOOL]),
        digest(schema=ANSWER),
    ]
    assert len(set(others)) == len(others)
    assert digest() == digest()


def called(ids: tuple[str, str], tokens: int, text: str = "seen") -> list[Any]:
    """Two calls and their results, of which the second is heard first."""
    calls = [ToolCallEvent("look", id=one, arguments="{}") for one in ids]
    results = [
        ToolResultEvent(parent_id=one, name="look", result=ToolResult(f"{text} {place}"))
        for place, one in enumerate(ids)
    ]
    said = ModelResponse(
        ModelMessage("I look."),
        tool_calls=ToolCallsEvent(calls),
        usage=Usage(prompt_tokens=tokens),
        response_id=f"of {ids}",
    )
    return [HEARD, said, ToolResultsEvent(results[::-1])]


def test_ids_and_counts_of_a_provider_do_not() -> None:
    assert digest(messages=called(("a", "b"), 3)) == digest(messages=called(("c", "d"), 4))
    assert digest(messages=called(("a", "b"), 3)) != digest(messages=called(("a", "a"), 3))
    assert digest(messages=called(("a", "b"), 3)) != digest(
        messages=called(("a", "b"), 3, text="heard")
    )
