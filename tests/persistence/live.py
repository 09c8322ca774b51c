"""A running persistence, and what it takes to see what it does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from faststream.asgi import AsgiFastStream

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.event_log import Decision
from contracts.ids import ChatKey, StreamSeq
from services.chassis.jetstream.direct_get import BEFORE_FIRST
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.probes import Probes
from services.persistence.app import build_app
from services.persistence.settings import Settings
from tests.persistence.story import ANN, KEY

TIMEOUT_SECONDS = 60.0


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Probes]:
    app, probes = build_app(settings)
    async with cast(AsgiFastStream, app).start_lifespan_context():
        yield probes


async def append(
    gateway: JetStreamGateway, decisions: Sequence[Decision], place: StreamSeq = BEFORE_FIRST
) -> StreamSeq:
    """The position of the last."""
    for decision in decisions:
        place = await gateway.events.append(decision, after=place)
    return place


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await holds():  # noqa: ASYNC110  a database sets no event
            await asyncio.sleep(0.05)


async def published_summary(gateway: JetStreamGateway, key: ChatKey = KEY) -> ChatSummary | None:
    prefix = subjects.user_summaries_prefix(key.app, ANN)
    try:
        values = await gateway.key_values.list_values(subjects.CHATS, prefix)
    except NatsUnavailableError:  # as while there is no bucket
        return None
    summaries = [ChatSummary.model_validate_json(value) for value in values]
    return next((one for one in summaries if one.chat_id == key.chat), None)


async def is_published(gateway: JetStreamGateway, key: ChatKey, last_seq: int) -> bool:
    summary = await published_summary(gateway, key)
    return summary is not None and summary.last_seq == last_seq
