"""What an AG-UI client knows of a chat after some event of it, and from where a run is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    UserMessageReceived,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import (
    SELECTOR,
    SpeakerSelected,
    TurnCompleted,
    TurnFailed,
    VariablesChanged,
)
from contracts.ids import AgentName, QuestionId, Seq
from contracts.reserved import is_reserved
from services.transport.agui import naming
from services.transport.chatview import PERSON

NOTHING = Seq(0)
"""The cursor of those who have seen no event."""

Question = HumanAsked | UiToolRequested
Ending = ChatCompleted | ChatFailed | ChatCancelled

SILENT = (PERSON, SELECTOR)
"""Whose turn is no step of a run."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A chat after event `seq`: its variables, whose turn is open, what the person is asked."""

    seq: Seq = NOTHING
    variables: Mapping[str, Any] = field(default_factory=dict)
    step: AgentName | None = None
    questions: Mapping[QuestionId, Question] = field(default_factory=dict)
    ended: Ending | None = None


def see(standing: Standing, fact: Fact) -> Standing:
    """The standing after one more fact."""
    return replace(_after(standing, fact.event), seq=fact.envelope.seq)


def _after(now: Standing, event: Event) -> Standing:
    match event:
        case ChatStarted(variables=variables):
            return replace(now, variables=_public(variables))
        case VariablesChanged(changed=changed, removed=removed):
            kept = {name: value for name, value in now.variables.items() if name not in removed}
            return replace(now, variables={**kept, **_public(changed)})
        case SpeakerSelected(agent=agent):
            return replace(now, step=None if agent in SILENT else agent)
        case TurnCompleted() | TurnFailed():
            return replace(now, step=None)
        case HumanAsked() | UiToolRequested():
            return replace(now, questions={**now.questions, event.question_id: event})
        case HumanAnswered() | UiToolAnswered() | QuestionExpired():
            left = {name: one for name, one in now.questions.items() if name != event.question_id}
            return replace(now, questions=left)
        case ChatCompleted() | ChatFailed() | ChatCancelled():
            return replace(now, step=None, questions={}, ended=event)
        case _:
            return now


def _public(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if not is_reserved(name)}


def rests(event: Event, standing: Standing) -> bool:
    """Whether a chat that came to `standing` by this event goes on only when the person acts."""
    match event:
        case SpeakerSelected(agent=agent):
            return agent == PERSON
        case HumanAsked() | UiToolRequested():
            return True
        case UserMessageReceived() | HumanAnswered() | UiToolAnswered():
            return bool(standing.questions)
        case ChatCompleted() | ChatFailed() | ChatCancelled():
            return True
        case _:
            return False


def acts_of(fact: Fact) -> frozenset[str]:
    """What the person did: the message that was said, the question that was answered."""
    match fact.event:
        case UserMessageReceived():
            return frozenset([words_of(fact)])
        case HumanAnswered(question_id=question):
            return frozenset([words_of(fact), question])
        case UiToolAnswered(question_id=question) | QuestionExpired(question_id=question):
            return frozenset([question])
        case _:
            return frozenset()


def words_of(fact: Fact) -> str:
    """The message that holds a person's words."""
    said = naming.message_of(fact.envelope.cause)
    return said or naming.heard(fact.envelope.chat_id, fact.envelope.seq)


@dataclass(frozen=True, slots=True)
class Past:
    """A chat so far, as someone sees it who comes with a cursor and with things to do.

    `passed` is the standing at the cursor, `before` the one before the first of those things where
    one was done already, `rested` the one at which the chat last began to wait for the person.
    """

    now: Standing = Standing()
    passed: Standing = Standing()
    before: Standing | None = None
    rested: Standing | None = None
    done: frozenset[str] = frozenset()


def pass_on(past: Past, fact: Fact, after: Seq | None, things: frozenset[str]) -> Past:
    """The past with one more fact."""
    now, acts = see(past.now, fact), acts_of(fact)
    rested = None if acts else past.rested
    if rested is None and rests(fact.event, now):
        rested = now
    first_of_them = past.before is None and bool(acts & things)
    return Past(
        now=now,
        passed=now if after is not None and fact.envelope.seq <= after else past.passed,
        before=past.now if first_of_them else past.before,
        rested=rested,
        done=past.done | (acts & things),
    )


def beginning(past: Past, after: Seq | None, things: frozenset[str]) -> Standing:
    """From where a run is told: no word of it twice, and none left out."""
    if after is not None:
        return past.passed
    if past.before is not None:
        return past.before
    if things:
        return past.rested or past.now
    return Standing()
