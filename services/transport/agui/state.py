"""State of a thread as an AG-UI client knows it, and the state that a run starts from. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatErased,
    ChatFailed,
    ChatRewound,
    ChatStarted,
    UserMessageReceived,
    UserMessageRefused,
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
    USER,
    SpeakerSelected,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
    VariablesChanged,
)
from contracts.ids import AgentName, QuestionId, Seq
from contracts.message_ids import client_message_id
from contracts.reserved_variables import is_reserved
from contracts.wire.frames import StoredValueLink
from services.transport.agui import ids
from services.transport.protocol.stored_values import links, payload_of

START_CURSOR = Seq(0)
"""The cursor before the first event."""

Question = HumanAsked | UiToolRequested
EndEvent = ChatCompleted | ChatFailed | ChatCancelled | ChatErased

HIDDEN_SPEAKERS = (USER, SELECTOR)
"""Speakers whose turn is not a step of a run."""


@dataclass(frozen=True, slots=True)
class ThreadState:
    """A chat after event `seq`: its public variables, the agent whose turn is open, the open questions."""

    seq: Seq = START_CURSOR
    variables: Mapping[str, Any] = field(default_factory=dict)
    step: AgentName | None = None
    questions: Mapping[QuestionId, Question] = field(default_factory=dict)
    asked: Mapping[QuestionId, Question] = field(default_factory=dict)
    """Every question so far: a rewind may open one again."""
    ended: EndEvent | None = None
    stopped: bool = False
    """Whether the user has stopped the last answer."""
    stored: Mapping[str, StoredValueLink] = field(default_factory=dict)
    """By JSON Pointer into the variables: where the whole values are of which these are beginnings."""


def apply(state: ThreadState, fact: Fact) -> ThreadState:
    """The state after one more fact."""
    return replace(_apply_event(state, fact), seq=fact.envelope.seq)


def _apply_event(now: ThreadState, fact: Fact) -> ThreadState:
    match event := fact.event:
        case ChatStarted(variables=variables):
            stored = _links(fact, "/variables")
            return replace(now, variables=_public(variables), stored=stored)
        case VariablesChanged(changed=changed, removed=removed):
            kept = {name: value for name, value in now.variables.items() if name not in removed}
            links = {
                path: link
                for path, link in now.stored.items()
                if path not in map(ids.json_pointer, (*changed, *removed))
            }
            links |= _links(fact, "/changed")
            return replace(now, variables={**kept, **_public(changed)}, stored=links)
        case SpeakerSelected(agent=agent):
            stopped = now.stopped and agent == USER
            return replace(now, step=None if agent in HIDDEN_SPEAKERS else agent, stopped=stopped)
        case TurnStopped(by=by):
            return replace(now, step=None, stopped=by in ("stop", "budget"))
        case TurnCompleted() | TurnFailed():
            return replace(now, step=None)
        case HumanAsked():
            return _opened(now, event)
        case UiToolRequested():
            shown = event.model_copy(update={"payload": payload_of(fact.envelope, event)})
            return _opened(now, shown)
        case HumanAnswered() | UiToolAnswered() | QuestionExpired():
            remaining = {
                name: question
                for name, question in now.questions.items()
                if name != event.question_id
            }
            return replace(now, questions=remaining)
        case UserMessageReceived() if isinstance(now.ended, ChatFailed) and now.ended.resumable:
            return replace(now, ended=None)
        case ChatRewound():
            return _rewound(now, event)
        case ChatCompleted() | ChatFailed() | ChatCancelled():
            return replace(now, step=None, questions={}, ended=event)
        case ChatErased():
            return ThreadState(ended=event)
        case _:
            return now


def _opened(now: ThreadState, question: Question) -> ThreadState:
    new = {question.question_id: question}
    return replace(now, questions={**now.questions, **new}, asked={**now.asked, **new})


def _rewound(now: ThreadState, event: ChatRewound) -> ThreadState:
    restored = event.restored
    open_ = [one.question.question_id for one in restored.questions]
    kept = {name: one for name, one in now.variables.items() if name not in restored.removed}
    return replace(
        now,
        variables={**kept, **_public(restored.changed)},
        step=None,
        questions={one: now.asked[one] for one in open_ if one in now.asked},
        ended=None,
        stopped=False,
    )


def _links(fact: Fact, field_path: str) -> dict[str, StoredValueLink]:
    """The large values of a field of variables, by their place in it."""
    found = {
        one.path.removeprefix(field_path): one
        for one in links(fact.envelope, fact.event)
        if one.path == field_path or one.path.startswith(f"{field_path}/")
    }
    return {path: link.model_copy(update={"path": path}) for path, link in found.items()}


def _public(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if not is_reserved(name)}


def waits_for_user(event: Event, state: ThreadState) -> bool:
    """Whether a chat that is in `state` after this event waits for the user, or has ended."""
    match event:
        case SpeakerSelected(agent=agent):
            return agent == USER
        case HumanAsked() | UiToolRequested():
            return True
        case ChatRewound(kind=kind):
            return kind == "rewind"
        case UserMessageReceived() | HumanAnswered() | UiToolAnswered():
            return bool(state.questions)
        case ChatCompleted() | ChatFailed() | ChatCancelled() | ChatErased():
            return True
        case _:
            return False


def user_action_ids(fact: Fact) -> frozenset[str]:
    """The ids of what the user did by this fact: the message, the answered question."""
    match fact.event:
        case UserMessageReceived() | UserMessageRefused(message=None):
            return frozenset([user_message_id(fact)])
        case HumanAnswered(question_id=question):
            return frozenset([user_message_id(fact), question])
        case UiToolAnswered(question_id=question) | QuestionExpired(question_id=question):
            return frozenset([question])
        case _:
            return frozenset()


def user_message_id(fact: Fact) -> str:
    """The message id of a text of the user: the client's own, where an AG-UI client sent it."""
    client_id = client_message_id(fact.envelope.cause)
    return client_id or ids.user_message_id(fact.envelope.chat_id, fact.envelope.seq)


@dataclass(frozen=True, slots=True)
class ThreadHistory:
    """A chat so far, relative to the cursor and the actions of a run.

    `at_cursor` is the state at the cursor, `before_actions` the one before the first action of the
    run where one is done already, `last_waiting` the one in which the chat last started to wait for
    the user. `done` are the actions of the run that the log contains already.
    """

    now: ThreadState = ThreadState()
    at_cursor: ThreadState = ThreadState()
    before_actions: ThreadState | None = None
    last_waiting: ThreadState | None = None
    done: frozenset[str] = frozenset()


def extend(
    history: ThreadHistory, fact: Fact, after: Seq | None, action_ids: frozenset[str]
) -> ThreadHistory:
    """The history with one more fact."""
    now, actions = apply(history.now, fact), user_action_ids(fact)
    last_waiting = None if actions else history.last_waiting
    if last_waiting is None and waits_for_user(fact.event, now):
        last_waiting = now
    is_first_action = history.before_actions is None and bool(actions & action_ids)
    return ThreadHistory(
        now=now,
        at_cursor=now if after is not None and fact.envelope.seq <= after else history.at_cursor,
        before_actions=history.now if is_first_action else history.before_actions,
        last_waiting=last_waiting,
        done=history.done | (actions & action_ids),
    )


def start_state(
    history: ThreadHistory, after: Seq | None, action_ids: frozenset[str]
) -> ThreadState:
    """The state from which a run is streamed, so that nothing is repeated and nothing is missing."""
    if after is not None:
        return history.at_cursor
    if history.before_actions is not None:
        return history.before_actions
    if action_ids:
        return history.last_waiting or history.now
    return ThreadState()
