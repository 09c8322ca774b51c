"""Answers requests on core NATS until the end of a block."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.chassis.logs.repeats import RateLimitedLog

log = logging.getLogger(__name__)

MOST_WAITING = 64
"""Requests that wait for this process; of more the client drops the newest, which are asked again."""


@asynccontextmanager
async def answering(
    nc: Client, subject: str, answer: Callable[[bytes], Awaitable[bytes]], *, queue: str = ""
) -> AsyncIterator[None]:
    """`answer` must not raise. Of the processes of a `queue` one answers each request; without, all."""
    repeats = RateLimitedLog(log)

    async def on_request(message: Msg) -> None:
        body = await answer(message.data)
        try:
            await nc.publish(message.reply, body)
        except (NatsError, OSError) as error:  # whoever asked asks again
            repeats.warning("an answer could not be sent", subject=subject, why=repr(error))

    subscription = await nc.subscribe(
        subject, queue=queue, cb=on_request, pending_msgs_limit=MOST_WAITING
    )
    try:
        yield
    finally:
        with suppress(NatsError):  # the connection is closed, and its subscriptions with it
            await subscription.unsubscribe()
