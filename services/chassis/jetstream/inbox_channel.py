"""The inbox channel: tells who shows an inbox that its questions have changed, without a guarantee."""

import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts import subjects
from contracts.ids import AppId
from services.chassis.jetstream.subscription import subscribed
from services.chassis.nats.unavailable import NATS_UNAVAILABLE


class InboxChannel:
    """Messages of core NATS: one that is lost is made up for by whoever reads the inbox again."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def announce(self, app: AppId, recipients: Collection[str]) -> None:
        """Say that the questions for these recipients have changed; raises nothing without NATS."""
        with suppress(*NATS_UNAVAILABLE):
            await self._nc.publish(subjects.inbox(app), json.dumps(sorted(recipients)).encode())

    @asynccontextmanager
    async def changes(
        self, app: AppId, recipients: Collection[str] | None, on_change: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Calls `on_change` for changes of these recipients, None: of all. Raises NatsUnavailableError."""
        wanted = None if recipients is None else frozenset(recipients)

        async def on_message(message: Msg) -> None:
            if wanted is None or not wanted.isdisjoint(json.loads(message.data)):
                on_change()

        async with subscribed(self._nc, subjects.inbox(app), on_message):
            yield
