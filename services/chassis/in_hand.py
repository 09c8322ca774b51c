"""Messages in hand: JetStream is told that they are worked on, so that silence means death."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.chassis.ending import end

log = logging.getLogger(__name__)

BEATS = 4
"""How often within the time after which JetStream gives a message to another."""


@asynccontextmanager
async def in_hand(messages: Sequence[Msg], ack_seconds: float) -> AsyncIterator[None]:
    """Keep messages from redelivery while the block runs, however long."""
    beating = asyncio.create_task(_beat(messages, ack_seconds / BEATS), name="in progress")
    try:
        yield
    finally:
        await end(beating)


async def _beat(messages: Sequence[Msg], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            for message in messages:
                await message.in_progress()
        except (NatsError, OSError) as away:  # redelivery is safe; silence is not
            log.warning("no heartbeat for messages in hand", extra={"why": repr(away)})
