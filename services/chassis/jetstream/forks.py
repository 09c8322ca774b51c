"""Find the place at which a chat is forked, by a few small reads, whatever the length of the chat."""

from dataclasses import dataclass

from contracts.events.chat import ChatForked, ChatStarted, Segment
from contracts.forks import ForkPoint, fork_point, holder, segments_before, segments_of
from contracts.ids import ChatKey, Seq, StreamSeq, UserId
from services.chassis.jetstream.event_log import EventLog


@dataclass(frozen=True, slots=True)
class ForkOrigin:
    """A chat that is to be forked: whose it is, and which chats hold the events before its own."""

    user: UserId
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class LocatedFork:
    """Where a fork of a chat begins, and which chats hold the events before.

    `position` is that of the message in which the event was found.
    """

    point: ForkPoint
    segments: tuple[Segment, ...]
    position: StreamSeq


async def read_origin(events: EventLog, key: ChatKey) -> ForkOrigin | None:
    """A chat by its first event; None where there is no such chat. Raises NatsUnavailableError."""
    first = await events.first(key)
    event = None if first is None else first.events[0].event
    if not isinstance(event, ChatStarted | ChatForked):
        return None
    return ForkOrigin(event.user_id, segments_of(event))


async def locate_fork(
    events: EventLog,
    key: ChatKey,
    origin: ForkOrigin,
    seq: Seq,
    near: StreamSeq | None = None,
) -> LocatedFork | None:
    """Where a fork of a chat at event `seq` begins; None where the chat has no such event.

    `near` is a position at or not far before the event, where one is known. Raises ForkPositionError
    where the chat cannot be forked there, and NatsUnavailableError.
    """
    holds = ChatKey(key.app, holder(key.chat, origin.segments, seq))
    found = await events.message_at(holds, seq, near)
    if found is None:
        return None
    point = fork_point(found.events, seq)
    segments = segments_before(key.chat, origin.segments, point.head.seq)
    return LocatedFork(point, segments, found.place.position)
