"""Settings and wiring of metrics: the only module here that knows concrete classes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Self

from litestar import Litestar
from litestar.exceptions import HTTPException
from prometheus_client import CollectorRegistry
from pydantic import Field, SecretStr, model_validator

from contracts import subjects
from contracts.prices import Price, priced
from services.chassis import settings as chassis
from services.chassis.away import until_answered
from services.chassis.process import Asgi, Probes, build_broker, connected, nats_check
from services.metrics.board import Board
from services.metrics.exposition import BoardCollector
from services.metrics.guard import Guard, bearer_of
from services.metrics.handlers import Counting
from services.metrics.pages import build_pages, refuse

NEEDS = (subjects.EVENTS, subjects.bucket_stream(subjects.PERF))


class Settings(chassis.Settings):
    metrics_port: int = Field(default=8001, ge=1, le=65535)
    model_pricing_json: dict[str, Price] = Field(default_factory=dict)
    """Beside the table of `contracts.prices`, for calls that do not say themselves what they cost."""
    metrics_per_chat: bool = False
    """Also the original's series with a `chat_id` label, for the tracked chats."""
    metrics_token: SecretStr | None = None
    """What those show who read the pages: they tell of all tenants."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if not (self.metrics_token or self.is_loopback or self.auth_allow_insecure):
            raise ValueError(
                f"HOST={self.host} would show every tenant's numbers to everyone: set "
                "METRICS_TOKEN, or AUTH_ALLOW_INSECURE=true where something else keeps the door"
            )
        return self


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    board = Board(priced(settings.model_pricing_json))
    registry = CollectorRegistry()
    registry.register(BoardCollector(board, per_chat=settings.metrics_per_chat))
    probes = Probes(registry)
    broker = build_broker(settings, "metrics")

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with connected(broker, settings, probes, NEEDS) as bus:
            bucket = await until_answered(partial(bus.bucket, subjects.PERF), "bucket perf")
            counting = Counting(bus, bucket, board)
            await until_answered(counting.start, "the saved board")
            bus.refills |= {
                subjects.EVENTS: counting.begin_anew,
                subjects.bucket_stream(subjects.PERF): counting.save_again,
            }
            probes.ready_when(nats=nats_check(bus), counting=lambda: counting.trouble)
            try:
                yield
            finally:
                probes.draining()
                await counting.stop()

    pages = Litestar(
        build_pages(board, registry, now),
        lifespan=[lifespan],
        guards=_guards(settings),
        exception_handlers={HTTPException: refuse},
        openapi_config=None,
    )
    return pages, probes


def _guards(settings: Settings) -> list[Guard]:
    token = settings.metrics_token
    return [bearer_of(token.get_secret_value())] if token else []


def now() -> datetime:
    return datetime.now(UTC)
