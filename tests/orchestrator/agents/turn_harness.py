"""An agent's turn on AG2 with a scripted model, and a journal that keeps it in memory."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from ag2 import Agent
from ag2.config import LLMClient, ModelConfig
from ag2.context import ConversationContext
from ag2.events import (
    BaseEvent,
    ModelMessage,
    ModelMessageChunk,
    ModelResponse,
    ToolCallEvent,
    ToolCallsEvent,
)
from ag2.testing import TestConfig, Turn
from ag2.tools.types import Tool as Ag2Tool

from contracts import event_log
from contracts.codec import Origin
from contracts.deltas import Delta, TextStreamed, ToolProgressed, WaitReported
from contracts.event_log import EMPTY
from contracts.events import Event
from contracts.events.chat import ChatStarted
from contracts.events.turn import ModelRequested, ModelResponded, ToolReturned
from contracts.ids import QuestionId, RunnerId
from contracts.large_values import MAX_BYTES, LargeValue
from services.chassis.consumers.slots import NO_SLOT, Slot
from services.chassis.jetstream.errors import MessageTooLargeError
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.ag2.conversation import AgentHistory
from services.orchestrator.agents.execution.hooks import NO_HOOKS, Hooks
from services.orchestrator.agents.execution.turn_context import TurnContext
from services.orchestrator.agents.execution.turn_executor import execute_turn
from services.orchestrator.agents.sandbox.thread_runner import ThreadRunner
from services.orchestrator.agents.session.ports import Follow, follow_nothing
from services.orchestrator.agents.tools.function_tools import Function, build_tool, on_human_input
from services.orchestrator.agents.tools.limits import CallLimiter
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Question
from services.orchestrator.domain.turn_steps import Outcome, Suspended
from services.orchestrator.runtime.chat_budget import NO_BUDGET, CallBudget
from services.orchestrator.workflows import spec
from services.orchestrator.workflows.spec import DataReference, Tool
from tests.story import ANA, KEY, NEWSROOM, NOON, WRITER, Story, answered, given, heard, speaks

E = TypeVar("E", bound=Event)
PLAIN_WRITER = spec.Agent(WRITER, "You write.")

OPEN_TURN = given(
    ChatStarted(user_id=ANA, seed=7, variables={"tone": "dry", "sources": []}),
    heard("Write about rain."),
    speaks(),
)


class WriteRefusedError(Exception):
    """A MemoryJournal refused a batch."""


class MemoryJournal:
    """A Journal that stores events in memory, batch after batch.

    `refuses` is the number of the batch that it refuses, as if another runner had written first.
    """

    def __init__(self, story: Story = OPEN_TURN, refuses: int | None = None) -> None:
        self.story = story
        self.budget: CallBudget = NO_BUDGET
        self.slot: Slot = NO_SLOT
        self.batches: list[tuple[Event, ...]] = []
        self.shown: list[tuple[int, int, str]] = []
        self.attempts: list[int] = []
        """Which attempt of its call each chunk belongs to."""
        self.progress: list[tuple[str, str, float | None, str]] = []
        self.waits: list[tuple[str, float, int, int]] = []
        self.lookup_values: dict[str, Any] = {}
        self.timers: dict[QuestionId, float] = {}
        self.escalations: dict[QuestionId, float] = {}
        self.announced: list[QuestionId] = []
        self.derived: dict[object, Any] = {}
        self.max_bytes = 1_000_000
        """How large the events of one batch may be together, as in a message of NATS."""
        self.values: dict[str, bytes] = {}
        """The large values that were stored, by digest."""
        self._refuses = refuses
        self._changed = asyncio.Event()

    @property
    def state(self) -> ChatState:
        return self.story.state

    async def record(self, *events: Event, then: Follow = follow_nothing) -> None:
        await asyncio.sleep(0)  # as with a server, other tasks may run meanwhile
        if self._refuses is not None and len(self.batches) >= self._refuses:
            raise WriteRefusedError(f"batch {self._refuses}")
        origin = Origin(KEY, NEWSROOM.name, NOON, "c")
        decision = event_log.seal(events, EMPTY, [origin] * len(events))
        await self.store(decision.large)
        if len(decision.data) > self.max_bytes:
            raise MessageTooLargeError("memory", len(decision.data), self.max_bytes)
        self.add(*events, *then(self.story.then(*events).state))

    async def store(self, values: Sequence[LargeValue]) -> None:
        size = sum(value.reference.size for value in values)
        if size > MAX_BYTES:
            raise MessageTooLargeError("memory", size, MAX_BYTES)
        self.values |= {value.reference.digest: value.data for value in values}

    def check_ownership(self) -> None:
        """Nobody else runs this chat."""

    async def append(
        self, decide: Callable[[ChatState], Sequence[Event]], *, then: Follow = follow_nothing
    ) -> None:
        """As ChatLog.append, for events that belong to no turn."""
        if events := decide(self.state):
            self.add(*events, *then(self.story.then(*events).state))

    def add(self, *events: Event) -> None:
        """Append events, of whatever origin."""
        self.story = self.story.then(*events)
        self.batches.append(events)
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def runner(self) -> RunnerId:
        return RunnerId("memory")

    async def interrupt_text(self) -> None:
        """Text that was shown is kept by the ChatJournal only."""

    async def show(self, delta: Delta) -> None:
        assert (delta.turn, delta.agent) == (1, WRITER)
        match delta:
            case TextStreamed(call=call, offset=offset, text=text):
                self.shown.append((call, offset, text))
                _, _, attempt = delta.runner.partition(".")
                self.attempts.append(int(attempt or 0))
            case ToolProgressed(tool_call_id=one, tool_name=name, percent=percent, message=message):
                self.progress.append((one, name, percent, message))
            case WaitReported():
                self.waits.append((delta.code, delta.seconds, delta.attempt, delta.attempts))

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        del variables, occasion
        return self.lookup_values.get(reference.name, reference.default)

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        self.timers[question] = seconds
        return NOON + timedelta(seconds=seconds)

    async def announce(self, question: Question) -> None:
        self.announced.append(question.question_id)

    async def escalate(self, question: QuestionId, seconds: float) -> datetime:
        self.escalations[question] = seconds
        return NOON + timedelta(seconds=seconds)

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._changed.wait()

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[Event]) -> None:
        """Returns once such an event is recorded."""
        while not self.of(kind):
            await self.changed()


class ScriptedModel(ModelConfig):
    """AG2's scripted model after its first `skip` answers; `digests` are those of the requests it got."""

    def __init__(self, lines: Sequence[Turn], skip: int = 0) -> None:
        self.digests: list[str] = []
        self._inner = TestConfig(*_remaining_lines(lines, skip), raise_tool_errors=False).create()

    @property
    def provider(self) -> Any:
        raise NotImplementedError

    @property
    def model(self) -> str:
        raise NotImplementedError

    def copy(self) -> "ScriptedModel":
        return self

    def create(self) -> LLMClient:
        return _ScriptedClient(self, self._inner)

    def create_files_client(self) -> Any:
        raise NotImplementedError


