"""Writes chat summaries into the key-value bucket from which the transport lists chats."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from nats.errors import Error as NatsError
from nats.js.errors import (
    APIError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NotFoundError,
)
from nats.js.kv import KeyValue
from pydantic import ValidationError

from contracts.catalogue import ChatSummary
from contracts.ids import ChatKey, UserId
from contracts.subjects import chat_summary_key
from services.chassis.jetstream.chat_rows import read_summary, stored_summary
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.tasks import cancel_and_wait
from services.persistence.recent import Recent

log = logging.getLogger(__name__)

TRIES = 5
"""Each failed attempt means that another process wrote a summary of the same chat."""
RECENT_CHATS = 5000
"""Chats whose summary is known without a read."""
NEW_CHAT_EVENTS = 16
"""A chat with so few events is taken for one without a summary: the first write finds out."""
ROWS_AT_ONCE = 100
PROGRESS_SECONDS = 1.5
"""Between two summaries of a running chat that differ in `updated_at` and `last_seq` only."""
REST = 9
"""How many times longer than such a round the next one waits, at the least."""

Publish = Callable[[ChatSummary], Awaitable[None]]


class BucketState(NamedTuple):
    """When the bucket was created, and how many values it has."""

    created: datetime | None
    values: int


class _Written(NamedTuple):
    """What the bucket held of a chat when this process wrote or read it last."""

    revision: int
    last_seq: int


class ChatSummaryBucket:
    """Never replaces a summary as of a later event, also if several processes write."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self._written: Recent[str, _Written] = Recent(RECENT_CHATS)

    async def publish(self, summary: ChatSummary) -> None:
        """Raises NatsUnavailableError."""
        try:
            for _ in range(TRIES):
                if await self._try_publish(summary):
                    return
        except (NatsError, APIError) as error:
            raise NatsUnavailableError(f"bucket chats: {error!r}") from error
        raise NatsUnavailableError("bucket chats: the key changed with every try")

    async def find(self, key: ChatKey, user: UserId) -> ChatSummary | None:
        """The published summary of a chat; None if there is none, or it is damaged. Raises NatsUnavailableError."""
        try:
            entry = await self._bucket.get(chat_summary_key(key.app, user, key.chat))
            return await read_summary(entry.value or b"")
        except (KeyNotFoundError, ValidationError):
            return None
        except (NatsError, APIError) as error:
            raise NatsUnavailableError(f"bucket chats: {error!r}") from error

    async def state(self) -> BucketState | None:
        """Age and size of the bucket; None if there is no bucket. Raises NatsUnavailableError."""
        try:
            status = await self._bucket.status()
        except NotFoundError:
            return None
        except (NatsError, APIError) as error:
            raise NatsUnavailableError(f"bucket chats: {error!r}") from error
        return BucketState(status.stream_info.created, status.values)

    async def _try_publish(self, summary: ChatSummary) -> bool:
        """Whether nothing is left to do. A known revision saves the read: the server checks it."""
        key = chat_summary_key(summary.app_id, summary.user_id, summary.chat_id)
        value = await stored_summary(summary)
        written = self._written.get(key)
        if written is None and summary.last_seq > NEW_CHAT_EVENTS:
            written = await self._read(key)
        try:
            if written is None:
                revision = await self._bucket.create(key, value)
            elif written.last_seq > summary.last_seq:
                return True
            else:
                revision = await self._bucket.update(key, value, last=written.revision)
        except KeyWrongLastSequenceError:
            self._written.discard(key)
            if (found := await self._read(key)) is not None:
                self._written.put(key, found)
            return False
        self._written.put(key, _Written(revision, summary.last_seq))
        return True

    async def _read(self, key: str) -> _Written | None:
        """None if there is no value."""
        try:
            entry = await self._bucket.get(key)
        except KeyNotFoundError:
            return None
        return _Written(entry.revision or 0, _last_seq(entry.value))


def _last_seq(value: bytes | None) -> int:
    try:
        return ChatSummary.model_validate_json(value or b"").last_seq
    except ValidationError:  # a damaged summary is replaced by any
        return 0


class SummaryPublisher:
    """Publishes a change of a chat's row at once, and the progress of a running chat at intervals.

    What is deferred may be lost with the process: a running chat always has one more event, its end
    at the least, which publishes its summary again.
    """

    def __init__(self, publish: Publish) -> None:
        """`publish` raises NatsUnavailableError."""
        self._publish = publish
        self._published: Recent[ChatKey, ChatSummary] = Recent(RECENT_CHATS)
        self._deferred: dict[ChatKey, ChatSummary] = {}
        self._stopped = False
        self._loop: asyncio.Task[None] | None = None
        self._log = RateLimitedLog(log)

    async def publish(self, summary: ChatSummary) -> None:
        """Raises NatsUnavailableError."""
        key = ChatKey(summary.app_id, summary.chat_id)
        known = self._published.get(key)
        if known is not None and is_progress(known, summary) and not self._stopped:
            self._deferred[key] = newest(self._deferred.get(key), summary)
            return
        self._deferred.pop(key, None)
        await self._publish_now(key, summary)

    def forget(self, key: ChatKey) -> None:
        """Publish nothing more of a chat, which is erased."""
        self._deferred.pop(key, None)
        self._published.discard(key)

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name="publish progress of running chats")

    async def stop(self) -> None:
        """Publishes what is deferred, where NATS allows it; from here on nothing is deferred."""
        self._stopped = True
        if self._loop is not None:
            await cancel_and_wait(self._loop)
        await self._flush()

    async def _run(self) -> None:
        """With very many running chats the intervals grow, so that this takes a tenth of the time."""
        clock = asyncio.get_running_loop().time
        pause = PROGRESS_SECONDS
        while True:
            await asyncio.sleep(pause)
            began = clock()
            await self._flush()
            pause = max(PROGRESS_SECONDS, REST * (clock() - began))

    async def _flush(self) -> None:
        deferred, self._deferred = self._deferred, {}
        rows = list(deferred.items())
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            await asyncio.gather(*(self._try_publish(key, summary) for key, summary in part))

    async def _try_publish(self, key: ChatKey, summary: ChatSummary) -> None:
        try:
            await self._publish_now(key, summary)
        except NatsUnavailableError as unavailable:
            self._deferred[key] = newest(self._deferred.get(key), summary)
            self._log.warning("chat lists are not updated", why=str(unavailable))
        except Exception:  # its next change is published again
            log.exception("the row of a chat is not updated", extra={"chat": key.chat})

    async def _publish_now(self, key: ChatKey, summary: ChatSummary) -> None:
        await self._publish(summary)
        self._published.put(key, newest(self._published.get(key), summary))


def newest(known: ChatSummary | None, summary: ChatSummary) -> ChatSummary:
    return known if known is not None and known.last_seq > summary.last_seq else summary


def is_progress(published: ChatSummary, summary: ChatSummary) -> bool:
    """Whether a chat runs on, and its row changes in nothing but its last event and its time."""
    moved = {"updated_at": summary.updated_at, "last_seq": summary.last_seq}
    return summary.status == "running" and published.model_copy(update=moved) == summary
