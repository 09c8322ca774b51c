"""Projects events of a chat to its session, messages, statistics and summary."""

from collections.abc import Iterable, Sequence

from contracts.catalogue import ChatSummary
from contracts.chat_snapshot import Fold, to_milliseconds
from contracts.effects import record_of
from contracts.events.turn import USER, ModelResponded, TextInterrupted, ToolReturned
from contracts.ids import ChatKey
from contracts.inbox import recipients
from contracts.runtime_log import ModelCall, model_call_of
from contracts.transcript import message_of
from services.persistence.store.interface import (
    ArchivedEvent,
    ChatStats,
    Message,
    ProjectionUpdate,
    Session,
    StoredEffect,
)


class SequenceGapError(Exception):
    """Events are missing between what is known of a chat and what came."""

    def __init__(self, key: ChatKey, expected: int, got: int) -> None:
        super().__init__(f"{key.app}/{key.chat}: expected event {expected}, got {got}")


def advance(session: Session | None, events: Iterable[ArchivedEvent]) -> ProjectionUpdate | None:
    """The session after these events in order; those it knows already change nothing.

    The messages and effects of a fork are its own: those of its origin are stored with that.

    None where there is neither a session nor an event. Raises SequenceGapError.
    """
    known = session.last_seq if session is not None else 0
    new: list[ArchivedEvent] = []
    for event in events:
        envelope = event.envelope
        if event.stored.is_erasure and envelope.seq > known:
            known = envelope.seq
            new = [event]
            continue
        if envelope.seq > known + 1:
            raise SequenceGapError(envelope.key, known + 1, envelope.seq)
        if envelope.seq == known + 1:
            known = envelope.seq
            new.append(event)
    if new:
        messages = tuple(made for event in new if (made := _message(event)) is not None)
        session = _after(session or Session.before(new[0].envelope), new, len(messages))
        own = [event for event in new if event.envelope.key == session.key]
        messages = tuple(one for one in messages if one.key == session.key)
        effects = tuple(one for event in own if (one := _effect(event)) is not None)
        calls = tuple(call for event in own if (call := _model_call(event)) is not None)
        return ProjectionUpdate(session, stats_of(session), messages, effects, calls)
    return None if session is None else ProjectionUpdate(session, stats_of(session))


def _after(session: Session, events: Sequence[ArchivedEvent], messages: int) -> Session:
    fold, last = Fold(session), events[-1]
    for one in events:
        fold.apply(one.stored.envelope, one.stored.event)
    return fold.result(
        last_digest=last.stored.head.digest,
        last_position=last.position,
        message_count=0 if last.stored.is_erasure else session.message_count + messages,
    )


def _message(archived: ArchivedEvent) -> Message | None:
    event, envelope = archived.stored.event, archived.envelope
    message = message_of(event)
    if message is None:
        return None
    match event:
        case ModelResponded(agent=agent) | ToolReturned(agent=agent) | TextInterrupted(agent=agent):
            pass
        case _:
            agent = USER
    return Message(
        role=message.role,
        name=message.name,
        content=message.content,
        tool_calls=message.tool_calls,
        tool_call_id=message.tool_call_id,
        interrupted=message.interrupted,
        app_id=envelope.app_id,
        chat_id=envelope.chat_id,
        seq=envelope.seq,
        time=to_milliseconds(envelope.time),
        agent=agent,
        hidden=isinstance(event, ModelResponded) and event.hidden,
    )


def _effect(archived: ArchivedEvent) -> StoredEffect | None:
    record = record_of(archived.envelope, archived.stored.event)
    return None if record is None else StoredEffect(archived.envelope.key, record)


def _model_call(archived: ArchivedEvent) -> ModelCall | None:
    return model_call_of(archived.envelope, archived.stored.event)


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
        totals=session.totals,
    )


def inbox_change(before: Session | None, after: Session) -> frozenset[str]:
    """The users and roles for whom other questions of the chat are open than before."""
    if before is not None and before.key != after.key:
        before = None  # a fork has open questions of its origin
    old = () if before is None else before.open_questions
    if old == after.open_questions:
        return frozenset()
    earlier = () if before is None else recipients(before)
    return frozenset((*earlier, *recipients(after)))


def summary_of(session: Session) -> ChatSummary | None:
    """The chat's row in its user's list; None as long as its user is unknown."""
    if session.user_id is None:
        return None
    return ChatSummary(
        app_id=session.app_id,
        chat_id=session.chat_id,
        user_id=session.user_id,
        workflow_name=session.workflow_name,
        status=session.status,
        title=session.title,
        archived=session.is_archived,
        deleted=session.deleted_at is not None,
        created_at=session.created_at,
        updated_at=session.last_updated_at,
        last_seq=session.last_seq,
        origin=session.origin,
    )
