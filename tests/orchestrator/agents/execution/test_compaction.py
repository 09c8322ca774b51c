"""Compaction of a chat that outgrows its model: complete for users, the same when it is resumed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ag2 import Agent
from ag2.config import LLMClient, ModelConfig
from ag2.config.config import ModelProvider
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
from ag2.tools.final import Toolkit

from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatFailed, HistoryCompacted
from contracts.events.parts import Tokens
from contracts.events.turn import RUNTIME, ModelRequested, ModelResponded, UsageRecorded
from services.orchestrator.agents.ag2.conversation import Conversation
from services.orchestrator.agents.execution.agent_factory import build_agent_set
from services.orchestrator.agents.execution.compaction import compact
from services.orchestrator.agents.execution.compaction_plan import (
    CHARS_PER_TOKEN,
    FILL_RATIO,
    CompactionPlan,
    estimate_tokens,
    plan_compaction,
)
from services.orchestrator.agents.execution.model_loop import ModelTask
from services.orchestrator.agents.models.client import ResilientModelConfig
from services.orchestrator.agents.models.errors import CONTEXT_TOO_LONG, UNREACHABLE, ModelError
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import (
    ModelFactory,
    resilient_config,
)
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.agent_conversation import (
    SUMMARY_PREFIX,
    AgentMessage,
    ConversationSize,
    Message,
    UserMessage,
    conversation_for,
    unsummarised_entries,
)
from services.orchestrator.workflows.loading import LoadedWorkflow
from services.orchestrator.workflows.spec import USER
from tests.orchestrator.agent_sets import WRITER, lasting, workflows_by_pattern
from tests.orchestrator.agents.execution.test_resuming import MemoryChat, run_to_end, started_chat
from tests.orchestrator.agents.provider_stub import ProviderStub, StreamedReply
from tests.orchestrator.agents.provider_turn import POLICY, PROVIDER
from tests.orchestrator.agents.turn_harness import tool_call
from tests.story import KEY, Story, done, given, heard, says, speaks
from tests.thorough import some

WINDOW = 400
TINY = "tiny-model"
LONG = "It rains and rains and does not stop raining. " * 6


@dataclass
class SmallModel(ModelConfig):
    """A model whose answers depend on the request alone; it refuses one beyond its context window.

    `requests` are those it answered, `summaries` is the number of summaries it made.
    """

    counts: bool = False
    summarises: bool = True
    requests: list[Sequence[BaseEvent]] = field(default_factory=list)
    summaries: int = 0

    @property
    def provider(self) -> ModelProvider:
        return ModelProvider.OPENAI

    @property
    def model(self) -> str:
        return TINY

    def copy(self) -> "SmallModel":
        return self

    def create(self) -> LLMClient:
        return _Client(self)

    def create_files_client(self) -> Any:
        raise NotImplementedError


class _Client(LLMClient):
    def __init__(self, model: SmallModel) -> None:
        self._wire = model

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **_: Any
    ) -> ModelResponse:
        size = sum(len(line) for line in (*context.prompt, *map(text_of_event, messages)))
        if context.prompt[0].startswith("You keep the minutes"):
            return self._summary(messages)
        if size / CHARS_PER_TOKEN > WINDOW:
            raise ModelError(CONTEXT_TOO_LONG)
        self._wire.requests.append(list(messages))
        return self._reply(messages, size)

    def _summary(self, messages: Sequence[BaseEvent]) -> ModelResponse:
        if not self._wire.summarises:
            raise ModelError(UNREACHABLE)
        self._wire.summaries += 1
        return response(f"It is about rain ({len(text_of_event(messages[0]))}).", 0)

    def _reply(self, messages: Sequence[BaseEvent], size: int) -> ModelResponse:
        counted = size // CHARS_PER_TOKEN if self._wire.counts else 0
        calls = sum(isinstance(message, ToolResultsEvent) for message in messages)
        if calls == 0 or isinstance(messages[-1], ModelRequest):
            note = tool_call("note", f"n{len(messages)}-{size}", '{"text": "rain"}')
            return response("I note it.", counted, note)
        return response(LONG, counted)


def response(text: str, tokens: int, *calls: Any) -> ModelResponse:
    return ModelResponse(
        ModelMessage(text),
        tool_calls=ToolCallsEvent(list(calls)),
        usage=Usage(prompt_tokens=tokens, completion_tokens=len(text) // CHARS_PER_TOKEN),
        model=TINY,
        provider="test",
        finish_reason="stop",
    )


def text_of_event(event: BaseEvent) -> str:
    match event:
        case ModelRequest(parts=parts):
            return "".join(part.content for part in parts if isinstance(part, TextInput))
        case ModelResponse():
            return (event.content or "") + "".join(c.arguments for c in event.tool_calls.calls)
        case _:
            return ""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedWorkflow:
    """The writer and the user, who alternate until the writer has had eight turns."""
    pattern = workflows_by_pattern(tmp_path)["RoundRobinPattern"]
    writer = replace(pattern.workflow.agents[WRITER], after_work=USER)
    workflow = replace(pattern.workflow, agents={WRITER: writer}, after_user=WRITER, max_turns=8)
    return replace(pattern, workflow=workflow)


async def run_chat(loaded: LoadedWorkflow, story: Story, model: SmallModel) -> MemoryChat:
    """Run the chat from where the story ends to its end, on a model with a small context window."""
    policy = replace(POLICY, context_windows={TINY: WINDOW})
    models = ModelFactory(
        TINY, demo=False, config_for=lambda _, __: ResilientModelConfig([model], policy)
    )
    version = WorkflowVersion(loaded, build_agent_set(loaded, models))
    return await run_to_end(loaded, story, Catalogue({loaded.workflow.name: version}))


@pytest.mark.parametrize("counts", [False, True])
async def test_a_long_chat_on_a_small_model_completes(
    loaded: LoadedWorkflow, *, counts: bool
) -> None:
    model = SmallModel(counts=counts)
    chat = await run_chat(loaded, started_chat(loaded), model)
    assert chat.of(ChatCompleted)
    summaries = chat.of(HistoryCompacted)
    assert len(summaries) == model.summaries > 1
    assert all(one.tokens_before >= FILL_RATIO * WINDOW for one in summaries)
    assert summaries == sorted(summaries, key=lambda one: one.through_turn)
    usage = [one for one in chat.of(UsageRecorded) if one.agent == RUNTIME]
    assert len(usage) == len(summaries)


async def test_models_get_the_summary_first_and_the_transcript_stays_complete(
    loaded: LoadedWorkflow,
) -> None:
    model = SmallModel()
    chat = await run_chat(loaded, started_chat(loaded), model)
    assert "Write about rain." in text_of_event(model.requests[-1][0])
    assert text_of_event(model.requests[-1][1]).startswith(f"{SUMMARY_PREFIX}It is about rain")
    texts = [message["content"] for message in chat.story.transcript]
    assert texts.count(LONG) == 8
    assert not [text for text in texts if text and SUMMARY_PREFIX in text]


async def test_no_summary_separates_a_tool_call_from_its_result(loaded: LoadedWorkflow) -> None:
    model = SmallModel()
    await run_chat(loaded, started_chat(loaded), model)
    for request in model.requests:
        for index, event in enumerate(request):
            if isinstance(event, ModelResponse) and event.tool_calls.calls:
                result = request[index + 1]
                assert isinstance(result, ToolResultsEvent)
                assert [one.parent_id for one in result.results] == [
                    one.id for one in event.tool_calls.calls
                ]
            if isinstance(event, ToolResultsEvent):
                assert isinstance(request[index - 1], ModelResponse)


@pytest.mark.parametrize("counts", [False, True])
async def test_a_chat_resumed_after_any_event_sends_the_same_requests_and_ends_the_same(
    loaded: LoadedWorkflow, *, counts: bool
) -> None:
    uninterrupted = await run_chat(loaded, started_chat(loaded), SmallModel(counts=counts))
    events = lasting(uninterrupted.events)
    assert uninterrupted.of(HistoryCompacted)
    for cut in some(len(uninterrupted.batches)):
        recorded: list[Event] = [event for batch in uninterrupted.batches[:cut] for event in batch]
        resumed = await run_chat(
            loaded, started_chat(loaded).then(*recorded), SmallModel(counts=counts)
        )
        assert lasting([*recorded, *resumed.events]) == events, cut


async def test_if_the_summary_fails_the_chat_continues_until_the_model_refuses_it(
    loaded: LoadedWorkflow,
) -> None:
    model = SmallModel(summarises=False)
    chat = await run_chat(loaded, started_chat(loaded), model)
    assert not chat.of(HistoryCompacted)
    near = [
        r for r in model.requests if sum(map(len, map(text_of_event, r))) >= FILL_RATIO * WINDOW * 4
    ]
    assert near  # it continued beyond the limit
    (failed,) = chat.of(ChatFailed)
    assert failed.code == "CONTEXT_TOO_LONG"


def recorded_response(turn: int, prompt: float | None) -> ModelResponded:
    tokens = Tokens(prompt=prompt, completion=10)
    return ModelResponded(turn=turn, call=0, agent=WRITER, text="x" * 40, tokens=tokens)


def size_of(messages: Sequence[Message]) -> ConversationSize:
    return Conversation.of(messages).size


def test_the_estimate_is_one_token_for_four_characters() -> None:
    before: list[Message] = [UserMessage("x" * 399), AgentMessage(recorded_response(1, None))]
    assert estimate_tokens(size_of(before), lambda: 161, since=0) == 150


def test_the_estimate_uses_the_providers_last_count() -> None:
    before: list[Message] = [
        UserMessage("x" * 10_000),
        AgentMessage(recorded_response(1, 90)),
        UserMessage("x" * 40),
    ]
    assert estimate_tokens(size_of(before), lambda: 999, since=0) == 100 + 10


def test_the_estimate_ignores_counts_from_before_a_summary() -> None:
    before: list[Message] = [
        UserMessage("x" * 40),
        AgentMessage(recorded_response(3, 90_000)),
        UserMessage("x" * 40),
    ]
    assert estimate_tokens(size_of(before), lambda: 40, since=4) == 40


def long_story(turns: int) -> Story:
    story = given().under(None)
    for turn in range(1, turns + 1):
        story = story.then(
            heard("Go on."), speaks(WRITER, turn), says(LONG, turn), done(LONG, turn)
        )
    return story.then(speaks(WRITER, turns + 1))


def task(story: Story) -> ModelTask:
    return ModelTask(Conversation.of(conversation_for(story.state, WRITER, None)), "You write.")


def plan(story: Story, window: int) -> CompactionPlan | None:
    """The compaction plan of the open turn, for a model with such a context window."""
    turn = story.state.open_turn
    assert turn is not None
    return plan_compaction(story.state, turn, task(story), lambda: 0, window)


def test_the_newest_turns_are_kept_while_they_fit_into_half_of_the_window() -> None:
    story = long_story(12)
    kept = {}
    for window in (100, 300, 900):
        needed = plan(story, window)
        kept[window] = None if needed is None else 12 - needed.through_turn
    assert kept == {100: 1, 300: 2, 900: 4}


def test_a_conversation_is_summarised_at_most_once_before_a_turn() -> None:
    story = long_story(8)
    assert plan(story, 100) is not None
    summarised = story.then(HistoryCompacted(through_turn=1, summary="Rain.", tokens_before=1))
    assert len(unsummarised_entries(summarised.state)) == 14
    assert plan(summarised, 100) is None
    asked = ModelRequested(turn=9, call=0, agent=WRITER, prompt=["You write."], digest="d")
    assert plan(story.then(asked), 100) is None


def test_a_single_turn_is_never_summarised() -> None:
    story = long_story(1)
    assert plan(story, 10) is None


def test_the_text_to_summarise_has_the_earlier_summary_and_the_newest_lines_that_fit() -> None:
    first = HistoryCompacted(through_turn=2, summary="The old story.", tokens_before=1)
    story = long_story(12).then(first)
    story = story.then(done(LONG, 13), speaks(WRITER, 14))
    needed = plan(story, 200)
    assert needed is not None
    lines = needed.text.split("\n")
    assert lines[0] == f"{SUMMARY_PREFIX}The old story."
    assert lines[1] == "[earlier lines are left out]"
    assert len(needed.text) < 200 * CHARS_PER_TOKEN


async def test_an_agent_with_an_mcp_server_is_measured_by_its_other_tools() -> None:
    """A toolkit has no schemas of its own before its server was asked."""
    chat = MemoryChat(long_story(8))
    server = Toolkit(name="weather")
    config = ResilientModelConfig([SmallModel()], replace(POLICY, context_windows={TINY: 10**6}))
    agent = Agent(str(WRITER), config=config, tools=[server])
    assert not await compact(agent, task(chat.story), KEY, chat)
    small = replace(POLICY, context_windows={TINY: WINDOW})
    agent = Agent(str(WRITER), config=ResilientModelConfig([SmallModel()], small), tools=[server])
    assert await compact(agent, task(chat.story), KEY, chat)


async def test_a_summary_is_a_model_call_of_the_runtime_whose_usage_is_recorded_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "services")
    chat = MemoryChat(long_story(8))
    answer = StreamedReply(words=("It ", "rains."), model="gpt-4o-mini")
    with ProviderStub(answer).running() as stub:
        async with shared_http_client() as client:
            policy = replace(POLICY, context_windows={"gpt-4o-mini": WINDOW})
            config = resilient_config(replace(PROVIDER, base_url=stub.url), client, policy)
            agent = Agent(str(WRITER), config=config)
            assert await compact(agent, task(chat.story), KEY, chat)
        (body,) = stub.bodies
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "tools" not in body
    assert chat.state.compacted is not None
    (batch,) = chat.batches
    compacted, usage = batch
    assert isinstance(compacted, HistoryCompacted)
    assert isinstance(usage, UsageRecorded)
    assert (compacted.summary, usage.agent, usage.turn) == ("It rains.", RUNTIME, 9)
    assert usage.cost == pytest.approx(0.00015 + 0.00006)
    logged = [r.__dict__ for r in caplog.records if r.message == "model call completed"]
    assert [line["agent"] for line in logged] == [RUNTIME]
    assert not chat.shown
