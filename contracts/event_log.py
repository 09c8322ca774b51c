"""How a chat's log is written and read: one message for each decision, and the rule of what counts.

A message of stream EVENTS holds the events of one decision in order, one JSON envelope a line. The
canonical bytes of an event are its line, and its digest is their SHA-256 (base64url, unpadded). Each
event carries the digest of the one before it. A message counts as part of its chat when every line is
an envelope of the chat that its subject names, of the branch that its subject names, readable in the
version it states, and follows the last event that counts: the next `seq`, and its digest. Only
`chat.erased` may leave a gap before it: what it followed is erased. Whatever else lies in the stream
is no event of the chat, for every reader alike.
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from contracts import codec, large_values
from contracts.codec import Fact, Origin, UnknownEventTypeError, UnreadableMessageError
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.chat import ChatErased, ChatForked
from contracts.events.turn import ToolReturned
from contracts.frozen import replace
from contracts.ids import ChatKey, Seq
from contracts.large_values import INLINE_BYTES, LargeValue, StoredValue
from contracts.subjects import Branch, InvalidSubjectError, branch, parse, token


class RejectedMessageError(UnreadableMessageError):
    """A message in a chat's subjects that is no part of the chat; the reason, without its data."""


class Head(NamedTuple):
    """Where a chat's log ends, as far as a reader knows: the last event that counts."""

    seq: Seq
    digest: str


RESTORED = "Mozaiks-Restored"
"""The header of a message that came back from the archive: who counts has counted it."""
EMPTY = Head(Seq(0), "")
"""Before the first event."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the log holds it; `event` is none where its type is of a newer release.

    `data` are its canonical bytes, and `head` is the log's head once this event counts. `large` are
    its values that are to be stored before the event is appended; an event that was read has none.
    """

    envelope: Envelope
    event: Event | None
    data: bytes
    large: tuple[LargeValue, ...] = ()
    head: Head = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "head", Head(self.envelope.seq, digest(self.data)))

    @property
    def before(self) -> Head:
        """The event that this one says comes before it."""
        return Head(Seq(self.envelope.seq - 1), self.envelope.previous or "")

    @property
    def size(self) -> int:
        """In bytes, with the values that are kept apart."""
        values = self.envelope.values
        return len(self.data) if values is None else len(self.data) + sum(v.size for v in values)

    def with_values(self, data: Mapping[str, bytes]) -> "StoredEvent":
        """The event with its whole values, whose bytes are given by digest.

        Raises LookupError where one is missing, ValueError where one does not fit the event.
        """
        envelope = self.envelope
        body = large_values.joined(envelope.body, envelope.values or (), data)
        try:
            event = codec.open_event(envelope.model_copy(update={"body": body}))
        except UnknownEventTypeError:
            event = None
        except UnreadableMessageError as broken:
            raise ValueError(str(broken)) from broken
        return StoredEvent(envelope, event, self.data)

    @property
    def is_erasure(self) -> bool:
        """Whether it says that the events before it are erased."""
        return isinstance(self.event, ChatErased)

    @property
    def fact(self) -> Fact | None:
        """The decoded event; None for a type of a newer release, which readers skip."""
        return None if self.event is None else Fact(self.envelope, self.event)


@dataclass(frozen=True, slots=True)
class Decision:
    """The events of one message, which follow one another; never none."""

    key: ChatKey
    branch: Branch
    events: tuple[StoredEvent, ...]
    is_restored: bool = False
    """Whether it is stored again, after it was in the archive only."""

    @property
    def first(self) -> Envelope:
        return self.events[0].envelope

    @property
    def head(self) -> Head:
        return self.events[-1].head

    def follows(self, head: Head) -> bool:
        """Whether it comes right after the last event that counts, or after it where it erases all."""
        if self.is_erasure:
            return self.first.seq > head.seq
        return self.first.seq == head.seq + 1 and (self.first.previous or "") == head.digest

    @property
    def is_erasure(self) -> bool:
        """Whether it says that the events before it are erased."""
        return self.events[0].is_erasure

    @property
    def forked(self) -> ChatForked | None:
        """The first event of a chat that is a fork: the log goes on from that of its origin."""
        first = self.events[0].event
        return first if isinstance(first, ChatForked) else None

    @property
    def before(self) -> Head:
        """The event that the message says comes before it."""
        return self.events[0].before

    @property
    def is_remnant(self) -> bool:
        """Whether it cannot be the first message of a chat: then those before it are archived only."""
        return self.first.seq > 1 and self.forked is None and not self.is_erasure

    @property
    def large(self) -> tuple[LargeValue, ...]:
        """The values that are to be stored before the message is appended."""
        return tuple(value for one in self.events for value in one.large)

    @property
    def data(self) -> bytes:
        """The message's body."""
        return b"\n".join(event.data for event in self.events)

    @property
    def headers(self) -> dict[str, str]:
        """What readers need without the body: categories, trace context, and for a business event,
        of which a message holds exactly one, the required attributes of CloudEvents 1.0 (NATS
        binary mode)."""
        envelope = self.first
        categories = dict.fromkeys(one.envelope.category for one in self.events)
        found = {"Mozaiks-Categories": ",".join(categories)}
        if envelope.trace is not None:
            found["traceparent"] = envelope.trace
        if self.is_restored:
            found[RESTORED] = "1"
        if self.branch == "business":
            found |= {
                "ce-specversion": "1.0",
                "ce-id": envelope.event_id,
                "ce-source": f"/apps/{token(envelope.app_id)}/chats/{token(envelope.chat_id)}",
                "ce-type": f"mozaiks.{envelope.type}.v{envelope.version}",
            }
        return found


