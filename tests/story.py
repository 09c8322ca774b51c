"""Chats as stories: `given(what happened).when(an order or an outcome)` is what becomes true next."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from contracts.codec import Fact, Origin, seal
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    CancelChat,
    Command,
    SendMessage,
    StartChat,
    StopAnswer,
)
from contracts.events import Event
from contracts.events.chat import ChatStarted, UserMessageReceived
from contracts.events.human import HumanAnswered, HumanAsked, UiToolRequested
from contracts.events.parts import DataPart, TextPart, ToolCall
from contracts.events.turn import (
    Choice,
    ModelResponded,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
)
from contracts.ids import (
    AgentName,
    AppId,
    ChatId,
    ChatKey,
    CommandId,
    QuestionId,
    Seq,
    UserId,
    WorkflowName,
)
from contracts.subjects import question
from contracts.transcript import transcript
from services.orchestrator.domain.decisions import conclude, decide
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn_steps import Outcome
from services.orchestrator.workflows.spec import USER, Agent, Workflow

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = ChatKey(AppId("acme.corp"), ChatId("chat 1"))
ANA = UserId("ana")
WRITER, EDITOR = AgentName("Writer"), AgentName("Editor")

NEWSROOM = Workflow(
    name=WorkflowName("Newsroom"),
    agents={
        WRITER: Agent(WRITER, "Write.", after_work=EDITOR),
        EDITOR: Agent(EDITOR, "Edit."),
    },
    initial_agent=WRITER,
    settable={"tone": (), "colour": ("palette",)},
)
"""The writer writes, the editor edits, and that is it."""


@dataclass(frozen=True)
class Story:
    """What has happened in one chat so far."""

    facts: tuple[Fact, ...] = ()
    workflow: Workflow | None = NEWSROOM
    known: tuple[int, ChatState] = field(default=(0, ChatState()), repr=False, compare=False)
    """The state after so many of the facts: to fold all of a long story at each step takes long."""

    @cached_property
    def state(self) -> ChatState:
        count, state = self.known
        return replay(self.facts[count:], state)

    @property
    def transcript(self) -> list[dict[str, Any]]:
        """In strict AG2 format."""
        return [message.to_ag2() for message in transcript(fact.event for fact in self.facts)]

    def when(self, told: Command | Outcome) -> list[Event]:
        """What an order, or the outcome of the open turn, makes true."""
        if isinstance(told, Command):
            return decide(told, self.state, self.workflow)
        return conclude(told, self.state, self.workflow)

    def then(self, *told: Event | Command) -> "Story":
        """The story with more of it: events, or orders and all that they bring about."""
        story = self
        for next_ in told:
            if isinstance(next_, Command):
                story = story._told(story.when(next_), next_.command_id)
            else:
                story = story._told([next_], "told")
        return story

    def under(self, workflow: Workflow | None) -> "Story":
        """The same, where the workflow says otherwise."""
        return replace(self, workflow=workflow)

    def _told(self, events: Sequence[Event], cause: str) -> "Story":
        known = (len(self.facts), self.state) if "state" in vars(self) else self.known
        facts = sealed(events, cause=cause, first=len(self.facts) + 1)
        return replace(self, facts=(*self.facts, *facts), known=known)


def given(*told: Event | Command) -> Story:
    return Story().then(*told)


def sealed(events: Sequence[Event], *, cause: str = "told", first: int = 1) -> list[Fact]:
    """The events in their envelopes, a second apart."""
    return [
        seal(event, Seq(seq), Origin(KEY, NEWSROOM.name, NOON + timedelta(seconds=seq), cause))
        for seq, event in enumerate(events, start=first)
    ]


# -- orders ---------------------------------------------------------------------------------------


def order(name: str) -> dict[str, Any]:
    """What every command of this chat carries; `name` tells two alike apart."""
    return {
        "command_id": CommandId(name),
        "app_id": KEY.app,
        "chat_id": KEY.chat,
        "user_id": ANA,
    }


def start(message: str | None = None, **variables: Any) -> StartChat:
    return StartChat(
        **order("start"), workflow_name=NEWSROOM.name, message=message, variables=variables
    )


def say(text: str, name: str = "say") -> SendMessage:
    return SendMessage(**order(name), text=text)


def reply(text: str, to: QuestionId | None = None) -> AnswerQuestion:
    return AnswerQuestion(**order("reply"), question_id=to or asked().question_id, text=text)


def press(response: dict[str, Any], to: QuestionId | None = None) -> AnswerUiTool:
    return AnswerUiTool(**order("press"), question_id=to or asked().question_id, response=response)


def stop_answer(turn: int | None = None, name: str = "stop") -> StopAnswer:
    return StopAnswer(**order(name), turn=turn)


CANCEL = CancelChat(**order("cancel"), reason="enough")


# -- events ---------------------------------------------------------------------------------------

STARTED = ChatStarted(user_id=ANA, seed=7)


def heard(text: str) -> UserMessageReceived:
    return UserMessageReceived(user_id=ANA, text=text)


def speaks(agent: AgentName = WRITER, turn: int = 1, by: Choice = "initial") -> SpeakerSelected:
    return SpeakerSelected(turn=turn, agent=agent, by=by)


def listens(turn: int) -> SpeakerSelected:
    """It is the person's turn."""
    return SpeakerSelected(turn=turn, agent=USER, by="after_work")


def calls(*names: str, turn: int = 1, call: int = 0, agent: AgentName = WRITER) -> ModelResponded:
    """The model calls the named tools; their call ids are call-1, call-2, ..."""
    wanted = [ToolCall(id=f"call-{n}", name=name) for n, name in enumerate(names, 1)]
    return ModelResponded(turn=turn, call=call, agent=agent, tool_calls=wanted)


def says(text: str, turn: int = 1, call: int = 0, agent: AgentName = WRITER) -> ModelResponded:
    return ModelResponded(turn=turn, call=call, agent=agent, text=text)


def returns(number: int = 1, value: Any = "done", turn: int = 1) -> ToolReturned:
    """What tool call `number` of the response before came to."""
    part = TextPart(text=value) if isinstance(value, str) else DataPart(data=value)
    return ToolReturned(
        turn=turn,
        call=0,
        agent=WRITER,
        tool_call_id=f"call-{number}",
        name="tool",
        status="ok",
        parts=[part],
    )


def asked(number: int = 1, ordinal: int = 0) -> HumanAsked:
    """Tool call `number` of turn 1 asks the person."""
    return HumanAsked(
        question_id=question(KEY, 1, f"call-{number}", ordinal),
        turn=1,
        agent=WRITER,
        tool_call_id=f"call-{number}",
        ordinal=ordinal,
        prompt="Which colour?",
    )


def answered(text: str = "red", number: int = 1, ordinal: int = 0) -> HumanAnswered:
    return HumanAnswered(question_id=asked(number, ordinal).question_id, user_id=ANA, text=text)


def shown(number: int = 1) -> UiToolRequested:
    """Tool call `number` of turn 1 shows the person a component."""
    return UiToolRequested(
        question_id=asked(number).question_id,
        turn=1,
        agent=WRITER,
        tool_call_id=f"call-{number}",
        ordinal=0,
        ui_tool_id="pick",
        component="Picker",
    )


def done(
    text: str = "Done.",
    turn: int = 1,
    agent: AgentName = WRITER,
    handoff: AgentName | None = None,
) -> TurnCompleted:
    return TurnCompleted(turn=turn, agent=agent, text=text, handoff=handoff)
