"""The archive's lines of one chat, read as the log would be: what is whole, and what is damaged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from contracts.codec import UnreadableMessageError
from contracts.event_log import EMPTY, Decision, Head, read_event
from contracts.ids import ChatKey
from contracts.subjects import branch
from services.persistence.store import Archived, Line


@dataclass(frozen=True, slots=True)
class Chain:
    """The events of an archive that follow one another from the first on, and why no more do."""

    events: tuple[Archived, ...] = ()
    damage: str = ""

    @property
    def head(self) -> Head:
        return self.events[-1].stored.head if self.events else EMPTY


def chain(key: ChatKey, lines: Iterable[Line]) -> Chain:
    """The lines as events, as far as each is the chat's and follows the one before."""
    events: list[Archived] = []
    head = EMPTY
    for line in lines:
        try:
            one = Archived(read_event(line.data), line.position)
        except UnreadableMessageError as broken:
            return Chain(tuple(events), f"event {line.seq}: {broken}")
        if (damage := _damage(key, head, line, one)) is not None:
            return Chain(tuple(events), damage)
        events.append(one)
        head = one.stored.head
    return Chain(tuple(events))


def _damage(key: ChatKey, head: Head, line: Line, one: Archived) -> str | None:
    if line.seq != head.seq + 1:
        return f"event {head.seq + 1} is missing"
    if one.envelope.key != key or one.envelope.seq != line.seq:
        return f"event {line.seq}: is event {one.envelope.seq} of another place"
    if (one.envelope.previous or "") != head.digest:
        return f"event {line.seq}: previous is not the digest of event {head.seq}"
    return None


def decisions(events: Sequence[Archived]) -> list[Decision]:
    """The messages that held these events, told apart by their positions, byte for byte."""
    found: list[Decision] = []
    for _, group in groupby(events, key=lambda one: one.position):
        held = [one.stored for one in group]
        first = held[0].envelope
        found.append(Decision(first.key, branch(first.category), tuple(held)))
    return found