def references(envelope: Envelope, event: Event | None) -> list[StoredValue]:
    """The values that an event refers to: those of its envelope, and those of a tool's result."""
    found = list(envelope.values or ())
    if isinstance(event, ToolReturned):
        found += [
            StoredValue(**part.whole.model_dump(), path=f"/parts/{place}")
            for place, part in enumerate(event.parts)
            if part.whole is not None
        ]
    return found


def digest(data: bytes) -> str:
    """SHA-256 of an event's canonical bytes, in base64url without padding: 43 characters."""
    return urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")


def seal(
    events: Sequence[Event],
    head: Head,
    origins: Sequence[Origin],
    inline_bytes: int = INLINE_BYTES,
) -> Decision:
    """The decision that puts these events after `head`, each with its origin.

    Values are kept apart where the events take more than `inline_bytes` (see `contracts.large_values`). Raises
    ValueError where the events cannot be one message: none at all, business events beside others, or
    more than one business event.
    """
    branches = {branch(event.category) for event in events}
    if len(branches) != 1 or (branches == {"business"} and len(events) > 1):
        kinds = ", ".join(event.type for event in events)
        raise ValueError(f"one message holds one decision, or one business event; got: {kinds}")
    sealed: list[StoredEvent] = []
    for event, origin in zip(events, origins, strict=True):
        fact = codec.seal(event, Seq(head.seq + 1), replace(origin, previous=head.digest or None))
        one = StoredEvent(fact.envelope, event, codec.encode(fact.envelope))
        sealed.append(one)
        head = one.head
    if sum(len(one.data) for one in sealed) > inline_bytes:
        sealed = _without_large_values(sealed, inline_bytes)
    return Decision(origins[0].key, branches.pop(), tuple(sealed))


def _without_large_values(sealed: Sequence[StoredEvent], inline_bytes: int) -> list[StoredEvent]:
    """The same events, chained anew, with their largest values kept apart."""
    bodies = [(one.envelope.type, one.envelope.body) for one in sealed]
    size = sum(len(one.data) for one in sealed)
    split = large_values.split(bodies, size, inline_bytes)
    previous = sealed[0].envelope.previous
    chained: list[StoredEvent] = []
    for one, short in zip(sealed, split, strict=True):
        changes = {"previous": previous, "body": short.body, "values": short.stored or None}
        envelope = one.envelope.model_copy(update=changes)
        chained.append(StoredEvent(envelope, one.event, codec.encode(envelope), short.values))
        previous = chained[-1].head.digest
    return chained


def read(subject: str, data: bytes) -> Decision:
    """A message of EVENTS, or its republication, as the decision it holds.

    Raises RejectedMessageError for what no log can count, whatever came before it.
    """
    try:
        address = parse(subject)
        events = tuple(read_event(line) for line in data.split(b"\n"))
    except InvalidSubjectError as broken:
        raise RejectedMessageError(f"the subject names no chat: {subject:.100}") from broken
    except RejectedMessageError:
        raise
    except UnreadableMessageError as broken:
        raise RejectedMessageError(str(broken)) from broken
    found = Decision(address.key, "business" if address.leaf == "business" else "chat", events)
    _reject_foreign_events(found, address.leaf)
    return found


def read_event(line: bytes) -> StoredEvent:
    """One event from its canonical bytes. Raises UnreadableMessageError."""
    envelope = codec.decode(line)
    try:
        return StoredEvent(envelope, codec.open_event(envelope), line)
    except (
        UnknownEventTypeError
    ):  # from a newer release: it counts, and this release does not understand it
        return StoredEvent(envelope, None, line)


def _reject_foreign_events(found: Decision, leaf: str) -> None:
    app, chat = found.key
    seq, before = found.first.seq, found.first.previous
    for one in found.events:
        envelope = one.envelope
        if envelope.chat_id != chat or envelope.app_id != app:
            raise RejectedMessageError("app_id, chat_id: not those of the subject")
        if branch(envelope.category) != leaf:
            raise RejectedMessageError(f"category: {envelope.category} is not sent to {leaf:.20}")
        if envelope.seq != seq or (envelope.previous or "") != (before or ""):
            raise RejectedMessageError(f"seq, previous: event {envelope.seq} breaks the chain")
        seq, before = Seq(seq + 1), one.head.digest


def why_it_does_not_follow(found: Decision, head: Head) -> str:
    """The reason as one sentence, for logs and the audit."""
    if found.first.seq != head.seq + 1:
        return f"seq: {found.first.seq} where {head.seq + 1} comes next"
    return f"previous: is not the digest of event {head.seq}"
