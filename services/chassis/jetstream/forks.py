"""Find the place at which a chat is forked, by a few small reads, whatever the length of the chat."""

from dataclasses import dataclass

from contracts.events.chat import ChatForked, ChatStarted, Segment
from contracts.forks import ForkPoint, fork_point, holder, segments_before
from contracts.ids import ChatKey, Seq, UserId
from services.chassis.jetstream.event_log import EventLog


@dataclass(frozen=True, slots=True)
class LocatedFork:
    """Where a fork of a chat begins, whose chat it is, and which chats hold the events before."""

    user: UserId
    point: ForkPoint
    segments: tuple[Segment, ...]


async def user_of(events: EventLog, key: ChatKey) -> UserId | None:
    """The user of a chat, by its first event; None where there is no such chat.

    Raises NatsUnavailableError.
    """
    first = await events.first(key)
    event = None if first is None else first.events[0].event
    return event.user_id if isinstance(event, ChatStarted | ChatForked) else None


async def locate_fork(events: EventLog, origin: ChatKey, seq: Seq | None) -> LocatedFork | None:
    """Where a fork of a chat at event `seq`, None: the newest, begins; None where there is no such
    chat or event.

    Raises ForkPositionError where the chat cannot be forked there, and NatsUnavailableError.
    """
    found = await events.first(origin)
    first = None if found is None else found.events[0].event
    if not isinstance(first, ChatStarted | ChatForked):
        return None
    if seq is None:
        seq = await events.last_seq(origin)
    message = await events.message_at(ChatKey(origin.app, holder(origin.chat, first, seq)), seq)
    if message is None:
        return None
    point = fork_point(message.events, seq)
    segments = segments_before(origin.chat, first, point.head.seq)
    return LocatedFork(first.user_id, point, segments)
