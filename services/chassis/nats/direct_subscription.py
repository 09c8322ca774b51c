"""A subscription whose messages are handled as they are read, without the queue and task of nats-py's."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from services.chassis.nats.connection import flush

log = logging.getLogger(__name__)

OnMessage = Callable[[Msg], None]


class _Handler:
    """Takes the place of the queue into which nats-py puts the messages of a subscription."""

    __slots__ = ("_on_message",)

    def __init__(self, on_message: OnMessage) -> None:
        self._on_message = on_message

    def put_nowait(self, message: Msg) -> None:
        try:
            self._on_message(message)
        except Exception:  # it would end the read loop of the connection
            log.exception("a message cannot be handled", extra={"subject": message.subject})

    def qsize(self) -> int:
        return 0

    def empty(self) -> bool:
        return True

    async def join(self) -> None:
        """Nothing is queued."""


class DirectSubscription:
    """A subscription until it is closed."""

    __slots__ = ("_subscription",)

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def aclose(self) -> None:
        with suppress(NatsError):  # the connection is closed, and its subscriptions with it
            await self._subscription.unsubscribe()


async def subscribe_directly(
    nc: Client, subject: str, on_message: OnMessage, seconds: float | None = None
) -> DirectSubscription:
    """A subscription that the server has confirmed within `seconds`: from here on no message is missed.

    Without `seconds` it is not confirmed: the server knows it before it handles a later request of
    this connection.

    `on_message` is called by the read loop of the connection and must be quick. What it raises is
    logged. Raises what `flush` raises; then, and when it is cancelled, nothing is subscribed.
    """
    subscription = await nc.subscribe(subject)
    _replace_queue(subscription, on_message)
    direct = DirectSubscription(subscription)
    try:
        if seconds is not None:
            await flush(nc, seconds)
    except BaseException:
        await direct.aclose()
        raise
    return direct


def _replace_queue(subscription: Any, on_message: OnMessage) -> None:
    queue, handler = subscription._pending_queue, _Handler(on_message)  # noqa: SLF001
    subscription._pending_queue = handler  # noqa: SLF001
    subscription._message_iterator = None  # noqa: SLF001
    subscription._pending_bytes_limit = 0  # noqa: SLF001  none wait, but nats-py adds them up
    while not queue.empty():
        handler.put_nowait(queue.get_nowait())
