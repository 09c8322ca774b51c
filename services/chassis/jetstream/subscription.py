"""A core NATS subscription for the duration of a block."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionReconnectingError
from nats.errors import Error as NatsError

from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.nats.connection import subscribe_confirmed
from services.chassis.nats.unavailable import NATS_UNAVAILABLE

SUBSCRIBE_SECONDS = 2
NO_RESPONDERS = "503"
"""The status of the server's own answer where nobody subscribes."""


@asynccontextmanager
async def first_message(nc: Client, subject: str) -> AsyncIterator[asyncio.Event]:
    """An event that is set by the first message on a subject.

    There is no wait for the server to know the subscription: a server handles what comes over one
    connection in order, so it knows it before any later request, and ends it by itself after the
    message. Raises NatsUnavailableError.
    """
    received = asyncio.Event()

    async def on_message(_: Msg) -> None:
        received.set()

    try:
        if not nc.is_connected:
            raise ConnectionReconnectingError
        subscription = await nc.subscribe(subject, cb=on_message)
        await subscription.unsubscribe(limit=1)
    except NATS_UNAVAILABLE as unavailable:
        raise NatsUnavailableError(f"subscribe to {subject}") from unavailable
    try:
        yield received
    finally:
        if not received.is_set():
            with suppress(NatsError):  # the connection is closed, and its subscriptions with it
                await subscription.unsubscribe()


@asynccontextmanager
async def subscribed(
    nc: Client, subject: str, on_message: Callable[[Msg], Awaitable[None]]
) -> AsyncIterator[None]:
    """The server knows the subscription before the block begins. Raises NatsUnavailableError."""
    try:
        subscription = await subscribe_confirmed(nc, subject, on_message, SUBSCRIBE_SECONDS)
    except NATS_UNAVAILABLE as unavailable:
        raise NatsUnavailableError(f"subscribe to {subject}") from unavailable
    try:
        yield
    finally:
        with suppress(NatsError):  # the connection is closed, and its subscriptions with it
            await subscription.unsubscribe()


async def ask(
    nc: Client, subject: str, data: bytes, answer_subject: str, seconds: float
) -> Msg | None:
    """The first answer to a request on core NATS; None where nobody subscribes.

    The answer comes to a subject of its own, which permissions can name. Raises TimeoutError where it
    takes longer than `seconds`, and NatsUnavailableError.
    """
    answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def on_message(message: Msg) -> None:
        if not answered.done():
            answered.set_result(message)

    async with subscribed(nc, answer_subject, on_message):
        try:
            await nc.publish(subject, data, reply=answer_subject)
        except NATS_UNAVAILABLE as unavailable:
            raise NatsUnavailableError(f"ask {subject}") from unavailable
        async with asyncio.timeout(seconds):
            answer = await answered
    return None if (answer.headers or {}).get("Status") == NO_RESPONDERS else answer
