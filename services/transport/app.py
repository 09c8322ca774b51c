"""Application factory of the transport: builds the services, Litestar and the probes, and wires them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.plugins.pydantic import PydanticPlugin
from litestar.types import Scope
from prometheus_client import CollectorRegistry

from contracts import subjects
from services.chassis.budgets.opening import BudgetServices, opened_budgets
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.asgi_front import Asgi
from services.chassis.process.broker import build_broker, connected, nats_check
from services.chassis.process.probes import Probes
from services.chassis.settings import comma_separated
from services.chassis.tasks import cancel_and_wait
from services.chassis.tracing.http import trace_requests
from services.chassis.tracing.setup import exported_traces
from services.transport.auth import guard
from services.transport.auth.authenticate import Authenticator
from services.transport.auth.rate_limit import RateLimiter
from services.transport.auth.tickets import Tickets
from services.transport.chats.app_capacity import AppCapacity
from services.transport.chats.attachments import AttachmentStore, UploadLimiter
from services.transport.chats.catalogue import WorkflowCatalogue
from services.transport.connection_limit import ConnectionLimiter
from services.transport.context import AppServices, RequestContext, ShutdownSignal
from services.transport.delivery.broadcast import ChannelHub
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.delivery.stored_snapshots import StoredSnapshots
from services.transport.http import error_handlers, routes
from services.transport.http.conditional import answer_conditionally
from services.transport.http.json_request import JsonRequest
from services.transport.memory_trim import find_trim, trim_when_quiet
from services.transport.metrics import TransportMetrics
from services.transport.nats_permissions import SERVICE
from services.transport.path_segments import keep_raw_path
from services.transport.settings import Settings
from services.transport.websocket.endpoint import on_socket
from services.transport.websocket.uvicorn_protocol import DirectSocket

if TYPE_CHECKING:
    from services.transport.auth.jwt import TokenVerifier

NEEDS = (
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.DELTAS,
    subjects.LOOKUPS,
    subjects.bucket_stream(subjects.WORKFLOWS),
    subjects.bucket_stream(subjects.CHATS),
    subjects.bucket_stream(subjects.TICKETS),
    subjects.object_stream(subjects.ATTACHMENTS),
    subjects.object_stream(subjects.VALUES),
    subjects.BUDGETS,
    subjects.bucket_stream(subjects.BUDGET_LIMITS),
    subjects.bucket_stream(subjects.CHAT_KEYS),
)
STORES = (subjects.COMMANDS, subjects.EVENTS, subjects.object_stream(subjects.ATTACHMENTS))
"""Streams that must have room; EVENTS too, as commands have no effect while no event can be stored."""


class TransportProbes(Probes):
    """Probes that set the shutdown signal when the process starts to drain."""

    def __init__(self, registry: CollectorRegistry, shutdown: ShutdownSignal) -> None:
        super().__init__(registry)
        self._shutdown = shutdown

    def draining(self) -> None:
        super().draining()
        self._shutdown.set()


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    shutdown = ShutdownSignal()
    probes = TransportProbes(CollectorRegistry(), shutdown)
    metrics = TransportMetrics(probes.registry)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        broker = build_broker(settings, SERVICE)
        async with (
            exported_traces(settings, SERVICE, probes.registry),
            connected(broker, settings, probes, NEEDS, STORES) as gateway,
            _token_verifier(settings, metrics) as verifier,
            opened_budgets(gateway, settings, _now) as budgets,
        ):
            services = _services(settings, gateway, metrics, shutdown, budgets)
            app.state.services = services
            app.state.authenticator = _authenticator(settings, services, verifier)
            tasks = [
                asyncio.create_task(
                    services.hub.resync_after_reconnect(), name="resync after reconnect"
                ),
                asyncio.create_task(services.hub.poll_idle_channels(), name="poll idle channels"),
                asyncio.create_task(
                    trim_when_quiet(services.connections, find_trim()), name="memory trim"
                ),
                asyncio.create_task(
                    services.workflows.wait_until_published(), name="wait for the catalogue"
                ),
            ]
            probes.ready_when(
                nats=nats_check(gateway), workflows=lambda: services.workflows.problem
            )
            try:
                yield
            finally:
                probes.draining()
                await cancel_and_wait(*tasks)

    origins = sorted(comma_separated(settings.cors_origins))
    app = Litestar(
        [*routes.HANDLERS, *routes.console_files(), on_socket],
        lifespan=[lifespan],
        guards=[guard.authenticate_request],
        dependencies={"context": Provide(_request_context, sync_to_thread=False)},
        exception_handlers=error_handlers.handlers(),
        after_exception=[error_handlers.count_error, error_handlers.log_socket_failure],
        request_max_body_size=settings.max_message_bytes,
        cors_config=_cors(origins) if origins else None,
        openapi_config=None,  # `/schema` is a route of ours: cached, and open to everyone
        plugins=[PydanticPlugin(prefer_alias=True, validate_strict=True)],
        request_class=JsonRequest,
        logging_config=None,
    )
    return answer_conditionally(keep_raw_path(trace_requests(app))), probes


def _now() -> datetime:
    return datetime.now(UTC)


def _request_context(state: State, scope: Scope) -> RequestContext:
    services: AppServices = state.services
    return services.for_request(guard.identity_of(scope))


def _cors(origins: list[str]) -> CORSConfig:
    return CORSConfig(allow_origins=origins, expose_headers=["Retry-After", "WWW-Authenticate"])


@asynccontextmanager
async def _token_verifier(
    settings: Settings, metrics: TransportMetrics
) -> AsyncIterator["TokenVerifier | None"]:
    if not settings.authenticates:
        yield None
        return
    # Without sign-in a transport does not need the 13 MB of these and of cryptography.
    import httpx

    from services.transport.auth.jwks import JwksCache
    from services.transport.auth.jwt import TokenVerifier

    async with httpx.AsyncClient() as http:
        clock = asyncio.get_running_loop().time
        jwks = JwksCache(settings.issuer, http, settings.jwks_cache_ttl, clock, metrics)
        yield TokenVerifier(jwks, settings.expected, settings.algorithms)


def _authenticator(
    settings: Settings, services: AppServices, verifier: "TokenVerifier | None"
) -> Authenticator:
    return Authenticator(
        verifier,
        services.tickets,
        services.rate_limiter,
        comma_separated(settings.cors_origins),
        _now,
        asyncio.get_running_loop().time,
        allow_query_token=settings.mozaiks_ws_allow_query_token,
    )


def _services(
    settings: Settings,
    gateway: JetStreamGateway,
    metrics: TransportMetrics,
    shutdown: ShutdownSignal,
    budgets: BudgetServices,
) -> AppServices:
    return AppServices(
        settings=settings,
        gateway=gateway,
        projections=ProjectionCache(
            gateway.events, StoredSnapshots(gateway.lookups, asyncio.get_running_loop().time)
        ),
        capacity=AppCapacity(
            gateway.commands, settings.max_running_chats_per_app, asyncio.get_running_loop().time
        ),
        hub=ChannelHub(gateway, settings.viewer_queue_size, settings.max_viewers_per_chat, metrics),
        connections=ConnectionLimiter(settings.max_viewers, settings.max_viewers_per_app),
        uploads=UploadLimiter(),
        workflows=WorkflowCatalogue(gateway.key_values),
        attachments=AttachmentStore(
            gateway, settings.upload_max_bytes, settings.upload_bundle_max_bytes
        ),
        answer_links=settings.answer_links(),
        metrics=metrics,
        tickets=Tickets(gateway),
        rate_limiter=RateLimiter(
            settings.rate_per_user, settings.rate_per_app, settings.rate_per_address
        ),
        shutdown=shutdown,
        budgets=budgets.limits,
        ledgers=budgets.ledgers,
        storage=budgets.storage,
        started_at=_now(),
        clock=_now,
    )


def socket_options(settings: Settings) -> dict[str, Any]:
    """Options of uvicorn for WebSockets.

    A message over our own limit must arrive to be answered with an error on an open socket, so
    uvicorn's limit is higher; compressing many small frames costs more time than it saves.
    """
    return {
        "ws": DirectSocket,
        "ws_max_size": 4 * settings.max_message_bytes,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "ws_per_message_deflate": False,
    }
