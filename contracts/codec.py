"""Bytes to Envelope to Event and back: the one place where the wire meets the types."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from contracts.envelope import Envelope
from contracts.events import EVENT_TYPES, Event
from contracts.ids import ChatKey, RunnerId, Seq, WorkflowName
from contracts.upcasts import upcast


class UnreadableMessageError(ValueError):
    """Bytes or a body that do not hold what they should; never worth a retry."""


class UnknownEventTypeError(UnreadableMessageError):
    """An event that this release does not know: readers that do not need it pass it by."""


@dataclass(frozen=True, slots=True)
class Fact:
    """An event together with where and why it happened."""

    envelope: Envelope
    event: Event


@dataclass(frozen=True, slots=True)
class Origin:
    """What an envelope says beside its event: where it belongs and how it came about."""

    key: ChatKey
    workflow: WorkflowName
    time: datetime
    cause: str
    actor: str = "runtime"
    runner: RunnerId | None = None
    trace: str | None = None
    previous: str | None = None


def encode(envelope: Envelope) -> bytes:
    return envelope.model_dump_json(exclude_none=True).encode()


def decode(data: bytes) -> Envelope:
    """Raises UnreadableMessageError, which quotes what is wrong but not the data."""
    try:
        return Envelope.model_validate_json(data)
    except ValidationError as broken:
        raise UnreadableMessageError(f"no event envelope: {describe(broken)}") from broken


def open_event(envelope: Envelope) -> Event:
    """The typed event inside, in its current version.

    Raises UnknownEventTypeError (type or version from a newer release) and UnreadableMessageError.
    """
    known = EVENT_TYPES.get(envelope.type)
    if known is None or envelope.version > known.version:
        raise UnknownEventTypeError(f"{envelope.type} v{envelope.version} ({envelope.event_id})")
    body = upcast(envelope.type, envelope.version, envelope.body, current=known.version)
    try:
        return known.model_validate(body)
    except ValidationError as broken:
        raise UnreadableMessageError(f"{envelope.event_id}: {describe(broken)}") from broken


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
