"""The live channel of a chat: publish deltas, read recent ones, subscribe to events and deltas."""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress

from nats.aio.client import Client

from contracts import encryption, subjects
from contracts.deltas import DELTA, Delta, TextStreamed
from contracts.ids import ChatKey
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.subscription import (
    SUBSCRIBE_SECONDS,
    first_message,
)
from services.chassis.nats.direct_subscription import (
    DirectSubscription,
    OnMessage,
    subscribe_directly,
)
from services.chassis.nats.unavailable import NATS_UNAVAILABLE

PLACE = "delta"
"""Of what is sealed in this channel."""


class LiveChannel:
    """What a chat shows while it runs, over one connection."""

    def __init__(self, nc: Client, reader: DirectReader) -> None:
        self._nc = nc
        self._reader = reader

    async def publish_delta(self, key: ChatKey, delta: Delta) -> None:
        """Publish a delta without waiting for an acknowledgement: a stored event supersedes it.

        For the same reason it is dropped while NATS is unavailable, and raises nothing then.
        """
        with suppress(*NATS_UNAVAILABLE, NatsUnavailableError):
            await encryption.ensure(key)
            data = delta.__pydantic_serializer__.to_json(delta)
            await self._nc.publish(subjects.delta(key), encryption.seal_json(key, PLACE, data))

    async def read_deltas(
        self, key: ChatKey, *, since: str, seconds: float | None = None
    ) -> list[TextStreamed]:
        """The text that was streamed to a chat since an ISO 8601 time, as far as it is still stored.

        With `seconds`: what could be read within that time. Raises NatsUnavailableError.
        """
        await encryption.load(key)
        deltas: list[TextStreamed] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for message in self._reader.since(
                    subjects.DELTAS, subjects.delta(key), since
                ):
                    delta = decoded_delta(key, message.data)
                    if isinstance(delta, TextStreamed):
                        deltas.append(delta)
        return deltas

    async def newest_delta(self, key: ChatKey) -> Delta | None:
        """The newest delta of a chat that is stored, as the stream's leader knows it.

        Raises NatsUnavailableError.
        """
        newest = await self._reader.last(subjects.DELTAS, subjects.delta(key))
        await encryption.load(key)
        return None if newest is None else decoded_delta(key, newest.data)

    async def subscribe(self, key: ChatKey, on_message: OnMessage) -> DirectSubscription:
        """Receive a chat's events and deltas as they are stored: a core subscription, no consumer.

        `on_message` is called as messages are read, and must be quick. Raises NatsUnavailableError.
        """
        await encryption.load(key)
        subject = subjects.live(key)
        try:
            return await subscribe_directly(self._nc, subject, on_message, SUBSCRIBE_SECONDS)
        except NATS_UNAVAILABLE as unavailable:
            raise NatsUnavailableError(f"subscribe to {subject}") from unavailable

    async def follow(self, key: ChatKey, on_message: OnMessage) -> DirectSubscription:
        """Receive a chat's events, without business events and deltas, as they are stored.

        The server knows the subscription before it processes any later request of this connection;
        this does not wait for it. `on_message` is called as messages are read, and must be quick.
        Raises NatsUnavailableError.
        """
        await encryption.load(key)
        subject = subjects.live_events(key)
        try:
            return await subscribe_directly(self._nc, subject, on_message)
        except NATS_UNAVAILABLE as unavailable:
            raise NatsUnavailableError(f"subscribe to {subject}") from unavailable

    def first_message(self, key: ChatKey) -> AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set by the first message of a chat that is stored after the next request.

        The context raises NatsUnavailableError.
        """
        return first_message(self._nc, subjects.live(key))


def decoded_delta(key: ChatKey, data: bytes) -> Delta | None:
    """A delta of a chat whose key is loaded; None without the key. Raises ValueError."""
    opened = encryption.open_json(key, PLACE, data)
    return None if opened is None else DELTA.validate_json(opened)
