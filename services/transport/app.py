"""The transport put together: settings, the bus, Litestar, and probes in front."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import Scope
from prometheus_client import CollectorRegistry, Counter, Gauge
from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from contracts import subjects
from services.chassis import process
from services.chassis.bus import Bus
from services.chassis.ending import end
from services.chassis.process import Asgi, Probes
from services.transport import answers, routes
from services.transport.addresses import undecoded
from services.transport.attachments import Attachments
from services.transport.chats import Chats
from services.transport.desk import Crowd, Desk, Stopping
from services.transport.memory import find_trim, give_back_when_calm
from services.transport.rooms import SEAT_SIZE, VIEWERS, Rooms
from services.transport.signin import guard
from services.transport.signin.door import Door
from services.transport.signin.keys import KeyRing
from services.transport.signin.principal import NOBODY
from services.transport.signin.rates import Rates
from services.transport.signin.settings import SignInSettings, listed
from services.transport.signin.tickets import Tickets
from services.transport.signin.tokens import SignIn
from services.transport.sockets import on_socket
from services.transport.views import Views
from services.transport.workflows import Workflows

SERVICE = "transport"
NEEDS = (
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.DELTAS,
    subjects.bucket_stream(subjects.WORKFLOWS),
    subjects.bucket_stream(subjects.CHATS),
    subjects.bucket_stream(subjects.TICKETS),
    subjects.object_stream(subjects.ATTACHMENTS),
)
STORES = (subjects.COMMANDS, subjects.EVENTS, subjects.object_stream(subjects.ATTACHMENTS))
"""EVENTS too: what is ordered comes to nothing while the orchestrators cannot store."""


class Settings(SignInSettings):
    """What the transport is told; `cors_origins` are separated by commas, none by default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    transport_port: int = Field(
        default=8000, ge=0, le=65535, validation_alias=AliasChoices("transport_port", "port")
    )
    max_message_bytes: int = Field(default=262_144, ge=1024, le=786_432)
    """Stays below what NATS takes in one message (1 MiB), envelope included."""
    upload_max_bytes: int = Field(default=26_214_400, ge=1)
    upload_bundle_max_bytes: int = Field(default=10_485_760, ge=1)
    """Of one file, and of one that is part of a bundle."""
    raw_events: bool = True
    """Whether who asks for it sees every event as it is stored, prompts and hidden words, too."""
    metrics_public_url: str | None = None
    cors_origins: str = ""
    """Whose pages may ask here, beside our own."""
    start_wait_seconds: float = Field(default=5.0, gt=0, le=60)
    handshake_seconds: float = Field(default=0.2, ge=0, le=5)
    """How long a client without a cursor may take to say which it has before it is shown all."""
    mozaiks_max_parallel_workflows: int = Field(default=4, ge=1, le=64)
    """How many chats one message on a socket may start."""
    max_viewers: int = Field(default=5000, ge=1)
    """Sockets and streams of this process."""
    max_viewers_per_chat: int = Field(default=VIEWERS, ge=1)
    max_viewers_per_app: int = Field(default=2000, ge=0)
    max_running_chats_per_app: int = Field(default=1000, ge=0)
    """No more chats of one app are begun while so many run; 0: no limit, as above."""
    send_seconds: float = Field(default=60.0, gt=0)
    """How long a client may take to read on before it is sent away; its cursor brings it back."""
    seat_size: int = Field(default=SEAT_SIZE, ge=1)


