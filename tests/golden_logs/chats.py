"""The chats of which a release writes logs: each kind of event that a chat can have."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from contracts.commands import (
    AnswerQuestion,
    AttachFile,
    Command,
    EditMessage,
    ExpireQuestion,
    RetryAnswer,
    RewindChat,
    SetVariables,
)
from contracts.events import Event
from contracts.events.chat import UserMessageReceived
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.ids import AppId, ChatId, ChatKey, CommandId, WorkflowName
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.tasks import cancel_and_wait
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models.errors import ModelError, ModelFailure
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion, build_version
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import ChatState, Effect
from services.orchestrator.domain.turn_steps import Outcome
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.chat_log import Decider, decide_nothing
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.workflows.loading import LoadedWorkflow, load
from services.orchestrator.workflows.spec import Workflow
from tests.orchestrator.agent_sets import DEMO_MODELS, is_repeated_dispatch
from tests.orchestrator.agents.paced_model import PacedModel
from tests.orchestrator.chat_harness import (
    SHIPPED,
    ChatUser,
    deliver,
    give_up,
    runner,
    whole_history,
)

WORKSHOP = Path(__file__).parent / "workshop"
MAX_CALLS = 25


@dataclass(frozen=True)
class GoldenUser(ChatUser):
    """A user whose commands have the same ids in every run."""

    numbers: Any = None

    def _command_fields(self) -> dict[str, Any]:
        return {
            **super()._command_fields(),
            "command_id": CommandId(f"{self.key.chat}-{next(self.numbers)}"),
        }

    def attach(self) -> AttachFile:
        return AttachFile(
            **self._command_fields(),
            attachment_id="plan",
            filename="plan.txt",
            size_bytes=4,
            content_type="text/plain",
            digest="0" * 64,
        )

    def set_variables(self, **variables: Any) -> SetVariables:
        return SetVariables(**self._command_fields(), variables=variables)


@dataclass(frozen=True)
class Stage:
    """A chat that is written: its user, its workflow, and the processes that run it."""

    gateway: JetStreamGateway
    user: GoldenUser
    loaded: LoadedWorkflow

    def runner(self, models: ModelFactory = DEMO_MODELS) -> Runner:
        """A process of its own."""
        catalogue = self._catalogue(models)
        return runner(self.gateway, AgentExecutor(catalogue, MAX_CALLS), catalogue.workflows)

    def _catalogue(self, models: ModelFactory) -> Catalogue:
        version = build_version(self.loaded, models, {})
        assert isinstance(version, WorkflowVersion), version
        return Catalogue({self.loaded.workflow.name: version})

    async def is_killed(self, command: Command, attempt: int) -> bool:
        """Deliver a command to a process that is killed after its next append, if there is one."""
        catalogue = self._catalogue(DEMO_MODELS)
        executor = _KilledExecutor(catalogue, MAX_CALLS)
        process = runner(self.gateway, executor, catalogue.workflows)
        handled = asyncio.create_task(deliver(process, command, attempt))
        killed = asyncio.create_task(executor.killed.wait())
        await asyncio.wait([handled, killed], return_when=asyncio.FIRST_COMPLETED)
        is_killed = not handled.done()
        await cancel_and_wait(handled, killed)
        return is_killed

    async def say(self, *commands: Command) -> None:
        for command in commands:
            await deliver(self.runner(), command)

    async def state(self) -> ChatState:
        return replay(await whole_history(self.gateway, self.user.key))

    async def answer(self, *answers: str | dict[str, Any]) -> None:
        """Answer the oldest open question, one after the other."""
        for given in answers:
            await self.say(await self.answer_command(given))

    async def answer_command(self, given: str | dict[str, Any]) -> Command:
        state = await self.state()
        assert state.open_turn is not None
        question = state.open_turn.unanswered[0]
        if isinstance(question, UiToolRequested):
            assert isinstance(given, dict)
            return self.user.answer_ui_tool(question.question_id, given)
        assert isinstance(question, HumanAsked)
        return self.user.answer_question(question.question_id, str(given))

    async def until(self, condition: Callable[[ChatState], bool]) -> None:
        """Wait for what another process appends."""
        changes: asyncio.Queue[None] = asyncio.Queue()
        follow = await self.gateway.live.follow(self.user.key, lambda _: changes.put_nowait(None))
        try:
            async with asyncio.timeout(30):
                while not condition(await self.state()):
                    await changes.get()
        finally:
            await follow.aclose()


Play = Callable[[Stage], Awaitable[None]]
WORDS = tuple(f"word-{number} " for number in range(6))


class Held:
    """A pace that stands still before a word until it is released."""

    def __init__(self, word: int) -> None:
        self.reached, self.released = asyncio.Event(), asyncio.Event()
        self._word = word

    async def __call__(self, number: int) -> None:
        await asyncio.sleep(0)
        if number == self._word and not self.released.is_set():
            self.reached.set()
            await self.released.wait()


class _KilledJournal:
    """The journal of a process that is killed after its next append.

    Not after one that only says that a call is made again, or it would be made again for ever.
    """

    def __init__(self, journal: ChatJournal, killed: asyncio.Event) -> None:
        self._journal = journal
        self._killed = killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def record(self, *events: Event, then: Decider = decide_nothing) -> None:
        await self._journal.record(*events, then=then)
        await self._die(events)

    async def append(self, decide: Decider, *, then: Decider = decide_nothing) -> None:
        events = decide(self._journal.state)
        await self._journal.append(decide, then=then)
        await self._die(events)

    async def _die(self, events: Sequence[Event]) -> None:
        if not all(is_repeated_dispatch(event) for event in events):
            self._killed.set()
            await asyncio.Future()


class _KilledExecutor(AgentExecutor):
    """The executor of a process that is killed after its next append."""

    def __init__(self, source: Catalogue, call_limit: int) -> None:
        super().__init__(source, call_limit)
        self.killed = asyncio.Event()

    async def __call__(self, effect: Effect, workflow: Workflow, journal: ChatJournal) -> Outcome:
        dying: Any = _KilledJournal(journal, self.killed)
        return await super().__call__(effect, workflow, dying)


class _Failing(PacedModel):
    """A model that breaks off with an error of its provider."""

    def __init__(self) -> None:
        super().__init__(WORDS[:2], self._fail)

    async def _fail(self, number: int) -> None:
        if number == len(WORDS[:2]):
            raise ModelError(ModelFailure("MODEL_UNAVAILABLE", "The model does not answer."))


def _models(config: PacedModel) -> ModelFactory:
    return ModelFactory("paced", demo=True, config_for=lambda _, __: config)


@asynccontextmanager
async def _running(stage: Stage, command: Command, held: Held) -> AsyncIterator[None]:
    """While a model is in the middle of its answer."""
    worker = stage.runner(_models(PacedModel(WORDS, held)))
    running = asyncio.create_task(deliver(worker, command))
    async with asyncio.timeout(30):
        await held.reached.wait()
        yield
        held.released.set()
        await running


async def _sale(stage: Stage) -> None:
    """Tools in parallel, a question, an approval, a retry, an error, large values, a handoff, hooks."""
    user = stage.user
    await stage.say(user.start_chat(), user.attach(), user.set_variables(note="by Friday"))
    await stage.say(user.send_message("a shelf"))
    await stage.answer("large", "approve")


async def _refused_then_cancelled(stage: Stage) -> None:
    """Words that are neither yes nor no, a refusal, another turn, and the end by the user."""
    user = stage.user
    await stage.say(user.start_chat("a shelf"))
    await stage.answer("small", "how much?", "no")
    await stage.say(user.send_message("never mind"), user.cancel_chat())


async def _large(stage: Stage) -> None:
    """A result that is larger than a model gets, and a variable that is larger than an event."""
    user = stage.user
    await stage.say(user.start_chat("a shelf"))
    await stage.answer("small", "approve")
    await stage.say(user.send_message("thanks"), user.send_message("what have you got?"))


async def _expired(stage: Stage) -> None:
    """Nobody answers: the question has its default."""
    await stage.say(stage.user.start_chat("a shelf"))
    asked = await stage.answer_command("")
    assert isinstance(asked, AnswerQuestion)
    fields = {name: getattr(asked, name) for name in ("command_id", "app_id", "chat_id", "user_id")}
    await stage.say(ExpireQuestion(**fields, question_id=asked.question_id))
    await stage.answer("approve")


async def _stopped(stage: Stage) -> None:
    """An answer is stopped in the middle; the next message begins another turn, which is cancelled."""
    user = stage.user
    async with _running(stage, user.start_chat("a shelf"), held := Held(3)):
        await stage.say(user.stop_answer(1))
        await stage.until(lambda state: state.waits_for_user)
        held.released.set()
    async with _running(stage, user.send_message("go on"), held := Held(2)):
        await stage.say(user.cancel_chat())
        await stage.until(lambda state: state.ended is not None)
        held.released.set()


async def _steered(stage: Stage) -> None:
    """A message of the user while an answer runs."""
    user = stage.user
    async with _running(stage, user.start_chat("a shelf"), Held(3)):
        await stage.say(user.send_message("a red one, please"))


async def _failed(stage: Stage) -> None:
    """A provider fails in the middle of an answer."""
    command = stage.user.start_chat("a shelf")
    await deliver(stage.runner(_models(_Failing())), command)


async def _retried(stage: Stage) -> None:
    """A failed turn is retried, a message is edited, and the chat is taken back to an earlier end."""
    user = stage.user
    await _failed(stage)
    await stage.say(RetryAnswer(**user._command_fields(), seen_seq=(await stage.state()).seq))
    await stage.answer("small", "approve")
    resting = (await stage.state()).seq
    await stage.say(user.send_message("thanks"))
    said = next(
        fact.envelope.seq
        for fact in await whole_history(stage.gateway, user.key)
        if isinstance(fact.event, UserMessageReceived) and fact.event.text == "thanks"
    )
    seen = (await stage.state()).seq
    await stage.say(
        EditMessage(**user._command_fields(), seen_seq=seen, message=said, text="and a lamp")
    )
    seen = (await stage.state()).seq
    await stage.say(RewindChat(**user._command_fields(), seen_seq=seen, to_seq=resting))


async def _killed(stage: Stage) -> None:
    """The process dies after every append, and another one takes over."""
    user = stage.user
    orders: list[Callable[[], Awaitable[Command]]] = [
        lambda: _now(user.start_chat("a shelf")),
        lambda: stage.answer_command("large"),
        lambda: stage.answer_command("approve"),
    ]
    for order in orders:
        command = await order()
        for attempt in count(1):
            if not await stage.is_killed(command, attempt):
                break


async def _now(command: Command) -> Command:
    return command


async def _given_up(stage: Stage) -> None:
    """A command that fails again and again is given up, with its chat."""
    command = stage.user.start_chat("a shelf")
    await stage.is_killed(command, 1)
    await give_up(stage.runner(), command, 2)


def _messages(*texts: str) -> Play:
    async def play(stage: Stage) -> None:
        await stage.say(stage.user.start_chat())
        await stage.say(*(stage.user.send_message(text) for text in texts))

    return play


async def _generator(stage: Stage) -> None:
    await stage.say(stage.user.start_chat())
    await stage.answer("A garden planner, “für Äpfel”", "Approve")


async def _postcard(stage: Stage) -> None:
    await stage.say(stage.user.start_chat("a birthday"))
    await stage.answer({"approved": False, "wish": "warmer"}, {"approved": True}, {"quantity": 10})


CHATS: Mapping[str, tuple[Path, Play]] = {
    "sale": (WORKSHOP, _sale),
    "large": (WORKSHOP, _large),
    "refused": (WORKSHOP, _refused_then_cancelled),
    "expired": (WORKSHOP, _expired),
    "stopped": (WORKSHOP, _stopped),
    "steered": (WORKSHOP, _steered),
    "failed": (WORKSHOP, _failed),
    "retried": (WORKSHOP, _retried),
    "killed": (WORKSHOP, _killed),
    "given_up": (WORKSHOP, _given_up),
    "generator": (SHIPPED / "Generator", _generator),
    "postcard": (SHIPPED / "Postcard", _postcard),
    "helpdesk": (SHIPPED / "Helpdesk", _messages("My bill is wrong", "thanks")),
    "brainstorm": (SHIPPED / "Brainstorm", _messages("A picnic")),
    "debate": (SHIPPED / "Debate", _messages("Shall we write it in Go?")),
    "clock": (SHIPPED / "Clock", _messages("What time is it in Vienna?")),
    "hello": (SHIPPED / "HelloWorld", _messages("Hi", "And again")),
}


async def play(name: str, gateway: JetStreamGateway, chat: ChatId | None = None) -> ChatKey:
    """Play one of the chats, under its name or another id; returns its key."""
    folder, act = CHATS[name]
    loaded = load(folder)
    assert isinstance(loaded, LoadedWorkflow), loaded.problems
    key = ChatKey(AppId("golden"), chat or ChatId(name))
    user = GoldenUser(WorkflowName(loaded.workflow.name), key, numbers=count(1))
    await act(Stage(gateway, user, loaded))
    return key
