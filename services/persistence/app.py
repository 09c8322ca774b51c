"""Settings and wiring of persistence: the only module here that knows concrete classes."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from faststream.asgi import AsgiFastStream
from nats.js.errors import NotFoundError
from prometheus_client import CollectorRegistry, Counter
from pydantic import Field
from pymongo.errors import ConfigurationError, OperationFailure

from contracts import subjects
from services.chassis import settings as chassis
from services.chassis.away import until_answered
from services.chassis.bus import Bus
from services.chassis.by_hand import CONNECT_SECONDS, bus_by_hand
from services.chassis.dead_letters.queue import dead_letter_counter
from services.chassis.direct_get import RawMessage, UnavailableError
from services.chassis.listening import Queue, QueueConsumer
from services.chassis.logs import SparingLog, configure
from services.chassis.process import (
    Asgi,
    CannotStartError,
    Probes,
    build_broker,
    connected,
    nats_check,
)
from services.chassis.projecting import EventConsumer
from services.chassis.settings import FilePath
from services.chassis.streams import UnansweredError, ensure_streams
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
from services.persistence.mongo_access import MongoAccess, UnusableFileError
from services.persistence.monitor import Monitor
from services.persistence.rebuilder import Rebuilder
from services.persistence.sources import Sources
from services.persistence.store import StoreAwayError, StoreUnfitError
from services.persistence.summaries import Summaries

log = logging.getLogger(__name__)

DURABLE = "persistence-events"
NEEDS = (
    subjects.EVENTS,
    subjects.LOOKUPS,
    subjects.DEAD_LETTERS,
    subjects.bucket_stream(subjects.TRIES),
    subjects.bucket_stream(subjects.CHATS),
)
STORES = (subjects.LOOKUPS, subjects.DEAD_LETTERS)


class Settings(chassis.Settings):
    persistence_port: int = Field(default=8003, ge=1, le=65535)
    mongodb_uri: str = "mongodb://127.0.0.1:27017"
    mongodb_database: str = "MozaiksAI"
    mongodb_password_file: FilePath = None
    """The password of the user that MONGODB_URI names."""
    mongodb_ca_file: FilePath = None
    """Who signed the server's certificate; this and the next demand TLS."""
    mongodb_cert_key_file: FilePath = None
    """Our certificate and its key, in one file."""
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
    dead_letters = dead_letter_counter(registry)
    broker = build_broker(settings, "persistence")
    rejected = Counter(
        "mozaiks_persistence_rejected_messages",
        "Messages in EVENTS that are no events of a chat, repeats included.",
        registry=registry,
    )
    following: list[EventConsumer] = []
    listening: list[QueueConsumer] = []
    monitors: list[Monitor] = []

    async def stop_following() -> None:
        """Before the connection goes: what is in hand is kept, or comes again."""
        probes.draining()
        for listener in listening:
            await listener.stop(settings.drain_seconds)
        for follower in following:
            await follower.stop()
        for monitor in monitors:
            await monitor.stop()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with (
            mongo(settings, probes) as (client, store),
            connected(broker, settings, probes, NEEDS, STORES) as bus,
        ):
            bucket = await until_answered(partial(bus.bucket, subjects.CHATS), "bucket chats")
            summaries = Summaries(bucket)
            rebuilder = Rebuilder(store, Sources(store, bus), summaries.announce)
            keeper = Keeper(
                store, bus.events.read_to, summaries.announce, rebuilder.mend, rejected.inc
            )
            follows = await until_answered(partial(_follows_already, bus), "the consumer of events")
            if not follows:  # it will be given the log from its beginning
                await store.mark(await store.look())
            monitor = Monitor(store, summaries, rebuilder)
            monitor.start()
            monitors.append(monitor)

            async def apply(batch: Sequence[RawMessage]) -> None:
                await keeper.apply(batch)
                applied.inc(len(batch))

            follower = EventConsumer(bus, DURABLE, apply, dead_letters)
            follower.start()
            following.append(follower)
            listener = _answering(bus, client, settings, dead_letters)
            listener.start()
            listening.append(listener)
            probes.ready_when(
                nats=nats_check(bus),
                mongodb=partial(_trouble, client, _access(settings)),
                events=lambda: None if follower.following else "not following",
                data=monitor.problem,
                lookups=lambda: None if listener.listening else "not answering",
            )
            yield

    app = AsgiFastStream(broker, lifespan=lifespan, on_shutdown=[stop_following], logger=None)
    return app, probes


async def _follows_already(bus: Bus) -> bool:
    try:
        await bus.js.consumer_info(subjects.EVENTS, DURABLE)
    except NotFoundError:
        return False
    return True


