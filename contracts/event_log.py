"""How a chat's log is written and read: one message for each decision, and the rule of what counts.

A message of stream EVENTS holds the events of one decision in order, one JSON envelope a line. The
canonical bytes of an event are its line, and its digest is their SHA-256 (base64url, unpadded). Each
event carries the digest of the one before it. A message counts as part of its chat when every line is
an envelope of the chat that its subject names, of the branch that its subject names, readable in the
version it states, and follows the last event that counts: the next `seq`, and its digest. Whatever
else lies in the stream is no event of the chat, for every reader alike.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import NamedTuple

from contracts import codec
from contracts.codec import Origin, UnknownEventTypeError, UnreadableMessageError
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.ids import ChatKey, Seq
from contracts.subjects import Branch, InvalidSubjectError, branch, parse, token


class RejectedMessageError(UnreadableMessageError):
    """A message in a chat's subjects that is no part of the chat; says why, without its data."""


class Head(NamedTuple):
    """Where a chat's log ends, as far as a reader knows: the last event that counts."""

    seq: Seq
    digest: str


EMPTY = Head(Seq(0), "")
"""Before the first event."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the log holds it; `event` is none where its type is of a newer release.

    `data` are its canonical bytes, and `head` is the log's head once this event counts.
    """

    envelope: Envelope
    event: Event | None
    data: bytes
    head: Head = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "head", Head(self.envelope.seq, digest(self.data)))


@dataclass(frozen=True, slots=True)
class Decision:
    """The events of one message, which follow one another; never none."""

    key: ChatKey
    branch: Branch
    events: tuple[StoredEvent, ...]

    @property
    def first(self) -> Envelope:
        return self.events[0].envelope

    @property
    def head(self) -> Head:
        return self.events[-1].head

    def follows(self, head: Head) -> bool:
        """Whether it is what comes next after the last event that counts."""
        return self.first.seq == head.seq + 1 and (self.first.previous or "") == head.digest

    @property
    def data(self) -> bytes:
        """The message's body."""
        return b"\n".join(event.data for event in self.events)

    @property
    def headers(self) -> dict[str, str]:
        """What readers find without opening the body: categories, trace, and for business events,
        of which a message holds exactly one, the required attributes of CloudEvents 1.0 (NATS
        binary mode)."""
        envelope = self.first
        categories = dict.fromkeys(one.envelope.category for one in self.events)
        found = {"Mozaiks-Categories": ",".join(categories)}
        if envelope.trace is not None:
            found["traceparent"] = envelope.trace
        if self.branch == "business":
            found |= {
                "ce-specversion": "1.0",
                "ce-id": envelope.event_id,
                "ce-source": f"/apps/{token(envelope.app_id)}/chats/{token(envelope.chat_id)}",
                "ce-type": f"mozaiks.{envelope.type}.v{envelope.version}",
            }
        return found


def digest(data: bytes) -> str:
    """SHA-256 of an event's canonical bytes, in base64url without padding: 43 characters."""
    return urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")


def seal(events: Sequence[Event], head: Head, origins: Sequence[Origin]) -> Decision:
    """The decision that puts these events after `head`, each with its origin.

    Raises ValueError where they cannot be one message: none at all, business events beside others,
    or more than one business event.
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
    return Decision(origins[0].key, branches.pop(), tuple(sealed))


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
    _refuse_strangers(found, address.leaf)
    return found


def read_event(line: bytes) -> StoredEvent:
    """One event from its canonical bytes. Raises UnreadableMessageError."""
    envelope = codec.decode(line)
    try:
        return StoredEvent(envelope, codec.open_event(envelope), line)
    except UnknownEventTypeError:  # of a newer release: it has its place, and no meaning here
        return StoredEvent(envelope, None, line)


def _refuse_strangers(found: Decision, leaf: str) -> None:
    head = Head(Seq(found.first.seq - 1), found.first.previous or "")
    for one in found.events:
        envelope = one.envelope
        if envelope.key != found.key:
            raise RejectedMessageError("app_id, chat_id: not those of the subject")
        if branch(envelope.category) != leaf:
            raise RejectedMessageError(f"category: {envelope.category} is not sent to {leaf:.20}")
        if (envelope.seq, envelope.previous or "") != (head.seq + 1, head.digest):
            raise RejectedMessageError(f"seq, previous: event {envelope.seq} breaks the chain")
        head = one.head


def why_it_does_not_follow(found: Decision, head: Head) -> str:
    """In words, for the log and the audit."""
    if found.first.seq != head.seq + 1:
        return f"seq: {found.first.seq} where {head.seq + 1} comes next"
    return f"previous: is not the digest of event {head.seq}"
