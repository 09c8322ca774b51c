"""Play a chat of a workflow in process: the real tools, rules and turns; no server, no provider."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from contracts.codec import Fact
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    Command,
    ExpireQuestion,
    SendMessage,
    StartChat,
)
from contracts.events import Event
from contracts.events.human import HumanAsked
from contracts.ids import AppId, ChatId, ChatKey, CommandId, UserId
from contracts.rewinds import is_dropped
from contracts.transcript import transcript
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion, build_version
from services.orchestrator.domain.chat_failures import skip_lifecycle_tools
from services.orchestrator.domain.decisions import conclude, decide
from services.orchestrator.domain.state import ChatState, RunLifecycleTools, pending
from services.orchestrator.domain.turn import Question
from services.orchestrator.domain.turn_steps import lifecycle_calls
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.testkit.memory_chat import MemoryChat
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.loading import NO_ENVIRONMENT, BrokenWorkflow, load

E = TypeVar("E", bound=Event)

USER = UserId("user")
KEY = ChatKey(AppId("test"), ChatId("test-chat"))
MAX_MODEL_CALLS = 25
MAX_EFFECTS = 1_000
"""Turns of one played chat: a workflow that never ends must not hang its test."""


@dataclass(frozen=True, slots=True)
class Say:
    """The user writes a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The oldest open question of a tool is answered, by somebody who may answer it.

    `approved` and `always` decide an approval, whatever the text says.
    """

    text: str
    approved: bool | None = None
    always: bool = False


@dataclass(frozen=True, slots=True)
class Component:
    """The user answers the oldest open component with these values."""

    response: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expire:
    """Nobody answers the oldest open question in time."""


Input = Say | Answer | Component | Expire


class PlayError(Exception):
    """The chat cannot be played on; the message says what it waits for and what was given."""


@dataclass(frozen=True, slots=True)
class PlayedChat:
    """A chat as it was played: its events in order, and what they add up to."""

    facts: tuple[Fact, ...]
    state: ChatState

    @property
    def events(self) -> list[Event]:
        return [fact.event for fact in self.facts]

    def of(self, kind: type[E]) -> list[E]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The whole conversation in strict AG2 format."""
        dropped = self.state.dropped
        told = [one for one in self.facts if not is_dropped(dropped, one.envelope.seq)]
        return [one.to_ag2() for one in transcript(fact.event for fact in told)]

    @property
    def texts(self) -> list[str]:
        """What the agents said, in order."""
        said = (one for one in self.messages if one["role"] == "assistant")
        return [one["content"] for one in said if one["content"]]

    @property
    def variables(self) -> dict[str, Any]:
        return dict(self.state.variables)

    @property
    def ended(self) -> str | None:
        """`completed`, `failed` or `cancelled`; None while the chat waits for the user."""
        return self.state.ended


@dataclass(slots=True)
class _Inputs:
    """What the user does, in order; each is used when the chat waits."""

    remaining: list[Input | str]
    commands: int = field(default=0)

    def next_command(self, state: ChatState) -> Command | None:
        """The command of the next input; None where there is none. Raises PlayError."""
        if not self.remaining:
            return None
        given = self.remaining.pop(0)
        self.commands += 1
        named: dict[str, Any] = {
            "command_id": CommandId(f"input-{self.commands}"),
            "app_id": KEY.app,
            "chat_id": KEY.chat,
            "user_id": USER,
        }
        turn = state.open_turn
        question = turn.unanswered[0] if turn is not None and turn.unanswered else None
        if isinstance(given, str):
            given = Answer(given) if isinstance(question, HumanAsked) else Say(given)
        match given:
            case Say(text):
                return SendMessage(**named, text=text)
            case Answer(text, approved, always) if isinstance(question, HumanAsked):
                return AnswerQuestion(
                    **{**named, **_answerer(question)},
                    question_id=question.question_id,
                    text=text,
                    approved=approved,
                    always=always,
                )
            case Component(response) if question is not None and not isinstance(
                question, HumanAsked
            ):
                answer = dict(response)
                by = {**named, **_answerer(question)}
                return AnswerUiTool(**by, question_id=question.question_id, response=answer)
            case Expire() if question is not None:
                return ExpireQuestion(**named, question_id=question.question_id)
            case _:
                waits_for = "a message" if question is None else f"the answer to {question!r:.200}"
                raise PlayError(
                    f"input {self.commands} is {given!r:.200}, the chat waits for {waits_for}"
                )