async def _ensure(bus: Bus, settings: Settings) -> None:
    """Make the streams and buckets that are missing, where this process may."""
    if not settings.ensure_streams:
        return
    try:
        await ensure_streams(bus.nc, replicas=settings.stream_replicas)
    except UnansweredError as away_still:
        raise UnavailableError(str(away_still)) from away_still


@dataclass(frozen=True, slots=True)
class Tools:
    """What the commands beside the service work with."""

    bus: Bus
    store: MongoStore
    sources: Sources
    summaries: Summaries
    rebuilder: Rebuilder


@asynccontextmanager
async def tools(
    settings: Settings, name: str, *, reads_only: bool = False, makes_streams: bool = False
) -> AsyncIterator[Tools]:
    """Raises CannotStartError, StoreAwayError, UnavailableError."""
    seconds = min(settings.mongodb_wait_seconds, CONNECT_SECONDS)
    hurried = settings.model_copy(update={"mongodb_wait_seconds": seconds})
    async with (
        mongo(hurried, reads_only=reads_only) as (_, store),
        bus_by_hand(settings, name) as bus,
    ):
        if makes_streams:
            await _ensure(bus, settings)
        try:
            bucket = await bus.bucket(subjects.CHATS)
        except NotFoundError:
            raise UnavailableError(
                "bucket chats is missing: python -m services.chassis.streams ensure"
            ) from None
        summaries, sources = Summaries(bucket), Sources(store, bus)
        rebuilder = Rebuilder(store, sources, summaries.announce)
        yield Tools(bus, store, sources, summaries, rebuilder)


def run(command: Callable[[Settings], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a command of an operator and end with its exit code; 2 where a server is away or unfit."""
    settings = Settings()
    configure("persistence", settings.log_level, as_json=settings.logs_as_json)
    try:
        code = asyncio.run(command(settings))
    except (CannotStartError, StoreAwayError, UnavailableError) as trouble:
        log.error("%s", trouble)  # noqa: TRY400  what is wrong, without where in the code
        code = 2
    sys.exit(code)


def _answering(
    bus: Bus, client: Client, settings: Settings, dead_letters: Counter
) -> QueueConsumer:
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
    return QueueConsumer(bus, queue, answers.on_question, answers.on_given_up, dead_letters)


@asynccontextmanager
async def mongo(
    settings: Settings, probes: Probes | None = None, *, reads_only: bool = False
) -> AsyncIterator[tuple[Client, MongoStore]]:
    """Until MongoDB answers the probes say why not.

    Raises CannotStartError: for a MongoDB that is too old, and after MONGODB_WAIT_SECONDS.
    """
    opening = _Opening(settings, reads_only=reads_only)
    if probes is not None:
        probes.starting_until(mongodb=lambda: opening.why)
    client, store = await opening.opened()
    try:
        yield client, store
    finally:
        await client.close()


class _Opening:
    """Tries until MongoDB can be used; `why` is what keeps us from it."""

    def __init__(self, settings: Settings, *, reads_only: bool) -> None:
        self._settings = settings
        self._reads_only = reads_only
        self._access = _access(settings)
        self.why: str | None = None

    async def opened(self) -> tuple[Client, MongoStore]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._settings.mongodb_wait_seconds
        sparing = SparingLog(log)
        while True:
            try:
                return await self._once()
            except (StoreAwayError, OperationFailure, ConfigurationError) as away_still:
                cause = away_still.__cause__ or away_still
                self.why = self._access.trouble_in_words(cause)
            except UnusableFileError as unusable:
                self.why = str(unusable)
            if clock() > deadline:
                waited = f"{self._settings.mongodb_wait_seconds:g}"
                raise CannotStartError(f"{self.why}; MONGODB_WAIT_SECONDS={waited} are over")
            sparing.warning(f"{self.why}; trying again")
            await asyncio.sleep(0.5)

    async def _once(self) -> tuple[Client, MongoStore]:
        try:
            client = build_client(self._access.uri, **self._access.options())
        except (ConfigurationError, ValueError) as wrong:
            raise CannotStartError(f"MONGODB_URI: {wrong}") from wrong
        try:
            database = self._settings.mongodb_database
            return client, await open_store(client, database, reads_only=self._reads_only)
        except StoreUnfitError as unfit:
            await client.close()
            raise CannotStartError(str(unfit)) from unfit
        except BaseException:
            await client.close()
            raise


def _access(settings: Settings) -> MongoAccess:
    return MongoAccess(
        uri=settings.mongodb_uri,
        password_file=settings.mongodb_password_file,
        ca_file=settings.mongodb_ca_file,
        cert_key_file=settings.mongodb_cert_key_file,
    )


def _trouble(client: Client, access: MongoAccess) -> str | None:
    if (what := away(client)) is None:
        return None
    seen = client.topology_description.server_descriptions().values()
    errors = [server.error for server in seen if server.error is not None]
    return f"{what}: {access.trouble_in_words(errors[0])}" if errors else what
