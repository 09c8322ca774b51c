"""Encoding and decoding of events: bytes to Envelope to Event and back."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from contracts import encryption
from contracts.envelope import Envelope
from contracts.events import EVENT_TYPES, Event
from contracts.ids import ChatKey, RunnerId, Seq, WorkflowName
from contracts.upcasts import upcast

# Without pydantic's methods around them, which take an eighth of the time of an event.
_ENVELOPE = Envelope.__pydantic_validator__
_BODIES = {name: event.__pydantic_validator__ for name, event in EVENT_TYPES.items()}


class UnreadableMessageError(ValueError):
    """Bytes or a body that cannot be decoded; a retry cannot succeed."""


class UnknownEventTypeError(UnreadableMessageError):
    """An event of a newer release: readers that do not need it skip it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """An event with its envelope."""

    envelope: Envelope
    event: Event


@dataclass(frozen=True, slots=True)
class Origin:
    """Everything in an envelope but the event and its position."""

    key: ChatKey
    workflow: WorkflowName
    time: datetime
    cause: str
    actor: str = "runtime"
    runner: RunnerId | None = None
    trace: str | None = None
    previous: str | None = None


def encode(envelope: Envelope) -> bytes:
    """The canonical bytes; its content is sealed if this process encrypts.

    Raises encryption.KeyNotLoadedError where the key of the chat is not loaded then.
    """
    if encryption.is_on() and envelope.sealed is None:
        place = f"{envelope.seq} {envelope.type}"
        body, sealed = encryption.sealed_body(envelope.key, place, envelope.type, envelope.body)
        envelope = envelope.model_copy(update={"body": body, "sealed": sealed})
    return envelope.model_dump_json(exclude_none=True).encode()


def decode(data: bytes) -> Envelope:
    """Raises UnreadableMessageError, which quotes what is wrong but not the data."""
    try:
        envelope: Envelope = _ENVELOPE.validate_json(data)
    except ValidationError as broken:
        raise UnreadableMessageError(f"no event envelope: {describe(broken)}") from broken
    return envelope if envelope.sealed is None else _opened(envelope, envelope.sealed)


def _opened(envelope: Envelope, sealed: str) -> Envelope:
    """The envelope with its whole body, or with placeholders where there is no key."""
    place = f"{envelope.seq} {envelope.type}"
    model = EVENT_TYPES.get(envelope.type)
    try:
        body, has_content = encryption.opened_body(
            envelope.key, place, envelope.body, sealed, model
        )
    except ValueError as damaged:
        raise UnreadableMessageError(f"{envelope.event_id}: {damaged}") from damaged
    return envelope.model_copy(update={"body": body, "sealed": None if has_content else sealed})


def open_event(envelope: Envelope) -> Event:
    """The typed event inside, in its current version.

    Raises UnknownEventTypeError (type or version from a newer release) and UnreadableMessageError.
    """
    known = EVENT_TYPES.get(envelope.type)
    if known is None or envelope.version > known.version:
        raise UnknownEventTypeError(f"{envelope.type} v{envelope.version} ({envelope.event_id})")
    body = upcast(envelope.type, envelope.version, envelope.body, current=known.version)
    try:
        event: Event = _BODIES[envelope.type].validate_python(body)
    except ValidationError as broken:
        raise UnreadableMessageError(f"{envelope.event_id}: {describe(broken)}") from broken
    return event


def seal(event: Event, seq: Seq, origin: Origin) -> Fact:
    """Put an event into its envelope at position `seq` of the origin's chat."""
    envelope = Envelope.model_construct(  # from values that have been parsed: nothing to validate
        app_id=origin.key.app,
        chat_id=origin.key.chat,
        seq=seq,
        previous=origin.previous,
        type=event.type,
        version=event.version,
        category=event.category,
        time=origin.time,
        cause=origin.cause,
        actor=origin.actor,
        runner=origin.runner,
        trace=origin.trace,
        workflow_name=origin.workflow,
        body=event.model_dump(mode="json"),
    )
    return Fact(envelope, event)


def describe(broken: ValidationError) -> str:
    """What pydantic found, one `field: problem` after the other, without the offending values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in error['loc']) or 'message'}: {error['msg']}"
        for error in broken.errors(include_url=False, include_context=False, include_input=False)
    )
