"""Chats as their logs: decisions that follow one another, and the messages that hold them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from contracts import subjects
from contracts.codec import Origin
from contracts.event_log import EMPTY, Decision, Head, StoredEvent, seal
from contracts.events import Event
from contracts.ids import ChatKey, RunnerId, StreamSeq, WorkflowName
from services.chassis.jetstream.direct_get import RawMessage

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def decisions(
    events: Iterable[Event | Sequence[Event]],
    key: ChatKey,
    *,
    workflow: str = "Generator",
    cause: str = "command",
    runner: RunnerId | None = None,
    head: Head = EMPTY,
    began: datetime = BEGAN,
) -> list[Decision]:
    """One decision for each event, or for each group of events; a second between two events."""
    found: list[Decision] = []
    for one in events:
        group = one if isinstance(one, Sequence) else [one]
        origins = [
            Origin(
                key=key,
                workflow=WorkflowName(workflow),
                time=began + timedelta(seconds=head.seq + place, microseconds=123456),
                cause=cause,
                runner=runner,
            )
            for place in range(1, len(group) + 1)
        ]
        found.append(seal(group, head, origins))
        head = found[-1].head
    return found


def stored(found: Iterable[Decision]) -> list[StoredEvent]:
    """The events of the decisions, one after the other."""
    return [event for decision in found for event in decision.events]


def message(decision: Decision, position: int) -> RawMessage:
    """The decision as its stream would hold it."""
    subject = subjects.event(decision.key, decision.first.category)
    return RawMessage(StreamSeq(position), subject, decision.data)


def messages(found: Iterable[Decision], first: int = 1) -> list[RawMessage]:
    """The decisions as a stream with nothing else in it would hold them."""
    return [message(decision, place) for place, decision in enumerate(found, first)]
