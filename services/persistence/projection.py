"""Events -> what they make of a chat's session, its transcript, its statistics and its summary."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from contracts.catalogue import ChatStatus, ChatSummary
from contracts.envelope import Envelope
from contracts.event_log import EMPTY
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    CommandGivenUp,
    HistoryCompacted,
    ToolCodeChanged,
    UserMessageReceived,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.parts import ToolCall, text_of
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    SELECTOR,
    ConversationProcessed,
    ModelRequested,
    ModelResponded,
    OutputStructured,
    SpeakerSelected,
    ToolInvoked,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    UsageRecorded,
    VariablesChanged,
)
from contracts.ids import AgentName, ChatKey, QuestionId, StreamSeq
from contracts.prices import PRICES, cost_told
from services.persistence.store import (
    Archived,
    CalledFunction,
    Change,
    ChatStats,
    Message,
    MessageCall,
    Role,
    Session,
)

PERSON = AgentName("user")
TITLE_LENGTH = 80


class GapError(Exception):
    """Events are missing between what is known of a chat and what came."""

    def __init__(self, key: ChatKey, expected: int, got: int) -> None:
        super().__init__(f"{key.app}/{key.chat}: expected event {expected}, got {got}")


def advance(session: Session | None, events: Iterable[Archived]) -> Change | None:
    """Lead a session past events in order; those it knows already change nothing.

    None where there is neither a session nor an event. Raises GapError.
    """
    messages: list[Message] = []
    for one in events:
        envelope, event = one.envelope, one.stored.event
        known = session.last_seq if session is not None else 0
        if envelope.seq <= known:
            continue
        if envelope.seq > known + 1:
            raise GapError(envelope.key, known + 1, envelope.seq)
        session = _fold(session or _begin(envelope), one)
        said = None if event is None else message_of(envelope, event)
        if said is not None:
            session = replace(session, message_count=session.message_count + 1)
            messages.append(said)
    if session is None:
        return None
    return Change(session, stats_of(session), tuple(messages))


def _begin(envelope: Envelope) -> Session:
    return Session(
        app_id=envelope.app_id,
        chat_id=envelope.chat_id,
        workflow_name=envelope.workflow_name,
        created_at=_to_millis(envelope.time),
        last_updated_at=_to_millis(envelope.time),
        last_seq=EMPTY.seq,
        last_digest=EMPTY.digest,
        last_position=StreamSeq(0),
    )


def _fold(session: Session, one: Archived) -> Session:
    head, time = one.stored.head, _to_millis(one.envelope.time)
    session = replace(
        session,
        last_seq=head.seq,
        last_digest=head.digest,
        last_position=one.position,
        last_updated_at=time,
    )
    if one.stored.event is None:
        return session
    session = _evolve(session, one.stored.event, time)
    return session if session.ended_at else replace(session, status=_status(session))


def _status(session: Session) -> ChatStatus:
    return "waiting" if session.open_questions or session.speaker == PERSON else "running"


def _evolve(session: Session, event: Event, time: datetime) -> Session:
    match event:
        case ChatStarted(user_id=user, seed=seed, client_request_id=request):
            return replace(session, user_id=user, cache_seed=seed, client_request_id=request)
        case UserMessageReceived(text=text):
            heard = None if session.speaker == PERSON else session.speaker
            return replace(session, speaker=heard, title=session.title or _title(text))
        case SpeakerSelected(agent=agent):
            return replace(session, speaker=agent)
        case HumanAsked(question_id=asked) | UiToolRequested(question_id=asked):
            return _opened(session, asked)
        case HumanAnswered(question_id=answered, text=text):
            session = replace(session, title=session.title or _title(text))
            return _closed(session, answered)
        case UiToolAnswered(question_id=answered) | QuestionExpired(question_id=answered):
            return _closed(session, answered)
        case ToolReturned(status=status):
            failed = status != "ok"
            calls, errors = session.tool_calls + 1, session.errors + failed
            return replace(session, tool_calls=calls, errors=errors)
        case UsageRecorded(tokens=tokens) as usage:
            return replace(
                session,
                prompt_tokens=session.prompt_tokens + round(tokens.prompt or 0),
                completion_tokens=session.completion_tokens + round(tokens.completion or 0),
                cost=session.cost + cost_told(usage, PRICES),
            )
        case TurnCompleted():
            turns = session.agent_turns + 1
            return replace(session, agent_turns=turns, speaker=None, open_questions=())
        case TurnFailed():
            errors = session.errors + 1
            return replace(session, errors=errors, speaker=None, open_questions=())
        case ChatCompleted(reason=reason):
            return replace(_ended(session, "completed", reason, time), completed_at=time)
        case ChatFailed(code=code):
            return _ended(session, "failed", code, time)
        case ChatCancelled(reason=reason):
            return _ended(session, "cancelled", reason, time)
        case (
            ModelRequested()
            | ModelResponded()
            | VariablesChanged()
            | OutputStructured()
            | ToolInvoked()
            | ConversationProcessed()
            | AttachmentUploaded()
            | HistoryCompacted()
            | ToolCodeChanged()
            | BusinessLogged()
            | RunClaimed()
            | CommandGivenUp()
        ):
            return session


def _opened(session: Session, question: QuestionId) -> Session:
    return replace(session, open_questions=(*session.open_questions, question))


def _closed(session: Session, question: QuestionId) -> Session:
    still = tuple(other for other in session.open_questions if other != question)
    return replace(session, open_questions=still)


def _ended(session: Session, status: ChatStatus, reason: str, time: datetime) -> Session:
    return replace(
        session, status=status, end_reason=reason, ended_at=time, speaker=None, open_questions=()
    )


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1] + "…"


def _to_millis(time: datetime) -> datetime:
    # MongoDB keeps milliseconds: cut here, so that a session is the same before and after storage.
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def message_of(envelope: Envelope, event: Event) -> Message | None:
    """What an event adds to the transcript.

    A person's answer is no line of its own: it reaches the model as the result of the tool that
    asked, and between a call and its result the strict form allows nothing else. The selector's
    choices are no lines either, nor are the results of tools that no model called.
    """
    match event:
        case ToolReturned(occasion=occasion) if occasion is not None:
            return None
        case ModelResponded(agent=agent) | ToolReturned(agent=agent) if agent == SELECTOR:
            return None
        case UserMessageReceived():
            return _message(envelope, "user", PERSON, event.text)
        case ModelResponded():
            calls = tuple(_call(call) for call in event.tool_calls)
            return _message(envelope, "assistant", event.agent, event.text, calls=calls)
        case ToolReturned():
            content = text_of(event.parts) or event.error or ""
            return _message(envelope, "tool", event.name, content, answers=event.tool_call_id)
        case _:
            return None


def _message(
    envelope: Envelope,
    role: Role,
    name: str,
    content: str | None,
    *,
    calls: tuple[MessageCall, ...] = (),
    answers: str | None = None,
) -> Message:
    return Message(
        app_id=envelope.app_id,
        chat_id=envelope.chat_id,
        seq=envelope.seq,
        time=_to_millis(envelope.time),
        role=role,
        name=name,
        content=content,
        tool_calls=calls or None,
        tool_call_id=answers,
    )


def _call(call: ToolCall) -> MessageCall:
    return MessageCall(
        id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments)
    )


def strict_transcript(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The strict AG2 form of a chat, tool results in the order of their calls.

    They are stored as they came in, which with parallel tools says nothing.
    """
    lines: list[dict[str, Any]] = []
    results: list[Message] = []
    order: dict[str | None, int] = {}
    for message in messages:
        if message.role == "tool":
            results.append(message)
            continue
        lines += _in_call_order(results, order)
        results = []
        order = {call.id: place for place, call in enumerate(message.tool_calls or ())}
        lines.append(message.strict())
    return lines + _in_call_order(results, order)


