"""Chat summaries in the key-value bucket that the transport lists from: the newest wins."""

from datetime import datetime
from typing import NamedTuple

from nats.errors import Error as NatsError
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue
from pydantic import ValidationError

from contracts.catalogue import ChatSummary
from contracts.ids import ChatKey, UserId
from contracts.subjects import chat_summary_key
from services.chassis.direct_get import UnavailableError

TRIES = 5
"""Each lost race means that someone else wrote a summary of the same chat."""


class BucketLook(NamedTuple):
    """When the bucket was made, and how many values it has."""

    created: datetime | None
    values: int


class Summaries:
    """Writes only what is newer than what is there, whoever else writes at the same time."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def announce(self, summary: ChatSummary) -> None:
        """Raises UnavailableError."""
        try:
            for _ in range(TRIES):
                if await self._settled(summary):
                    return
        except (NatsError, APIError) as trouble:
            raise UnavailableError(f"bucket chats: {trouble!r}") from trouble
        raise UnavailableError("bucket chats: the key changed with every try")

    async def find(self, key: ChatKey, user: UserId) -> ChatSummary | None:
        """What is announced of a chat; none where it is nothing, or damaged. Raises UnavailableError."""
        try:
            entry = await self._bucket.get(chat_summary_key(key.app, user, key.chat))
            return ChatSummary.model_validate_json(entry.value or b"")
        except (KeyNotFoundError, ValidationError):
            return None
        except (NatsError, APIError) as trouble:
            raise UnavailableError(f"bucket chats: {trouble!r}") from trouble

    async def look(self) -> BucketLook | None:
        """The bucket's age and size; none where there is no bucket. Raises UnavailableError."""
        try:
            status = await self._bucket.status()
        except NotFoundError:
            return None
        except (NatsError, APIError) as trouble:
            raise UnavailableError(f"bucket chats: {trouble!r}") from trouble
        return BucketLook(status.stream_info.created, status.values)

    async def _settled(self, summary: ChatSummary) -> bool:
        key = chat_summary_key(summary.app_id, summary.user_id, summary.chat_id)
        value = summary.model_dump_json().encode()
        try:
            entry = await self._bucket.get(key)
            if entry.value == value or _last_seq(entry.value) > summary.last_seq:
                return True
            await self._bucket.update(key, value, last=entry.revision)
        except KeyNotFoundError:
            return await self._created(key, value)
        except KeyWrongLastSequenceError:
            return False
        return True

    async def _created(self, key: str, value: bytes) -> bool:
        try:
            await self._bucket.create(key, value)
        except KeyWrongLastSequenceError:
            return False
        return True


def _last_seq(value: bytes | None) -> int:
    try:
        return ChatSummary.model_validate_json(value or b"").last_seq
    except ValidationError:  # nothing worth keeping
        return 0
