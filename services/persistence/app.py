"""Wires the persistence service: the only module that names its concrete classes."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from time import perf_counter

from faststream.asgi import AsgiFastStream
from nats.js.errors import NotFoundError
from prometheus_client import CollectorRegistry

from contracts import subjects
from contracts.lookups import DataRequested
from services.chassis.consumers.event_followers import EventFollowers, EventSubscriber
from services.chassis.consumers.middlewares import delivery_metrics
from services.chassis.consumers.subscribers import event_subscriber, queue_subscriber
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.nats.unavailable import retry_until_available
from services.chassis.process.asgi_front import Asgi
from services.chassis.process.broker import build_broker, connected, nats_check
from services.chassis.process.probes import Probes
from services.chassis.settings import comma_separated
from services.chassis.tracing.messages import TraceMessages
from services.chassis.tracing.setup import exported_traces
from services.persistence.chat_summaries import ChatSummaryBucket, SummaryPublisher
from services.persistence.lookup_responder import LookupResponder, decode_request
from services.persistence.maintenance.aged_chats import AgedChats
from services.persistence.maintenance.eraser import Eraser
from services.persistence.maintenance.erasures import Erasures, ErasureWorker
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.restorer import Restorer
from services.persistence.maintenance.retention import Retention
from services.persistence.maintenance.sources import ChatSources
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.metrics import PersistenceMetrics
from services.persistence.milestones import MilestonePublisher
from services.persistence.nats_permissions import DURABLE, LOOKUPS, QUERIES, SERVICE
from services.persistence.projector import Projector
from services.persistence.query_responder import QueryResponder, ReceivedQuery, decode_query
from services.persistence.read_model_monitor import ReadModelMonitor
from services.persistence.settings import Settings, max_ages
from services.persistence.store.document_query import allowed_sources
from services.persistence.store.interface import ArchivedEvent
from services.persistence.store.mongo.access import MongoAccess
from services.persistence.store.mongo.client import Client, why_unavailable
from services.persistence.store.mongo.command_metrics import CommandMetrics
from services.persistence.store.mongo.document_reader import MongoDocumentReader
from services.persistence.store.mongo.opening import access_of, open_mongo

log = logging.getLogger(__name__)

NEEDS = (
    subjects.EVENTS,
    subjects.LOOKUPS,
    subjects.DEAD_LETTERS,
    subjects.BUSINESS,
    subjects.bucket_stream(subjects.ATTEMPTS),
    subjects.bucket_stream(subjects.CHATS),
    subjects.bucket_stream(subjects.ERASURES),
    subjects.object_stream(subjects.VALUES),
    subjects.bucket_stream(subjects.CHAT_KEYS),
)
STORES = (subjects.LOOKUPS, subjects.DEAD_LETTERS)


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    registry = CollectorRegistry()
    probes = Probes(registry)
    metrics = PersistenceMetrics(registry)
    for variable, file in (
        ("MONGODB_CERT_KEY_FILE", settings.mongodb_cert_key_file),
        ("MONGODB_CA_FILE", settings.mongodb_ca_file),
    ):
        if file is not None:
            probes.metrics.health.certificates[variable] = file
    broker = build_broker(settings, SERVICE)
    deliveries = delivery_metrics(registry)
    monitors: list[ReadModelMonitor] = []
    publishers: list[SummaryPublisher] = []
    workers: list[ErasureWorker] = []
    retentions: list[Retention] = []
    followers: list[EventFollowers] = []

    async def drain() -> None:
        """Before the broker stops: its subscribers, then its connection."""
        probes.draining()
        for follower in followers:
            await follower.stop()
        for monitor in monitors:
            await monitor.stop()
        for retention in retentions:
            await retention.stop()
        for worker in workers:
            await worker.stop()
        for publisher in publishers:
            await publisher.stop()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with (
            open_mongo(settings, probes, [CommandMetrics(metrics.mongodb)]) as (client, store),
            exported_traces(settings, SERVICE, probes.registry),
            connected(broker, settings, probes, NEEDS, STORES) as gateway,
        ):
            bucket = await retry_until_available(
                partial(gateway.key_values.bucket, subjects.CHATS), "bucket chats"
            )
            summaries = ChatSummaryBucket(bucket)
            publisher = SummaryPublisher(summaries.publish)
            publishers.append(publisher)
            publisher.start()
            values = ValueArchive(store, gateway.values)
            gateway.events.on_aged_out = None  # this service is who restores them
            sources = ChatSources(store, gateway)
            rebuilder = Rebuilder(store, sources, summaries.publish, values)
            eraser = Eraser(store, gateway, rebuilder, now)

            async def erase(tombstone: ArchivedEvent) -> None:
                publisher.forget(tombstone.envelope.key)
                await eraser.clean(tombstone)

            requests = await retry_until_available(
                partial(gateway.key_values.bucket, subjects.ERASURES), "bucket erasures"
            )
            worker = ErasureWorker(Erasures(requests, eraser, store, gateway, now))
            workers.append(worker)
            projector = Projector(
                store,
                gateway.events.read_to,
                publisher.publish,
                rebuilder.rebuild_or_log,
                metrics.rejected.inc,
                values.add,
                erase,
                gateway.inbox.announce,
                MilestonePublisher(
                    gateway.business_events.publish,
                    settings.runtime_business_events,
                    comma_separated(settings.runtime_business_events_apps),
                ),
            )
            has_consumer = partial(_has_consumer, gateway)
            if not await retry_until_available(has_consumer, "the consumer of events"):
                await store.save_state(await store.state())  # the log comes from its first event
            worker.start()
            if settings.events_max_age:
                retention = Retention(
                    store, sources, gateway, max_ages(settings.events_max_age), now
                )
                retentions.append(retention)
                retention.start()
            monitor = ReadModelMonitor(store, summaries, rebuilder)
            monitor.start()
            monitors.append(monitor)

            responder = _lookup_responder(gateway, client, settings)
            restorer = Restorer(store, sources, gateway.events, rebuilder, values)
            query_responder = QueryResponder(
                store,
                gateway.lookups.respond,
                lambda: gateway.nc.max_payload,
                AgedChats(restorer, rebuilder, gateway).restore,
            )
            lookups = queue_subscriber(
                broker,
                gateway,
                lookup_queue(settings),
                decode_request,
                responder.on_dead_letter,
                [deliveries, TraceMessages],
            )

            queries = queue_subscriber(
                broker,
                gateway,
                query_queue(settings),
                decode_query,
                query_responder.on_dead_letter,
                [deliveries, TraceMessages],
            )

            async def store_events(batch: list[RawMessage]) -> None:
                began = perf_counter()
                await projector.apply(batch)
                oldest = min((one.stored_at for one in batch if one.stored_at), default=None)
                metrics.projected(len(batch), oldest, perf_counter() - began)

            async def subscribe(stream: str) -> EventSubscriber:
                subscriber = event_subscriber(
                    broker, gateway, DURABLE, [deliveries, TraceMessages], stream
                )
                subscriber(store_events)
                return subscriber

            events = EventFollowers(gateway.event_streams, subscribe)
            await retry_until_available(events.open, "the streams of events")
            events.start()
            followers.append(events)

            @lookups
            async def answer_lookup(request: DataRequested) -> None:
                await responder.on_request(request)

            @queries
            async def answer_query(received: ReceivedQuery) -> None:
                await query_responder.on_query(received, now())

            probes.ready_when(
                nats=nats_check(gateway),
                mongodb=partial(_mongo_problem, client, access_of(settings)),
                events=lambda: events.problem,
                data=monitor.problem,
                lookups=lambda: None if lookups.running else "not answering",
                queries=lambda: None if queries.running else "not answering",
            )
            yield

    app = AsgiFastStream(broker, lifespan=lifespan, on_shutdown=[drain], logger=None)
    return app, probes


async def _has_consumer(gateway: JetStreamGateway) -> bool:
    try:
        await gateway.js.consumer_info(subjects.EVENTS, DURABLE)
    except NotFoundError:
        return False
    return True


def _lookup_responder(
    gateway: JetStreamGateway, client: Client, settings: Settings
) -> LookupResponder:
    """Answers what workflows ask of the databases that the settings name, never of our own."""
    sources = allowed_sources(settings.data_reference_databases, settings.mongodb_database)
    return LookupResponder(MongoDocumentReader(client), sources, gateway.lookups.respond)


def lookup_queue(settings: Settings) -> WorkQueue:
    return WorkQueue(
        stream=subjects.LOOKUPS,
        subject=subjects.ALL_LOOKUPS,
        durable=LOOKUPS,
        concurrency=settings.max_concurrent_lookups,
        max_attempts=3,
    )


def query_queue(settings: Settings) -> WorkQueue:
    return WorkQueue(
        stream=subjects.LOOKUPS,
        subject=subjects.ALL_QUERIES,
        durable=QUERIES,
        concurrency=settings.max_concurrent_queries,
        max_attempts=3,
    )


def now() -> datetime:
    return datetime.now(UTC)


def _mongo_problem(client: Client, access: MongoAccess) -> str | None:
    if (problem := why_unavailable(client)) is None:
        return None
    servers = client.topology_description.server_descriptions().values()
    errors = [server.error for server in servers if server.error is not None]
    return f"{problem}: {access.problem_of(errors[0])}" if errors else problem
