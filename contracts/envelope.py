"""The outside of a message: who, where, when and why, around a body that it never reads."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from contracts.ids import AppId, ChatId, ChatKey, EventId, RunnerId, Seq, WorkflowName
from contracts.subjects import Category, token


def _in_utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("must carry a time zone")
    return time.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(_in_utc)]
"""A point in time, in UTC, to the microsecond."""


class Envelope(BaseModel):
    """One stored event, self-contained: a reader needs no header and no other message.

    `cause` is the command or event that brought it about; `actor` is `user:<id>`, `agent:<name>` or
    `runtime`; `runner` is the run lease under which it was appended (none for what a command alone
    decided); `trace` is a W3C traceparent.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    event_id: EventId
    app_id: AppId
    chat_id: ChatId
    seq: Seq = Field(ge=1)
    type: str
    version: int = Field(ge=1)
    category: Category
    time: Instant
    cause: str
    actor: str
    runner: RunnerId | None = None
    trace: str | None = None
    workflow_name: WorkflowName
    body: dict[str, Any]

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)


def event_id(key: ChatKey, seq: Seq) -> EventId:
    """The id of a chat's n-th event: derived from its place, so a repeated append is the same event."""
    return EventId(f"{token(key.app, 'app_id')}.{token(key.chat, 'chat_id')}.{seq}")


def headers(envelope: Envelope) -> dict[str, str]:
    """The envelope mirrored for the wire: CloudEvents 1.0 in NATS binary mode, what it requires.

    Each header costs every reader of a history microseconds; the rest is in the body.
    """
    mirrored = {
        "Nats-Msg-Id": envelope.event_id,
        "ce-specversion": "1.0",
        "ce-id": envelope.event_id,
        "ce-source": f"/apps/{token(envelope.app_id)}/chats/{token(envelope.chat_id)}",
        "ce-type": f"mozaiks.{envelope.type}.v{envelope.version}",
    }
    return mirrored if envelope.trace is None else {**mirrored, "traceparent": envelope.trace}