class Counts:
    """What the transport counts of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sockets = Gauge("mozaiks_transport_sockets", "Open sockets", registry=registry)
        self.frames = Counter("mozaiks_transport_frames", "Frames sent", registry=registry)
        self.refusals = Counter(
            "mozaiks_transport_refusals", "Refused, by reason", ["reason"], registry=registry
        )


class StoppingProbes(Probes):
    """Probes that pass on the news of the end to those who would never end by themselves."""

    def __init__(self, registry: CollectorRegistry, stopping: Stopping) -> None:
        super().__init__(registry)
        self._stopping = stopping

    def draining(self) -> None:
        super().draining()
        self._stopping.tell()


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    stopping = Stopping()
    probes = StoppingProbes(CollectorRegistry(), stopping)
    counts = Counts(probes.registry)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        broker = process.build_broker(settings, SERVICE)
        async with (
            process.connected(broker, settings, probes, NEEDS, STORES) as bus,
            _sign_in(settings) as sign_in,
        ):
            app.state.desk = desk = _desk(settings, bus, counts, stopping)
            app.state.door = _door(settings, desk, sign_in)
            whole = asyncio.create_task(desk.rooms.keep_whole(), name="rooms keep whole")
            look = asyncio.create_task(desk.rooms.look_at_the_silent(), name="a look at the silent")
            memory = asyncio.create_task(
                give_back_when_calm(desk.crowd, find_trim()), name="memory"
            )
            probes.ready_when(nats=process.nats_check(bus))
            try:
                yield
            finally:
                probes.draining()
                await end(whole, look, memory)

    origins = sorted(listed(settings.cors_origins))
    pages = Litestar(
        [*routes.HANDLERS, routes.console_files(), on_socket],
        lifespan=[lifespan],
        guards=[guard.admitted],
        dependencies={"desk": Provide(_the_desk, sync_to_thread=False)},
        exception_handlers=answers.handlers(),
        after_exception=[answers.count_refusal, answers.note_broken_socket],
        request_max_body_size=settings.max_message_bytes,
        cors_config=_cors(origins) if origins else None,
        openapi_config=None,
        logging_config=None,
    )
    return undecoded(pages), probes


def _now() -> datetime:
    return datetime.now(UTC)


def _the_desk(state: State, scope: Scope) -> Desk:
    desk: Desk = state.desk
    return desk.of(guard.speaker(scope))


def _cors(origins: list[str]) -> CORSConfig:
    return CORSConfig(allow_origins=origins, expose_headers=["Retry-After", "WWW-Authenticate"])


@asynccontextmanager
async def _sign_in(settings: Settings) -> AsyncIterator[SignIn | None]:
    if not settings.signs_in:
        yield None
        return
    async with httpx.AsyncClient() as http:
        ring = KeyRing(settings.issuer, http, settings.patience, asyncio.get_running_loop().time)
        yield SignIn(ring, settings.expected, settings.algorithms)


def _door(settings: Settings, desk: Desk, sign_in: SignIn | None) -> Door:
    return Door(
        sign_in,
        desk.tickets,
        desk.rates,
        listed(settings.cors_origins),
        _now,
        asyncio.get_running_loop().time,
        allow_query_token=settings.mozaiks_ws_allow_query_token,
    )


def _desk(settings: Settings, bus: Bus, counts: Counts, stopping: Stopping) -> Desk:
    return Desk(
        bus=bus,
        chats=_chats(settings, bus),
        rooms=Rooms(bus, settings.seat_size, settings.max_viewers_per_chat),
        crowd=Crowd(settings.max_viewers, settings.max_viewers_per_app),
        workflows=Workflows(bus),
        attachments=Attachments(bus, settings.upload_max_bytes, settings.upload_bundle_max_bytes),
        sockets=counts.sockets,
        frames=counts.frames,
        refusals=counts.refusals,
        who=NOBODY,
        tickets=Tickets(bus),
        rates=Rates(settings.rate_per_user, settings.rate_per_app),
        raw_events=settings.raw_events,
        max_message_bytes=settings.max_message_bytes,
        max_parallel_workflows=settings.mozaiks_max_parallel_workflows,
        send_seconds=settings.send_seconds,
        handshake_seconds=settings.handshake_seconds,
        stopping=stopping,
        metrics_public_url=settings.metrics_public_url,
        begun=_now(),
        clock=_now,
    )


def _chats(settings: Settings, bus: Bus) -> Chats:
    return Chats(
        bus,
        Views(bus),
        settings.start_wait_seconds,
        settings.max_message_bytes,
        settings.max_running_chats_per_app,
        NOBODY,
    )


def socket_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told about sockets.

    A message over our own limit must arrive to be refused with its socket left open, so uvicorn's
    limit is higher; deflating many small frames costs more time than it saves.
    """
    return {
        "ws": "websockets-sansio",
        "ws_max_size": 4 * settings.max_message_bytes,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "ws_per_message_deflate": False,
    }
