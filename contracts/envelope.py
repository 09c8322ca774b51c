"""The envelope of an event: chat, position, time and cause, around a body that it never reads."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from contracts.ids import AppId, ChatId, ChatKey, EventId, RunnerId, Seq, WorkflowName
from contracts.large_values import StoredValue
from contracts.subjects import Category, chat_tokens


def _in_utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("must carry a time zone")
    return time.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(_in_utc)]
"""A point in time, in UTC, to the microsecond."""


class Envelope(BaseModel):
    """One stored event, self-contained: a reader needs no header and no other message.

    `previous` is the digest of the event before it in its chat, none for the first (see
    `contracts.event_log`). `cause` is the id of the command that caused it; `actor` is
    `user:<id>`, `agent:<name>` or `runtime`; `runner` is the delivery of a command that
    appended it (see `contracts.ids.DeliveryId`); `trace` is a W3C traceparent. `values` are those of
    which the body has only the beginning (see `contracts.large_values`); none where it is whole.
    `sealed` is what of the body is encrypted (see `contracts.encryption`): in memory it is there only
    where there is no key for it, and the body has placeholders.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    app_id: AppId
    chat_id: ChatId
    seq: Seq = Field(ge=1)
    previous: str | None = None
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
    sealed: str | None = None
    values: tuple[StoredValue, ...] | None = None

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def event_id(self) -> EventId:
        return event_id(self.key, self.seq)


def event_id(key: ChatKey, seq: Seq) -> EventId:
    """The id of an event, derived from its position: a repeated append is the same event."""
    return EventId(f"{chat_tokens(key)}.{seq}")
