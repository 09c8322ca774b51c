"""Wires the metrics service: the only module that names its concrete classes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from litestar import Litestar
from litestar.exceptions import HTTPException
from prometheus_client import CollectorRegistry

from contracts import subjects
from contracts.prices import with_own_prices
from services.chassis.consumers.event_followers import EventFollowers, EventSubscriber
from services.chassis.consumers.middlewares import delivery_metrics
from services.chassis.consumers.subscribers import event_reader
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.faststream_fetch import ReaderConfig
from services.chassis.nats.unavailable import retry_until_available
from services.chassis.process.asgi_front import Asgi
from services.chassis.process.broker import build_broker, connected, nats_check
from services.chassis.process.probes import Probes
from services.chassis.tracing.messages import TraceMessages
from services.chassis.tracing.setup import exported_traces
from services.metrics.auth import Guard, require_bearer
from services.metrics.consumer import MetricsConsumer
from services.metrics.metrics_state import MetricsState
from services.metrics.nats_permissions import SERVICE
from services.metrics.page_responder import PageResponder
from services.metrics.pages import Pages
from services.metrics.prometheus import MetricsCollector
from services.metrics.routes import build_routes, error_response
from services.metrics.settings import Settings
from services.metrics.stream_states import StreamStates

NEEDS = (subjects.EVENTS, subjects.bucket_stream(subjects.PERF))
BATCH_SIZE = 500
FILL_SECONDS = 0.5
"""How long a batch may fill: limits how far the numbers trail the log."""
INACTIVE_SECONDS = 10.0
"""How long the server keeps the consumer of a process that is gone."""


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    state = MetricsState(with_own_prices(settings.model_pricing_json))
    probes = Probes(CollectorRegistry())
    deliveries = delivery_metrics(probes.registry)
    # Apart from the process's own, which no token guards: these name tenants.
    tenants = CollectorRegistry()
    tenants.register(MetricsCollector(state, now, settings.metrics_stalled_seconds))
    streams = StreamStates(state)
    probes.registry.register(streams)
    pages = Pages(state, tenants, now, settings.metrics_stalled_seconds, streams.shown)
    broker = build_broker(settings, SERVICE)
    without_keys = settings.model_copy(update={"encryption_keys": None})  # it reads numbers only

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with (
            exported_traces(settings, SERVICE, probes.registry),
            connected(broker, without_keys, probes, NEEDS) as gateway,
        ):
            bucket = await retry_until_available(
                partial(gateway.key_values.bucket, subjects.PERF), "bucket perf"
            )
            gateway.events.on_aged_out = None  # it counts what comes, and reads no old chats
            consumer = MetricsConsumer(gateway, bucket, state)
            await retry_until_available(consumer.load, "the saved metrics state")

            async def subscribe(stream: str) -> EventSubscriber:
                await consumer.follow(stream)
                config = ReaderConfig(partial(consumer.position, stream), INACTIVE_SECONDS, SERVICE)
                subscriber = event_reader(
                    broker, config, BATCH_SIZE, FILL_SECONDS, [deliveries, TraceMessages], stream
                )

                @subscriber
                async def count(events: list[RawMessage]) -> None:
                    await consumer.on_events(events, stream)

                return subscriber

            followers = EventFollowers(gateway.event_streams, subscribe)
            await retry_until_available(followers.open, "the streams of events")

            async def count_again() -> None:
                await followers.restart(consumer.clear)

            gateway.refills |= {
                subjects.EVENTS: count_again,
                subjects.bucket_stream(subjects.PERF): consumer.save_again,
            }
            await broker.start()
            consumer.start_saving()
            streams.start(gateway.nc)
            followers.start()
            probes.ready_when(
                nats=nats_check(gateway),
                consumer=lambda: followers.problem,
            )
            responder = PageResponder(gateway.nc, pages, settings.metrics_token)
            try:
                async with responder.answering():
                    yield
            finally:
                probes.draining()
                await streams.stop()
                await followers.stop()
                await consumer.stop_saving()

    app = Litestar(
        build_routes(pages),
        lifespan=[lifespan],
        guards=_guards(settings),
        exception_handlers={HTTPException: error_response},
        openapi_config=None,
    )
    return app, probes


def _guards(settings: Settings) -> list[Guard]:
    token = settings.metrics_token
    return [require_bearer(token.get_secret_value())] if token else []


def now() -> datetime:
    return datetime.now(UTC)
