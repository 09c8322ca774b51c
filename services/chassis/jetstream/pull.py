"""Fetch messages of a pull consumer, whatever headers they have.

nats-py takes every message with a `Status` header for a response of the server itself: its `fetch`
discards the message, and sometimes others that came with it, so that no handler ever sees them. Its
`next_msg` starts two tasks for each message; here a callback collects what arrives.
"""

import asyncio
import json
from collections import deque
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError

from services.chassis.jetstream.durable_consumer import existing_or_created

RESPONSE_SECONDS = 1.0
"""How long the server's response may take beyond the time limit of the request."""
_NO_MESSAGES = ("404", "408")
"""There is no message; there was none until the request expired."""


class PullSubscription:
    """A subscription to a pull consumer, which is created where it does not exist."""

    def __init__(self, nc: Client, stream: str, consumer: str) -> None:
        self._nc = nc
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = nc.new_inbox()
        self._requests = 0
        self._received: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None

    @classmethod
    async def open(
        cls, nc: Client, js: JetStreamContext, stream: str, config: ConsumerConfig
    ) -> "PullSubscription":
        """Raises nats errors, NotFoundError without the stream."""
        pull = cls(nc, stream, await existing_or_created(nc, js, stream, config))
        pull._subscription = await nc.subscribe(f"{pull._inbox}.*", cb=pull._on_message)
        return pull

    async def close(self) -> None:
        if self._subscription is not None:
            with suppress(NatsError, OSError):  # it ended with its connection
                await self._subscription.unsubscribe()

    async def wait(self, seconds: float) -> list[Msg]:
        """The next message, none where none arrives in time. Raises nats errors."""
        return await self._request(1, {"expires": int(seconds * 1_000_000_000)}, seconds)

    async def fetch_available(self, limit: int) -> list[Msg]:
        """The messages that are there right now, at most `limit`. Raises nats errors."""
        return await self._request(limit, {"no_wait": True}, 0.0) if limit else []

    async def _request(self, limit: int, options: dict[str, object], seconds: float) -> list[Msg]:
        self._requests += 1
        reply = f"{self._inbox}.{self._requests}"
        await self._nc.publish(self._next, json.dumps({"batch": limit, **options}).encode(), reply)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds + RESPONSE_SECONDS
        found: list[Msg] = []
        while len(found) < limit:
            if not self._received and not await self._arrives(max(deadline - loop.time(), 0.001)):
                break
            message = self._received.popleft()
            if message.reply:  # the subject of its acknowledgement: a message of the stream
                found.append(message)
            elif message.subject == reply and (found or _status(message) in _NO_MESSAGES):
                break
            elif message.subject == reply:
                raise APIError.from_msg(message)
        return found

    async def _on_message(self, message: Msg) -> None:
        self._received.append(message)
        self._arrived.set()

    async def _arrives(self, seconds: float) -> bool:
        """Whether something arrives within that time."""
        self._arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._arrived.wait()
        return False


def _status(message: Msg) -> str:
    return (message.headers or {}).get("Status", "")