def _in_call_order(
    results: Sequence[Message], order: dict[str | None, int]
) -> list[dict[str, Any]]:
    placed = sorted(results, key=lambda result: order.get(result.tool_call_id, len(order)))
    return [result.strict() for result in placed]


def stats_of(session: Session) -> ChatStats:
    until = session.ended_at or session.last_updated_at
    return ChatStats(
        app_id=session.app_id,
        chat_id=session.chat_id,
        workflow_name=session.workflow_name,
        status=session.status,
        last_seq=session.last_seq,
        last_updated_at=session.last_updated_at,
        duration_sec=(until - session.created_at).total_seconds(),
        agent_turns=session.agent_turns,
        tool_calls=session.tool_calls,
        errors=session.errors,
        prompt_tokens=session.prompt_tokens,
        completion_tokens=session.completion_tokens,
        total_tokens=session.prompt_tokens + session.completion_tokens,
        cost=session.cost,
    )


def summary_of(session: Session) -> ChatSummary | None:
    """The chat's row in its user's list; none as long as nobody knows whose it is."""
    if session.user_id is None:
        return None
    return ChatSummary(
        app_id=session.app_id,
        chat_id=session.chat_id,
        user_id=session.user_id,
        workflow_name=session.workflow_name,
        status=session.status,
        title=session.title,
        created_at=session.created_at,
        updated_at=session.last_updated_at,
        last_seq=session.last_seq,
    )
