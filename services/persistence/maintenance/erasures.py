"""Carries out the erasures that bucket `erasures` asks for: of a chat, a user, or an app."""

import asyncio
import logging
from collections.abc import AsyncIterator

from nats.errors import Error as NatsError
from nats.js.errors import APIError, KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic import ValidationError

from contracts import subjects
from contracts.erasure import MAX_NAMED_FORKS, Erasure, why_not_erased
from contracts.ids import ChatId, ChatKey
from services.chassis.jetstream.direct_get import BEFORE_FIRST
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.tasks import cancel_and_wait, repeat
from services.persistence.maintenance.eraser import Clock, Eraser, NotErasedError
from services.persistence.store.interface import Store, StoreUnavailableError

log = logging.getLogger(__name__)
_UNAVAILABLE = (NatsUnavailableError, StoreUnavailableError)

LOOK_SECONDS = 1.0
"""Between two looks for erasures that are asked for."""
SAVE_EVERY = 50
"""Chats after which the progress of an erasure is stored."""
PAGE = 200
"""Chats that are listed at a time."""


class Erasures:
    """Methods raise StoreUnavailableError, NatsUnavailableError: what was asked for stays so."""

    def __init__(
        self,
        bucket: KeyValue,
        eraser: Eraser,
        store: Store,
        gateway: JetStreamGateway,
        clock: Clock,
    ) -> None:
        self._bucket = bucket
        self._eraser = eraser
        self._store = store
        self._gateway = gateway
        self._clock = clock
        self._ended = BEFORE_FIRST
        """Up to this position of the bucket all erasures have ended."""

    async def request(self, erasure: Erasure) -> None:
        """Store what is to be erased: from now on it is carried out, whoever began it."""
        try:
            await self._bucket.put(erasure.key, erasure.model_dump_json().encode())
        except (NatsError, APIError, TimeoutError) as error:
            raise NatsUnavailableError(f"bucket erasures: {error!r}") from error

    async def find(self, key: str) -> Erasure | None:
        """What became of an erasure; None where it is not known."""
        try:
            entry = await self._bucket.get(key)
            return Erasure.model_validate_json(entry.value or b"")
        except (KeyNotFoundError, ValidationError):
            return None
        except (NatsError, APIError, TimeoutError) as error:
            raise NatsUnavailableError(f"bucket erasures: {error!r}") from error

    async def open(self) -> list[Erasure]:
        """The erasures that are not carried out yet. What comes before the first is not read again."""
        stream, keys = (
            subjects.bucket_stream(subjects.ERASURES),
            subjects.bucket_subject(subjects.ERASURES, ">"),
        )
        newest = await self._gateway.reader.last(stream, keys)
        if newest is None or newest.position < self._ended:  # the bucket was made anew
            self._ended = BEFORE_FIRST
        if newest is None:
            return []
        found: list[Erasure] = []
        async for message in self._gateway.reader.pages(
            stream, keys, self._ended, goal=newest.position
        ):
            if (erasure := _requested(message.data)) is not None:
                found.append(erasure)
            elif not found:
                self._ended = message.position
        return found

    async def erase_deleted(self) -> int:
        """Erase the next chats that users have deleted and can undelete no more; how many."""
        erased = 0
        for key in await self._due():
            try:
                await self._eraser.chat(key)
                erased += 1
            except (NotErasedError, NatsRejectedError) as failed:
                extra = {"app": key.app, "chat": key.chat, "why": str(failed)}
                log.warning("a deleted chat is not erased yet", extra=extra)
        return erased

    async def _due(self) -> list[ChatKey]:
        """Those of the next deleted chats that no fork reads any more."""
        limit = SAVE_EVERY
        while True:
            due = await self._store.erasable(self._clock(), limit)
            free = [key for key in due if not await self._store.forks_of(key, None, 1)]
            if free or len(due) < limit:
                return free
            limit *= 2

    async def _why_not(self, erasure: Erasure) -> str | None:
        if erasure.chat_id is None or erasure.with_forks:
            return None
        key = ChatKey(erasure.app_id, erasure.chat_id)
        forks = await self._store.forks_of(key, None, MAX_NAMED_FORKS + 1)
        return why_not_erased(erasure.chat_id, [one.chat_id for one in forks])

    async def carry_out(self, erasure: Erasure) -> Erasure:
        """Erase what is asked for, chat by chat, and store the result, which is returned."""
        made = erasure
        if (problem := await self._why_not(erasure)) is not None:
            made = _with(made, state="failed", ended_at=self._clock(), problem=problem)
            await self.request(made)
            return made
        try:
            async for key in self._chats_and_begun(erasure):
                made = _with(made, erased=made.erased.plus(await self._eraser.chat(key)))
                if made.erased.chats % SAVE_EVERY == 0:
                    await self.request(made)
            leftovers = await self._eraser.app_leftovers(
                erasure.app_id, whole=erasure.user_id is None and erasure.chat_id is None
            )
        except (NotErasedError, NatsRejectedError) as failed:
            log.exception("an erasure failed", extra={"app": erasure.app_id})
            made = _with(made, state="failed", ended_at=self._clock(), problem=str(failed))
        else:
            erased = made.erased.plus(leftovers)
            made = _with(made, state="done", ended_at=self._clock(), erased=erased)
        await self.request(made)
        return made

    async def chats(self, erasure: Erasure) -> AsyncIterator[ChatKey]:
        """The chats that are to be erased, those included that only the log has; some of them twice.

        Those of a whole app are also chats that are erased already: an attempt that did not end may
        have left something of them.
        """
        app = erasure.app_id
        if erasure.chat_id is not None:
            key = ChatKey(app, erasure.chat_id)
            if erasure.with_forks:
                async for fork in self._forks(key):
                    yield fork
            yield key
            return
        if erasure.user_id is None:
            async for key in self._gateway.events.chats(app):
                yield key
        async for key in self._stored(erasure):
            yield key

    async def _chats_and_begun(self, erasure: Erasure) -> AsyncIterator[ChatKey]:
        """The chats, each of which is erased before the next one is asked for, and then those that
        began meanwhile, once: whoever goes on to start chats erases again."""
        async for key in self.chats(erasure):
            yield key
        if erasure.chat_id is None:
            async for key in self._stored(erasure):
                yield key

    async def _stored(self, erasure: Erasure) -> AsyncIterator[ChatKey]:
        """The chats of an app or of a user that have a session and are not erased, by their ids."""
        after: ChatId | None = None
        while page := await self._store.not_erased(erasure.app_id, erasure.user_id, after, PAGE):
            for chat in page:
                yield ChatKey(erasure.app_id, chat)
            after = page[-1]

    async def _forks(self, key: ChatKey) -> AsyncIterator[ChatKey]:
        after: ChatId | None = None
        while page := await self._store.forks_of(key, after, SAVE_EVERY):
            for one in page:
                yield one.key
            after = page[-1].chat_id


