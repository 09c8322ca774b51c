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

from contracts.events import Event
from contracts.events.chat import ChatStarted
from contracts.events.turn import ModelRequested, ModelResponded, ToolReturned
from contracts.ids import QuestionId, RunnerId
from contracts.live import Delta, TextStreamed, ToolProgressed
from services.orchestrator.agents import codec
from services.orchestrator.agents.hooks import NO_HOOKS, Hooks
from services.orchestrator.agents.limits import Bounds
from services.orchestrator.agents.performing import Part, take_turn
from services.orchestrator.agents.tools import Function, build_tool, on_human_input
from services.orchestrator.agents.workbench import Workbench
from services.orchestrator.projection import conversation
from services.orchestrator.state import ChatState
from services.orchestrator.turns import Outcome, Waits
from services.orchestrator.workflows import spec
from services.orchestrator.workflows.spec import DataReference, Tool
from tests.story import ANA, KEY, NOON, WRITER, Story, answered, given, heard, speaks

E = TypeVar("E", bound=Event)
PLAIN_WRITER = spec.Agent(WRITER, "You write.")

BEGUN = given(
    ChatStarted(user_id=ANA, seed=7, variables={"tone": "dry", "sources": []}),
    heard("Write about rain."),
    speaks(),
)


class RefusedHereError(Exception):
    """What a journal says that was told to refuse."""


class MemoryJournal:
    """A Journal that keeps what it is told in memory, one batch after the other.

    `refuses` is the number of the batch that it refuses, as if another runner had been first.
    """

    def __init__(self, story: Story = BEGUN, refuses: int | None = None) -> None:
        self.story = story
        self.batches: list[tuple[Event, ...]] = []
        self.shown: list[tuple[int, int, str]] = []
        self.attempts: list[int] = []
        """Which try of its call each chunk belongs to."""
        self.progress: list[tuple[str, str, float | None, str]] = []
        self.elsewhere: dict[str, Any] = {}
        self.timers: dict[QuestionId, float] = {}
        self._refuses = refuses
        self._moved = asyncio.Event()

    @property
    def state(self) -> ChatState:
        return self.story.state

    async def record(self, *events: Event) -> None:
        await asyncio.sleep(0)  # as a server would: others may run meanwhile
        if self._refuses is not None and len(self.batches) >= self._refuses:
            raise RefusedHereError(f"batch {self._refuses}")
        self.add(*events)

    def check_ownership(self) -> None:
        """Nobody else runs this chat."""

    async def append(self, decide: Callable[[ChatState], Sequence[Event]]) -> None:
        """As a chat's log does, for what belongs to no turn."""
        if events := decide(self.state):
            self.add(*events)

    def add(self, *events: Event) -> None:
        """Take in what is so, whoever says it."""
        self.story = self.story.then(*events)
        self.batches.append(events)
        self._moved.set()
        self._moved = asyncio.Event()

    @property
    def runner(self) -> RunnerId:
        return RunnerId("memory")

    async def show(self, delta: Delta) -> None:
        assert (delta.turn, delta.agent) == (1, WRITER)
        match delta:
            case TextStreamed(call=call, offset=offset, text=text):
                self.shown.append((call, offset, text))
                _, _, attempt = delta.runner.partition(".")
                self.attempts.append(int(attempt or 0))
            case ToolProgressed(tool_call_id=one, tool_name=name, percent=percent, message=told):
                self.progress.append((one, name, percent, told))

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        del variables, occasion
        return self.elsewhere.get(reference.name, reference.default)

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        self.timers[question] = seconds
        return NOON + timedelta(seconds=seconds)

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._moved.wait()

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Event]) -> None:
        """Returns once such an event is kept."""
        while not self.of(kind):
            await self.changed()