def _answerer(question: Question) -> dict[str, Any]:
    """Who answers: the chat's user, or the first user or role that is asked instead."""
    audience = question.audience
    if audience is None:
        return {}
    if audience.users:
        return {"user_id": audience.users[0]}
    return {"role": audience.roles[0]}


async def play(
    workflow: Path | str,
    inputs: Iterable[Input | str] = (),
    *,
    message: str | None = None,
    replies: Mapping[str, Sequence[str | Mapping[str, Any]]] = MappingProxyType({}),
    models: ModelFactory | None = None,
    variables: Mapping[str, Any] = MappingProxyType({}),
    data: Mapping[str, Any] = MappingProxyType({}),
    environment: Mapping[str, str] = NO_ENVIRONMENT,
    model_calls: int = MAX_MODEL_CALLS,
) -> PlayedChat:
    """Play a chat of the workflow in a folder until it ends, or waits and there is no input left.

    `message` is sent with the start. A text among the inputs is a message where it is the user's
    turn, and an answer where a tool asks. `replies` are the lines of agents in the form of
    `demo.json` (a text, or `{"say": ..., "calls": [{"tool": ..., "arguments": {...}}]}`); agents
    without any have those of the workflow's own `demo.json`. `models` replaces both. `variables` are
    what a client sets at the start, `data` the values of variables that are looked up in databases.
    `model_calls` is how many calls of its model a turn may make.

    Tools run for real. Raises PlayError where the workflow does not load, an input does not fit, or
    the chat does not come to an end.
    """
    version = _version(Path(workflow), replies, models, environment)
    chat = MemoryChat(KEY, version.workflow.name, data)
    start = StartChat(
        command_id=CommandId("start"),
        app_id=KEY.app,
        chat_id=KEY.chat,
        user_id=USER,
        workflow_name=version.workflow.name,
        message=message,
        variables=dict(variables),
    )
    chat.add(decide(start, chat.state, version.workflow), cause=start.command_id)
    await _run(chat, version, _Inputs(list(inputs)), model_calls)
    return PlayedChat(tuple(chat.facts), chat.state)


def _version(
    folder: Path,
    replies: Mapping[str, Sequence[str | Mapping[str, Any]]],
    models: ModelFactory | None,
    environment: Mapping[str, str],
) -> WorkflowVersion:
    loaded = load(folder, environment)
    if isinstance(loaded, BrokenWorkflow):
        raise PlayError(f"{folder}: {'; '.join(loaded.problems)}")
    scripts = {
        agent: {"lines": [{"say": one} if isinstance(one, str) else dict(one) for one in lines]}
        for agent, lines in replies.items()
    }
    written = loaded.demo.model_dump()["agents"]
    scripted = DemoScripts.model_validate({"agents": {**written, **scripts}})
    demo_models = ModelFactory(
        demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
    )
    built = build_version(replace(loaded, demo=scripted), models or demo_models, environment)
    if isinstance(built, BrokenWorkflow):
        raise PlayError(f"{folder}: {'; '.join(built.problems)}")
    return built


async def _run(
    chat: MemoryChat, version: WorkflowVersion, inputs: _Inputs, model_calls: int
) -> None:
    execute, workflow = AgentExecutor(version, model_calls), version.workflow
    journal = cast(ChatJournal, chat)  # what the executor uses of it
    for _ in range(MAX_EFFECTS):
        effect = pending(chat.state)
        if effect is None:
            if chat.state.ended or (command := inputs.next_command(chat.state)) is None:
                return
            events = decide(command, chat.state, workflow)
            if not events:
                raise PlayError(f"input {inputs.commands} changes nothing: {command!r:.200}")
            chat.add(events, cause=command.command_id)
        elif isinstance(effect, RunLifecycleTools) and not lifecycle_calls(
            effect.occasion, chat.state, workflow
        ):
            chat.add(skip_lifecycle_tools(effect.occasion, chat.state))
        else:
            outcome = await execute(effect, workflow, journal)
            chat.add(conclude(outcome, chat.state, workflow))
    raise PlayError(f"the chat does not come to an end within {MAX_EFFECTS} steps")
