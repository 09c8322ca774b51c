"""A chat that outgrows its model: summarised for models, whole for people, the same when resumed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ag2 import Agent
from ag2.config import LLMClient, ModelConfig
from ag2.context import ConversationContext
from ag2.events import (
    BaseEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallsEvent,
    ToolResultsEvent,
)
from ag2.events.types import Usage

from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatFailed, HistoryCompacted
from contracts.events.parts import Tokens
from contracts.events.turn import RUNTIME, ModelRequested, ModelResponded, UsageRecorded
from services.orchestrator.agents.asked import AskedConfig
from services.orchestrator.agents.build import build_cast
from services.orchestrator.agents.compaction import (
    CHARS_PER_TOKEN,
    NEAR,
    Due,
    compact,
    due,
    estimate,
)
from services.orchestrator.agents.faults import TOO_LONG, UNREACHABLE, ModelFaultError
from services.orchestrator.agents.models import Models, asked_of, shared_client
from services.orchestrator.agents.offer import Edition, Offer
from services.orchestrator.agents.turn import Task
from services.orchestrator.projection import (
    SUMMARY,
    Heard,
    Passage,
    Spoke,
    conversation,
    messages,
    unsummarised,
)
from services.orchestrator.workflows.loading import Loaded
from services.orchestrator.workflows.spec import USER
from tests.orchestrator.agents.asking import MANNER, OURS
from tests.orchestrator.agents.provider_stub import ProviderStub, Streams
from tests.orchestrator.agents.stage import call
from tests.orchestrator.agents.test_resuming import MemoryChat, begun, play
from tests.orchestrator.casts import WRITER, cast, timeless
from tests.story import KEY, Story, done, given, heard, says, speaks

WINDOW = 400
TINY = "tiny-model"
LONG = "It rains and rains and does not stop raining. " * 6


@dataclass
class Wire(ModelConfig):
    """A provider whose answers depend on the request alone; it refuses one beyond the window.

    `heard` is what it was asked, `summaries` how often for one.
    """

    counts: bool = False
    summarises: bool = True
    heard: list[Sequence[BaseEvent]] = field(default_factory=list)
    summaries: int = 0

    @property
    def provider(self) -> Any:
        raise NotImplementedError

    @property
    def model(self) -> str:
        return TINY

    def copy(self) -> "Wire":
        return self

    def create(self) -> LLMClient:
        return _Client(self)

    def create_files_client(self) -> Any:
        raise NotImplementedError


class _Client(LLMClient):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **_: Any
    ) -> ModelResponse:
        size = sum(len(line) for line in (*context.prompt, *map(words, messages)))
        if context.prompt[0].startswith("You keep the minutes"):
            return self._summary(messages)
        if size / CHARS_PER_TOKEN > WINDOW:
            raise ModelFaultError(TOO_LONG)
        self._wire.heard.append(list(messages))
        return self._reply(messages, size)

    def _summary(self, messages: Sequence[BaseEvent]) -> ModelResponse:
        if not self._wire.summarises:
            raise ModelFaultError(UNREACHABLE)
        self._wire.summaries += 1
        return spoken(f"It is about rain ({len(words(messages[0]))}).", 0)

    def _reply(self, messages: Sequence[BaseEvent], size: int) -> ModelResponse:
        counted = size // CHARS_PER_TOKEN if self._wire.counts else 0
        calls = sum(isinstance(message, ToolResultsEvent) for message in messages)
        if calls == 0 or isinstance(messages[-1], ModelRequest):
            note = call("note", f"n{len(messages)}-{size}", '{"text": "rain"}')
            return spoken("I note it.", counted, note)
        return spoken(LONG, counted)


def spoken(text: str, tokens: int, *calls: Any) -> ModelResponse:
    return ModelResponse(
        ModelMessage(text),
        tool_calls=ToolCallsEvent(list(calls)),
        usage=Usage(prompt_tokens=tokens, completion_tokens=len(text) // CHARS_PER_TOKEN),
        model=TINY,
        provider="test",
        finish_reason="stop",
    )


def words(event: BaseEvent) -> str:
    match event:
        case ModelRequest(parts=parts):
            return "".join(part.content for part in parts if isinstance(part, TextInput))
        case ModelResponse():
            return (event.content or "") + "".join(c.arguments for c in event.tool_calls.calls)
        case _:
            return ""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """The writer and the person, who take turns until the writer has had eight."""
    pattern = cast(tmp_path)["RoundRobinPattern"]
    writer = replace(pattern.workflow.agents[WRITER], after_work=USER)
    workflow = replace(pattern.workflow, agents={WRITER: writer}, after_user=WRITER, max_turns=8)
    return replace(pattern, workflow=workflow)


async def played(loaded: Loaded, story: Story, wire: Wire) -> MemoryChat:
    """The chat from where the story ends to its end, on a model with a small window."""
    manner = replace(MANNER, windows={TINY: WINDOW})
    models = Models(TINY, demo=False, config_of=lambda _, __: AskedConfig([wire], manner))
    edition = Edition(loaded, build_cast(loaded, models))
    return await play(loaded, story, Offer({loaded.workflow.name: edition}))


@pytest.mark.parametrize("counts", [False, True])
async def test_a_long_chat_on_a_small_model_goes_on_to_its_end(
    loaded: Loaded, *, counts: bool
) -> None:
    wire = Wire(counts=counts)
    chat = await played(loaded, begun(loaded), wire)
    assert chat.of(ChatCompleted)
    summaries = chat.of(HistoryCompacted)
    assert len(summaries) == wire.summaries > 1
    assert all(one.tokens_before >= NEAR * WINDOW for one in summaries)
    assert summaries == sorted(summaries, key=lambda one: one.through_turn)
    spent = [one for one in chat.of(UsageRecorded) if one.agent == RUNTIME]
    assert len(spent) == len(summaries)


async def test_models_hear_the_summary_first_and_people_keep_the_whole(loaded: Loaded) -> None:
    wire = Wire()
    chat = await played(loaded, begun(loaded), wire)
    assert "Write about rain." in words(wire.heard[-1][0])
    assert words(wire.heard[-1][1]).startswith(f"{SUMMARY}It is about rain")
    said = [message["content"] for message in messages(chat.story.state)]
    assert said.count(LONG) == 8
    assert not [text for text in said if text and SUMMARY in text]


async def test_no_summary_parts_a_call_from_its_result(loaded: Loaded) -> None:
    wire = Wire()
    await played(loaded, begun(loaded), wire)
    for request in wire.heard:
        for place, event in enumerate(request):
            if isinstance(event, ModelResponse) and event.tool_calls.calls:
                result = request[place + 1]
                assert isinstance(result, ToolResultsEvent)
                assert [one.parent_id for one in result.results] == [
                    one.id for one in event.tool_calls.calls
                ]
            if isinstance(event, ToolResultsEvent):
                assert isinstance(request[place - 1], ModelResponse)


@pytest.mark.parametrize("counts", [False, True])
async def test_a_chat_resumed_at_every_cut_hears_the_same_and_says_the_same(
    loaded: Loaded, *, counts: bool
) -> None:
    whole = await played(loaded, begun(loaded), Wire(counts=counts))
    events = [timeless(event) for event in whole.events]
    assert whole.of(HistoryCompacted)
    for cut in range(len(whole.batches)):
        kept: list[Event] = [event for batch in whole.batches[:cut] for event in batch]
        resumed = await played(loaded, begun(loaded).then(*kept), Wire(counts=counts))
        assert [timeless(event) for event in (*kept, *resumed.events)] == events, cut


async def test_without_a_summary_the_chat_goes_on_until_the_model_refuses_it(
    loaded: Loaded,
) -> None:
    wire = Wire(summarises=False)
    chat = await played(loaded, begun(loaded), wire)
    assert not chat.of(HistoryCompacted)
    near = [r for r in wire.heard if sum(map(len, map(words, r))) >= NEAR * WINDOW * 4]
    assert near  # it went on past the mark
    (failed,) = chat.of(ChatFailed)
    assert failed.code == "CONTEXT_TOO_LONG"


def said(turn: int, prompt: float | None) -> ModelResponded:
    tokens = Tokens(prompt=prompt, completion=10)
    return ModelResponded(turn=turn, call=0, agent=WRITER, text="x" * 40, tokens=tokens)


def test_an_estimate_is_a_token_for_four_characters() -> None:
    before: list[Passage] = [Heard("x" * 399), Spoke(said(1, None))]
    assert estimate(before, 161, since=0) == 150


def test_what_a_provider_has_counted_is_believed() -> None:
    before: list[Passage] = [Heard("x" * 10_000), Spoke(said(1, 90)), Heard("x" * 40)]
    assert estimate(before, 999, since=0) == 100 + 10


def test_what_was_counted_before_a_summary_is_of_another_conversation() -> None:
    before: list[Passage] = [Heard("x" * 40), Spoke(said(3, 90_000)), Heard("x" * 40)]
    assert estimate(before, 40, since=4) == 40


def long_story(turns: int) -> Story:
    story = given().under(None)
    for turn in range(1, turns + 1):
        story = story.then(
            heard("Go on."), speaks(WRITER, turn), says(LONG, turn), done(LONG, turn)
        )
    return story.then(speaks(WRITER, turns + 1))


def task(story: Story) -> Task:
    return Task(conversation(story.state, WRITER, None), "You write.")


def needed(story: Story, window: int) -> Due | None:
    """What has to be summarised before the open turn, for a model with such a window."""
    turn = story.state.open
    assert turn is not None
    return due(story.state, turn, task(story), lambda: 0, window)


def test_the_newest_turns_stay_as_long_as_they_fit_into_half_of_the_window() -> None:
    story = long_story(12)
    kept = {}
    for window in (100, 300, 900):
        found = needed(story, window)
        kept[window] = None if found is None else 12 - found.through_turn
    assert kept == {100: 1, 300: 2, 900: 4}


def test_a_conversation_is_summarised_once_before_a_turn_and_not_within_it() -> None:
    story = long_story(8)
    assert needed(story, 100) is not None
    summarised = story.then(HistoryCompacted(through_turn=1, summary="Rain.", tokens_before=1))
    assert len(unsummarised(summarised.state)) == 14
    assert needed(summarised, 100) is None
    asked = ModelRequested(turn=9, call=0, agent=WRITER, prompt=["You write."], digest="d")
    assert needed(story.then(asked), 100) is None


def test_a_single_turn_however_long_has_nothing_to_summarise() -> None:
    story = long_story(1)
    assert needed(story, 10) is None


def test_whoever_summarises_is_told_the_summary_before_and_what_there_is_room_for() -> None:
    first = HistoryCompacted(through_turn=2, summary="The old story.", tokens_before=1)
    story = long_story(12).then(first)
    story = story.then(done(LONG, 13), speaks(WRITER, 14))
    found = needed(story, 200)
    assert found is not None
    lines = found.text.split("\n")
    assert lines[0] == f"{SUMMARY}The old story."
    assert lines[1] == "[earlier lines are left out]"
    assert len(found.text) < 200 * CHARS_PER_TOKEN


async def test_a_summary_is_a_call_of_its_own_that_is_kept_counted_and_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "services")
    chat = MemoryChat(long_story(8))
    answer = Streams(words=("It ", "rains."), model="gpt-4o-mini")
    with ProviderStub(answer).running() as stub:
        async with shared_client() as client:
            manner = replace(MANNER, windows={"gpt-4o-mini": WINDOW})
            config = asked_of(replace(OURS, base_url=stub.url), client, manner)
            agent = Agent(str(WRITER), config=config)
            assert await compact(agent, task(chat.story), KEY, chat)
        (body,) = stub.bodies
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "tools" not in body
    assert chat.state.compacted is not None
    (batch,) = chat.batches
    kept, spent = batch
    assert isinstance(kept, HistoryCompacted)
    assert isinstance(spent, UsageRecorded)
    assert (kept.summary, spent.agent, spent.turn) == ("It rains.", RUNTIME, 9)
    assert spent.cost == pytest.approx(0.00015 + 0.00006)
    noted = [r.__dict__ for r in caplog.records if r.message == "a model answered"]
    assert [line["agent"] for line in noted] == [RUNTIME]
    assert not chat.shown
