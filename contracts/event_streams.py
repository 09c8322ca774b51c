"""Which stream holds the events of which slot: a stream's name says its first slot."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from contracts.ids import StreamSeq
from contracts.subjects import ALL_EVENTS, ALL_SLOTS, EVENTS, SLOTS

SPREADS = (1, 2, 4, 8, 16)
"""How many streams the events can be spread over: four are EVENTS, EVENTS_16, EVENTS_32, EVENTS_48."""
NAMES_KEY = "mozaiks-event-streams"
"""The key in the metadata of stream EVENTS that has the names of all streams of events."""
MOVING_KEY = "mozaiks-moving-streams"
"""The same of those of them to which events are being moved."""
ORIGIN_KEY = "mozaiks-origin"
"""The key in the metadata of a stream to which events were moved that says from which, with the same
positions; ORIGIN_LAST_KEY says up to which position."""
ORIGIN_LAST_KEY = "mozaiks-origin-last"
BARRIERS = "mozaiks.spread"


def barrier(stream: str) -> str:
    """A subject of a stream of events while events are moved from it: what is stored there is after
    every event that the stream accepted before it ceased to accept those of some slots."""
    return f"{BARRIERS}.{stream}"


def stream_from(first: int) -> str:
    """The name of the stream that begins with a slot."""
    return EVENTS if first == 0 else f"{EVENTS}_{first:02}"


NAMES = tuple(stream_from(first) for first in range(0, SLOTS, SLOTS // SPREADS[-1]))
"""Every name that a stream of events can have."""


def first_slot(stream: str) -> int:
    """Raises ValueError for a name that is not one of NAMES."""
    return NAMES.index(stream) * (SLOTS // SPREADS[-1])


def slot_of(subject: str) -> str:
    """The slot in the subject of an event; empty where there is none."""
    parts = subject.split(".", 3)
    return parts[2] if len(parts) > 2 else ""


@dataclass(frozen=True, slots=True)
class EventStreams:
    """The streams that the events are spread over, in order.

    Each holds the slots from the one in its name up to the next stream's. EVENTS alone holds all.
    To those that are `moving` events are being moved; the `mirrors` of them do not take events yet,
    and the streams without those that are moving hold their slots.
    """

    names: tuple[str, ...] = (EVENTS,)
    moving: frozenset[str] = frozenset()
    mirrors: frozenset[str] = frozenset()

    def holder(self, slot: str) -> str:
        """The stream that takes the events of a slot; EVENTS for what is no slot."""
        target = _holder(self.names, slot)
        return _holder(self.settled, slot) if target in self.mirrors else target

    def holders(self, slot: str) -> tuple[str, ...]:
        """Every stream that may have events of a slot: two while they are moved."""
        target = _holder(self.names, slot)
        return (_holder(self.settled, slot), target) if target in self.moving else (target,)

    def is_mirrored(self, slot: str) -> bool:
        """Whether the events of a slot will be in another stream soon."""
        return _holder(self.names, slot) in self.mirrors

    def holds(self, stream: str, subject: str) -> bool:
        """Whether a stream is the one that takes the event of a subject."""
        return self.holder(slot_of(subject)) == stream

    @property
    def settled(self) -> tuple[str, ...]:
        """The streams to which no events are being moved."""
        return tuple(name for name in self.names if name not in self.moving)

    @property
    def active(self) -> tuple[str, ...]:
        """The streams that take events."""
        return tuple(name for name in self.names if name not in self.mirrors)

    def slots(self, stream: str) -> tuple[str, ...]:
        return tuple(slot for slot in ALL_SLOTS if self.holder(slot) == stream)

    def subjects(self, stream: str) -> list[str]:
        """What a stream catches."""
        if len(self.names) == 1:
            return [ALL_EVENTS]
        return subjects_of(self.slots(stream))

    def followed(self, streams: Collection[str]) -> "EventStreams":
        """The same for whoever reads only some of the streams, and takes those for all."""
        others = frozenset(self.names) - frozenset(streams)
        return EventStreams(self.names, self.moving | others, others)

    def moves_to(self, wanted: "EventStreams") -> list["Move"]:
        """What has to be moved so that the events are spread over more streams."""
        return [
            Move(_holder(self.settled, wanted.slots(target)[0]), target, wanted.slots(target))
            for target in wanted.names
            if target not in self.settled
        ]


def _holder(names: tuple[str, ...], slot: str) -> str:
    if len(names) == 1 or slot not in ALL_SLOTS:
        return EVENTS
    return names[bisect_right(names, stream_from(int(slot))) - 1]


class Move(NamedTuple):
    """Slots whose events are moved from one stream to another."""

    origin: str
    target: str
    slots: tuple[str, ...]


ONE_STREAM = EventStreams()


def subjects_of(slots: Iterable[str]) -> list[str]:
    """What a stream catches that holds these slots and not all."""
    return [f"mozaiks.evt.{slot}.>" for slot in slots]


def spread_over(count: int) -> EventStreams:
    """So many streams with as many slots each. Raises ValueError for a count not in SPREADS."""
    if count not in SPREADS:
        raise ValueError(f"events are spread over one of {SPREADS} streams, not {count}")
    return EventStreams(tuple(stream_from(first) for first in range(0, SLOTS, SLOTS // count)))


def names_in(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """The names of streams that the metadata of stream EVENTS has under a key, in order."""
    found = set(metadata.get(key, "").split(","))
    return tuple(name for name in NAMES if name in found)


def streams_in(metadata: Mapping[str, str]) -> EventStreams:
    """The streams of events as the metadata of stream EVENTS has them: without any, that stream alone.

    Those that are moving count as mirrors: whether they still are only they say.
    """
    names = tuple(name for name in names_in(metadata, NAMES_KEY) if name != EVENTS)
    moving = frozenset(names_in(metadata, MOVING_KEY))
    return EventStreams((EVENTS, *names), moving, moving)


def metadata_of(streams: EventStreams) -> dict[str, str]:
    """What the metadata of stream EVENTS has to say; nothing of that stream alone."""
    if streams == ONE_STREAM:
        return {}
    written = {NAMES_KEY: ",".join(streams.names), MOVING_KEY: ",".join(sorted(streams.moving))}
    return {key: value for key, value in written.items() if value}


class Origin(NamedTuple):
    """The stream from which events were moved to another, and the position up to which that has them."""

    stream: str
    last: StreamSeq

    def mark_of(self, read: StreamSeq) -> StreamSeq:
        """Up to which position of the new stream whoever has read the origin up to `read` has read."""
        return min(read, self.last)


def origin_in(metadata: Mapping[str, str]) -> Origin | None:
    """The origin of a stream as its metadata has it; None of a stream that began empty."""
    stream, last = metadata.get(ORIGIN_KEY), metadata.get(ORIGIN_LAST_KEY, "")
    return Origin(stream, StreamSeq(int(last))) if stream and last.isdigit() else None
