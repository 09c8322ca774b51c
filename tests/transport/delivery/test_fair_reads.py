"""The reads of one app's chats leave room for those of another."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import cast

from contracts.ids import AppId, ChatKey, new_chat_id
from services.chassis.jetstream.event_log import START, Commit, EventLog, Place
from services.transport.delivery.projection_cache import READERS, ProjectionCache


class SlowLog:
    """A log without chats, whose reads end when they may."""

    def __init__(self) -> None:
        self.reading: Counter[AppId] = Counter()
        self.may_end = asyncio.Event()

    async def read(self, key: ChatKey, after: Place = START) -> AsyncIterator[Commit]:
        assert after == START
        self.reading[key.app] += 1
        await self.may_end.wait()
        nothing: list[Commit] = []
        for commit in nothing:
            yield commit


async def test_a_chat_is_read_while_hundreds_of_reads_of_another_app_wait() -> None:
    log = SlowLog()
    cache = ProjectionCache(cast(EventLog, log))
    keys = [ChatKey(AppId("noisy"), new_chat_id()) for _ in range(300)]
    reads = [asyncio.create_task(cache.get(key)) for key in keys]
    quiet = asyncio.create_task(cache.get(ChatKey(AppId("quiet"), new_chat_id())))
    await asyncio.sleep(0.01)
    assert log.reading == {"noisy": READERS.per_app, "quiet": 1}
    log.may_end.set()
    assert await asyncio.gather(*reads, quiet) == [None] * 301
    assert log.reading == {"noisy": 300, "quiet": 1}
