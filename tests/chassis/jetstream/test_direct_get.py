"""Reading pages of a stream: without a server."""

import asyncio

from nats.aio.client import Client

from contracts.ids import StreamSeq
from services.chassis.jetstream.direct_get import (
    BEFORE_FIRST,
    YIELD_EVERY,
    DirectReader,
    RawMessage,
)
from services.chassis.tasks import cancel_and_wait


class OnePage(DirectReader):
    """A stream whose messages are all there at once."""

    async def _direct_get(
        self, stream: str, query: dict[str, object]
    ) -> tuple[list[RawMessage], int]:
        del stream, query
        return [RawMessage(StreamSeq(number), "x", b"") for number in range(1, 501)], 0


async def test_other_tasks_run_while_a_page_is_read() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    reader = OnePage(Client())
    read = [one.position async for one in reader.pages("EVENTS", "x", BEFORE_FIRST)]
    assert read == list(range(1, 501))
    assert turns >= 500 // YIELD_EVERY - 1
    await cancel_and_wait(task)
