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
from services.chassis.bus import Bus
from services.chassis.direct_get import NOWHERE, UnavailableError
from services.chassis.process import Probes
from services.persistence.app import Settings, build_app
from tests.persistence.story import ANN, KEY

PATIENCE = 40.0


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Probes]:
    app, probes = build_app(settings)
    async with cast(AsgiFastStream, app).start_lifespan_context():
        yield probes


async def append(bus: Bus, decisions: Sequence[Decision], place: StreamSeq = NOWHERE) -> StreamSeq:
    """The position of the last."""
    for decision in decisions:
        place = await bus.events.append(decision, after=place)
    return place


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110  a database sets no event
            await asyncio.sleep(0.05)


async def shown(bus: Bus, key: ChatKey = KEY) -> ChatSummary | None:
    prefix = subjects.user_summaries_prefix(key.app, ANN)
    try:
        values = await bus.values_under(subjects.CHATS, prefix)
    except UnavailableError:  # as while there is no bucket
        return None
    summaries = [ChatSummary.model_validate_json(value) for value in values]
    return next((one for one in summaries if one.chat_id == key.chat), None)


async def is_shown(bus: Bus, key: ChatKey, last_seq: int) -> bool:
    summary = await shown(bus, key)
    return summary is not None and summary.last_seq == last_seq