class ErasureWorker:
    """Carries out erasures while the service runs, also those that another process began."""

    def __init__(self, erasures: Erasures) -> None:
        self._erasures = erasures
        self._task: asyncio.Task[None] | None = None
        self._log = RateLimitedLog(log)

    def start(self) -> None:
        self._task = asyncio.create_task(
            repeat(self.round, LOOK_SECONDS, log), name="carry out erasures"
        )

    async def stop(self) -> None:
        """What is not finished is carried out by the next process."""
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def round(self) -> None:
        """Carry out what is asked for now, and erase the deleted chats that are due."""
        try:
            for erasure in await self._erasures.open():
                await self._carry_out_or_log(erasure)
            while await self._erasures.erase_deleted():
                pass
        except _UNAVAILABLE as unavailable:
            self._log.warning("erasures wait for a server", why=str(unavailable))

    async def _carry_out_or_log(self, erasure: Erasure) -> None:
        try:
            await self._erasures.carry_out(erasure)
        except _UNAVAILABLE:
            raise
        except Exception:  # it is tried again, and keeps no other from being carried out
            log.exception("an erasure is not carried out yet", extra={"app": erasure.app_id})


def _requested(value: bytes) -> Erasure | None:
    """The erasure, if it is not carried out yet, nor damaged."""
    try:
        erasure = Erasure.model_validate_json(value)
    except ValidationError:
        return None
    return erasure if erasure.state == "requested" else None


def _with(erasure: Erasure, **changes: object) -> Erasure:
    return erasure.model_copy(update=changes)