class Model(ModelConfig):
    """AG2's scripted model after `skip` answers; `heard` is the digest of each request it got."""

    def __init__(self, lines: Sequence[Turn], skip: int = 0) -> None:
        self.heard: list[str] = []
        self._inner = TestConfig(*_left(lines, skip), raise_tool_errors=False).create()

    @property
    def provider(self) -> Any:
        raise NotImplementedError

    @property
    def model(self) -> str:
        raise NotImplementedError

    def copy(self) -> "Model":
        return self

    def create(self) -> LLMClient:
        return _Client(self, self._inner)

    def create_files_client(self) -> Any:
        raise NotImplementedError


def _left(lines: Sequence[Turn], skip: int) -> Sequence[Turn]:
    """The lines after the first `skip` that answer; chunks before an answer are part of it."""
    answers = [n for n, line in enumerate(lines, 1) if not isinstance(line, ModelMessageChunk)]
    return lines[answers[skip - 1] :] if skip else lines


class _Client(LLMClient):
    def __init__(self, model: Model, inner: LLMClient) -> None:
        self._model = model
        self._inner = inner

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **more: Any
    ) -> ModelResponse:
        self._model.heard.append(codec.digest(context.prompt, messages))
        return await self._inner(messages, context, **more)


@dataclass
class Stage:
    """One turn of the writer: what the model will say, what it may call, and what its manifest says."""

    lines: Sequence[Turn]
    tools: Sequence[Callable[..., Any] | Ag2Tool] = ()
    agent: spec.Agent = PLAIN_WRITER
    functions: Mapping[Tool, Function] = field(default_factory=dict)
    hooks: Hooks = NO_HOOKS
    heard: list[str] = field(default_factory=list)
    """The digests of all requests that any model of this stage got."""

    async def run(self, journal: MemoryJournal, call_limit: int = 25) -> Outcome:
        """Let the turn go on from where the journal ends."""
        state = journal.state
        assert state.open is not None
        model = Model(self.lines, skip=len(state.open.responses))
        built = Agent(
            str(WRITER),
            config=model,
            tools=[_offered(one) for one in self.tools],
            hitl_hook=on_human_input,
        )
        part = Part(
            key=KEY,
            agent=self.agent,
            built=built,
            before=lambda state: conversation(state, WRITER, None),
            prompt=lambda _: "You write.",
            functions=self.functions,
            hooks=self.hooks,
            call_limit=call_limit,
        )
        try:
            return await take_turn(part, journal)
        finally:
            self.heard += model.heard

    async def play(self, journal: MemoryJournal) -> Outcome:
        """The same, with a person who answers `red` whenever it waits for one."""
        while isinstance(outcome := await self.run(journal), Waits):
            turn = journal.story.state.open
            assert turn is not None
            asked = turn.unanswered[0]
            said = answered("red").model_copy(update={"question_id": asked.question_id})
            journal.add(said)
        return outcome


def _offered(one: Callable[..., Any] | Ag2Tool) -> Ag2Tool:
    if isinstance(one, Ag2Tool):
        return one
    return build_tool(function_of(one))


def function_of(work: Callable[..., Any], declared: Tool | None = None) -> Function:
    """A function as a workflow's folder would offer it."""
    named = declared or Tool(work.__name__, "A tool.", Path("tools.py"), work.__name__)
    signature = inspect.signature(work, eval_str=True)
    return Function(named, work, signature, Bounds(named.limits), Workbench())


def call(name: str, id_: str, arguments: str = "{}") -> ToolCallEvent:
    return ToolCallEvent(name, id=id_, arguments=arguments)


def says(text: str | None, *calls: ToolCallEvent) -> ModelResponse:
    message = None if text is None else ModelMessage(text)
    return ModelResponse(message, tool_calls=ToolCallsEvent(list(calls)))


def requests(journal: MemoryJournal) -> list[str]:
    return [request.digest for request in journal.of(ModelRequested)]


def responses(story: Story) -> int:
    return sum(isinstance(fact.event, ModelResponded) for fact in story.facts)


def result(journal: MemoryJournal, call_id: str) -> ToolReturned:
    """What a tool call came to, which is said once."""
    (returned,) = [one for one in journal.of(ToolReturned) if one.tool_call_id == call_id]
    return returned
