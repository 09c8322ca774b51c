"""Persistence for tests of the transport: its real responder to queries, over a store in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nats.aio.msg import Msg

from contracts import subjects
from contracts.ids import StreamSeq
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.subscription import subscribed
from services.persistence.domain.projection import advance
from services.persistence.query_responder import QueryResponder, ReceivedQuery, query_of
from services.persistence.store.interface import ArchivedEvent
from services.persistence.store.memory import MemoryStore
from tests.transport.story import Chat


@dataclass(frozen=True)
class Persistence:
    store: MemoryStore = field(default_factory=MemoryStore)

    async def project(self, chat: Chat) -> None:
        """Stores what the chat's log holds."""
        events = [
            ArchivedEvent(one, StreamSeq(commit.place.position))
            async for commit in chat.gateway.events.read(chat.key)
            for one in commit.events
        ]
        made = advance(None, events)
        assert made is not None
        await self.store.save([made])


@asynccontextmanager
async def answering(gateway: JetStreamGateway) -> AsyncIterator[Persistence]:
    """Answers every query until the end of the block."""
    persistence = Persistence()
    responder = QueryResponder(
        persistence.store, gateway.lookups.respond, lambda: gateway.nc.max_payload
    )

    async def on_message(message: Msg) -> None:
        now = datetime.now(UTC)
        await responder.on_query(ReceivedQuery(query=query_of(message), stored_at=now), now)

    async with subscribed(gateway.nc, subjects.ALL_QUERIES, on_message):
        yield persistence
