"""The rows of chat lists as bucket `chats` has them: their titles are sealed, if this process seals."""

from pydantic import ValidationError

from contracts import encryption
from contracts.catalogue import ChatSummary
from contracts.ids import ChatKey

PLACE = "title"


async def stored_summary(summary: ChatSummary) -> bytes:
    """The value of a row. Raises NatsUnavailableError."""
    key = ChatKey(summary.app_id, summary.chat_id)
    if summary.title:
        await encryption.ensure(key)
    title = encryption.seal_text(key, PLACE, summary.title)
    return summary.model_copy(update={"title": title}).model_dump_json().encode()


async def read_summary(value: bytes) -> ChatSummary:
    """The row of a value. Raises pydantic.ValidationError, NatsUnavailableError."""
    stored = ChatSummary.model_validate_json(value)
    if not stored.title.startswith(encryption.MARK):
        return stored
    key = ChatKey(stored.app_id, stored.chat_id)
    await encryption.load(key)
    return stored.model_copy(update={"title": encryption.open_text(key, PLACE, stored.title)})


async def readable_summary(value: bytes) -> ChatSummary | None:
    """The row of a value; None where it is damaged. Raises NatsUnavailableError."""
    try:
        return await read_summary(value)
    except ValidationError:
        return None