def _remaining_lines(lines: Sequence[Turn], skip: int) -> Sequence[Turn]:
    """The lines after the first `skip` that answer; chunks before an answer are part of it."""
    answers = [n for n, line in enumerate(lines, 1) if not isinstance(line, ModelMessageChunk)]
    return lines[answers[skip - 1] :] if skip else lines


class _ScriptedClient(LLMClient):
    def __init__(self, model: ScriptedModel, inner: LLMClient) -> None:
        self._model = model
        self._inner = inner

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **options: Any
    ) -> ModelResponse:
        self._model.digests.append(codec.digest(context.prompt, messages))
        return await self._inner(messages, context, **options)


@dataclass
class TurnHarness:
    """Executes one turn of the writer: with the lines of its model, its tools and its manifest."""

    lines: Sequence[Turn]
    tools: Sequence[Callable[..., Any] | Ag2Tool] = ()
    agent: spec.Agent = PLAIN_WRITER
    functions: Mapping[Tool, Function] = field(default_factory=dict)
    hooks: Hooks = NO_HOOKS
    sent_digests: list[str] = field(default_factory=list)
    """The digests of all requests that models of this harness got."""

    async def run(self, journal: MemoryJournal, call_limit: int = 25) -> Outcome:
        """Execute the turn from where the journal ends."""
        state = journal.state
        assert state.open_turn is not None
        model = ScriptedModel(self.lines, skip=len(state.open_turn.responses))
        ag2_agent = Agent(
            str(WRITER),
            config=model,
            tools=[_as_ag2_tool(one) for one in self.tools],
            hitl_hook=on_human_input,
        )
        context = TurnContext(
            key=KEY,
            agent=self.agent,
            ag2_agent=ag2_agent,
            history=AgentHistory(WRITER, None).before_turn,
            prompt=lambda _: "You write.",
            functions=self.functions,
            hooks=self.hooks,
            call_limit=call_limit,
        )
        try:
            return await execute_turn(context, journal)
        finally:
            self.sent_digests += model.digests

    async def run_answering(self, journal: MemoryJournal) -> Outcome:
        """The same, with a user who answers `red` whenever the turn is suspended."""
        while isinstance(outcome := await self.run(journal), Suspended):
            turn = journal.story.state.open_turn
            assert turn is not None
            question = turn.unanswered[0]
            answer = answered("red").model_copy(update={"question_id": question.question_id})
            journal.add(answer)
        return outcome


def _as_ag2_tool(one: Callable[..., Any] | Ag2Tool) -> Ag2Tool:
    if isinstance(one, Ag2Tool):
        return one
    return build_tool(function_of(one))


def function_of(function: Callable[..., Any], declared: Tool | None = None) -> Function:
    """A function as it is built from a workflow's folder."""
    tool = declared or Tool(function.__name__, "A tool.", Path("tools.py"), function.__name__)
    signature = inspect.signature(function, eval_str=True)
    return Function(tool, function, signature, CallLimiter(tool.limits), ThreadRunner())


def tool_call(name: str, id_: str, arguments: str = "{}") -> ToolCallEvent:
    return ToolCallEvent(name, id=id_, arguments=arguments)


def model_response(text: str | None, *calls: ToolCallEvent) -> ModelResponse:
    message = None if text is None else ModelMessage(text)
    return ModelResponse(message, tool_calls=ToolCallsEvent(list(calls)))


def request_digests(journal: MemoryJournal) -> list[str]:
    return [request.digest for request in journal.of(ModelRequested)]


def responses(story: Story) -> int:
    return sum(isinstance(fact.event, ModelResponded) for fact in story.facts)


def tool_result(journal: MemoryJournal, call_id: str) -> ToolReturned:
    """The recorded result of a tool call; asserts that there is one."""
    (returned,) = [one for one in journal.of(ToolReturned) if one.tool_call_id == call_id]
    return returned
