"""Settings and wiring of persistence: the only module here that knows concrete classes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from faststream.asgi import AsgiFastStream
from prometheus_client import CollectorRegistry, Counter
from pydantic import Field

from contracts import subjects
from services.chassis import settings as chassis
from services.chassis.bus import Bus, Stored
from services.chassis.listening import Listener, Queue
from services.chassis.process import Asgi, Probes, build_broker, connected, nats_check
from services.chassis.projecting import Follower
from services.persistence.handlers import Keeper
from services.persistence.lookups import Answers, allowed_places
from services.persistence.mongo import (
    Client,
    MongoFinder,
    MongoStore,
    away,
    build_client,
    open_store,
)
from services.persistence.store import StoreAwayError
from services.persistence.summaries import Summaries

log = logging.getLogger(__name__)

DURABLE = "persistence-events"


class Settings(chassis.Settings):
    persistence_port: int = Field(default=8003, ge=1, le=65535)
    mongodb_uri: str = "mongodb://127.0.0.1:27017"
    mongodb_database: str = "MozaiksAI"
    mongodb_wait_seconds: float = Field(default=60.0, gt=0)
    """How long a starting process waits for MongoDB before it ends with the reason."""
    data_reference_databases: str = ""
    """What workflows may read: `shop, crm.customers`, whole databases or single collections."""
    lookup_slots: int = Field(default=8, ge=1)
    """Questions about such data that are asked at the same time."""


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    registry = CollectorRegistry()
    probes = Probes(registry)
    applied = Counter(
        "mozaiks_persistence_events", "Events kept, repeats included.", registry=registry
    )
    broker = build_broker(settings, "persistence")
    following: list[Follower] = []
    listening: list[Listener] = []

    async def stop_following() -> None:
        """Before the connection goes: what is in hand is kept, or comes again."""
        probes.draining()
        for listener in listening:
            await listener.stop(settings.drain_seconds)
        for follower in following:
            await follower.stop()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with mongo(settings) as (client, store), connected(broker, settings, probes) as bus:
            summaries = Summaries(await bus.bucket(subjects.CHATS))
            keeper = Keeper(store, bus.read_from, summaries.announce)

            async def apply(batch: Sequence[Stored]) -> None:
                await keeper.apply(batch)
                applied.inc(len(batch))

            follower = Follower(bus, DURABLE, apply)
            follower.start()
            following.append(follower)
            listener = _answering(bus, client, settings)
            listener.start()
            listening.append(listener)
            probes.ready_when(
                nats=nats_check(bus),
                mongodb=partial(away, client),
                events=lambda: None if follower.following else "not following",
                lookups=lambda: None if listener.listening else "not answering",
            )
            yield

    app = AsgiFastStream(broker, lifespan=lifespan, on_shutdown=[stop_following], logger=None)
    return app, probes


def _answering(bus: Bus, client: Client, settings: Settings) -> Listener:
    """Answers what workflows ask of the databases that the settings name, never of our own."""
    allowed = allowed_places(settings.data_reference_databases, settings.mongodb_database)
    answers = Answers(MongoFinder(client), allowed, bus.answer)
    queue = Queue(
        stream=subjects.LOOKUPS,
        subject=subjects.ALL_LOOKUPS,
        durable="persistence-lookups",
        slots=settings.lookup_slots,
        tries=3,
    )
    return Listener(bus, queue, answers.on_question, answers.on_given_up)


@asynccontextmanager
async def mongo(settings: Settings) -> AsyncIterator[tuple[Client, MongoStore]]:
    """Raises StoreUnfitError, or StoreAwayError after the time that the settings give."""
    client = build_client(settings.mongodb_uri)
    try:
        yield client, await _opened(client, settings)
    finally:
        await client.close()


async def _opened(client: Client, settings: Settings) -> MongoStore:
    deadline = asyncio.get_running_loop().time() + settings.mongodb_wait_seconds
    while True:
        try:
            return await open_store(client, settings.mongodb_database)
        except StoreAwayError as away_still:
            if asyncio.get_running_loop().time() > deadline:
                raise StoreAwayError(
                    f"MONGODB_URI: no MongoDB answers ({away_still})"
                ) from away_still
            log.warning("waiting for MongoDB", extra={"why": str(away_still)})
            await asyncio.sleep(0.5)
