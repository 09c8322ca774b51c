"""Fetch the messages of a durable pull consumer, whatever headers they have.

nats-py takes every message with a `Status` header for an answer of the server itself: with one such
message in a stream its `fetch` raises, or waits, and never comes to the messages behind it.
"""

import asyncio
import json
from contextlib import suppress

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError, NotFoundError

from services.chassis.bus import Bus

GRACE_SECONDS = 1.0
"""How long the server's answer may be on its way."""
_NOTHING = ("404", "408")
"""No message, none until the request expired."""


class Pull:
    """One subscription to a durable consumer, which is made where it is not there."""

    def __init__(self, bus: Bus, stream: str, durable: str, subscription: Subscription) -> None:
        self._nc = bus.nc
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._subscription = subscription
        self._inbox = subscription.subject.removesuffix(".*")
        self._requests = 0

    @classmethod
    async def begin(cls, bus: Bus, stream: str, config: ConsumerConfig) -> "Pull":
        """Raises nats errors, NotFoundError without the stream."""
        durable = str(config.durable_name)
        try:
            await bus.js.consumer_info(stream, durable)
        except NotFoundError:
            await bus.js.add_consumer(stream, config)
        inbox = f"{bus.nc.new_inbox()}.*"
        return cls(bus, stream, durable, await bus.nc.subscribe(inbox))

    async def close(self) -> None:
        with suppress(NatsError, OSError):  # gone with its connection
            await self._subscription.unsubscribe()

    async def wait(self, seconds: float) -> list[Msg]:
        """The next message, none where none comes in time. Raises nats errors."""
        return await self._ask(1, {"expires": int(seconds * 1_000_000_000)}, seconds)

    async def at_once(self, most: int) -> list[Msg]:
        """What is there right now, at most so many. Raises nats errors."""
        return await self._ask(most, {"no_wait": True}, 0.0) if most else []

    async def _ask(self, most: int, how: dict[str, object], seconds: float) -> list[Msg]:
        self._requests += 1
        reply = f"{self._inbox}.{self._requests}"
        await self._nc.publish(self._next, json.dumps({"batch": most, **how}).encode(), reply)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds + GRACE_SECONDS
        found: list[Msg] = []
        while len(found) < most:
            try:
                message = await self._subscription.next_msg(max(deadline - loop.time(), 0.001))
            except (NatsTimeoutError, TimeoutError):
                break
            if message.reply:  # where it is acknowledged: a message of the stream
                found.append(message)
            elif message.subject == reply and (found or _status(message) in _NOTHING):
                break
            elif message.subject == reply:
                raise APIError.from_msg(message)
        return found


def _status(message: Msg) -> str:
    return (message.headers or {}).get("Status", "")
