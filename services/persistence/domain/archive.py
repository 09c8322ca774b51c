"""Reads the archive of one chat as a hash chain, and finds where it is damaged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from contracts.codec import UnreadableMessageError
from contracts.event_log import EMPTY, Decision, Head, StoredEvent, read_event
from contracts.events.chat import ChatForked
from contracts.ids import ChatKey
from contracts.subjects import branch
from services.persistence.store.interface import ArchivedEvent, ArchiveRecord


@dataclass(frozen=True, slots=True)
class Chain:
    """The events that follow one another from the first on, and what is wrong with the next, if any."""

    events: tuple[ArchivedEvent, ...] = ()
    damage: str = ""

    @property
    def head(self) -> Head:
        return self.events[-1].stored.head if self.events else EMPTY


def read_chain(key: ChatKey, records: Iterable[ArchiveRecord]) -> Chain:
    """The events of these records, as far as each is of this chat and follows the one before.

    Of a chat that is erased, the one that erases it.
    """
    events: list[ArchivedEvent] = []
    head: Head | None = None
    for record in _from_erasure(list(records)):
        try:
            one = ArchivedEvent(read_event(record.data), record.position)
        except UnreadableMessageError as unreadable:
            return Chain(tuple(events), f"event {record.seq}: {unreadable}")
        head = _start(one.stored) if head is None else head
        if (damage := _damage(key, head, record, one)) is not None:
            return Chain(tuple(events), damage)
        events.append(one)
        head = one.stored.head
    return Chain(tuple(events))


def _from_erasure(records: Sequence[ArchiveRecord]) -> Sequence[ArchiveRecord]:
    """Without what is left of an interrupted erasure."""
    try:
        erases = bool(records) and read_event(records[-1].data).is_erasure
    except UnreadableMessageError:
        return records
    return records[-1:] if erases else records


def _start(first: StoredEvent) -> Head:
    """The event before a chat's first one: of a fork the one at which it was forked."""
    return first.before if isinstance(first.event, ChatForked) else EMPTY


def _damage(key: ChatKey, head: Head, record: ArchiveRecord, one: ArchivedEvent) -> str | None:
    erases = one.stored.is_erasure and record.seq > head.seq
    if record.seq != head.seq + 1 and not erases:
        return f"event {head.seq + 1} is missing"
    if one.envelope.key != key or one.envelope.seq != record.seq:
        return f"event {record.seq}: is event {one.envelope.seq} of another place"
    if (one.envelope.previous or "") != head.digest and not erases:
        return f"event {record.seq}: previous is not the digest of event {head.seq}"
    return None


def decisions(events: Sequence[ArchivedEvent]) -> list[Decision]:
    """The messages that held these events, byte for byte: events of one message have one position."""
    found: list[Decision] = []
    for _, group in groupby(events, key=lambda one: one.position):
        held = [one.stored for one in group]
        first = held[0].envelope
        found.append(Decision(first.key, branch(first.category), tuple(held)))
    return found
