"""The pages of the metrics service, whoever asks: the routes of its own port, or the transport over NATS."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from pydantic import TypeAdapter

from contracts.ids import ChatId
from contracts.metrics_pages import MetricsPageRequested
from services.metrics.metrics_state import (
    Aggregate,
    MetricsState,
    PerformanceSnapshot,
    StalledChat,
    TenantUse,
    performance_of,
)
from services.metrics.stream_states import StreamsShown

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"
Answer = (
    Aggregate
    | PerformanceSnapshot
    | list[PerformanceSnapshot]
    | list[StalledChat]
    | list[TenantUse]
    | StreamsShown
)
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


class Page(NamedTuple):
    """An answer as it is sent by HTTP."""

    status: int
    content_type: str
    body: bytes


def problem(status: int, detail: str) -> Page:
    """An error: `{"detail": ...}`."""
    return Page(status, JSON, json.dumps({"detail": detail}).encode())


class Pages:
    """Renders pages of the state; `registry` has its Prometheus series."""

    def __init__(
        self,
        state: MetricsState,
        registry: CollectorRegistry,
        clock: Callable[[], datetime],
        stalled_seconds: float,
        streams: Callable[[], StreamsShown] = StreamsShown,
    ) -> None:
        """`streams` shows what NATS answered last."""
        self._streams = streams
        self._state = state
        self._registry = registry
        self._clock = clock
        self._stalled_seconds = stalled_seconds

    def render(self, request: MetricsPageRequested) -> Page:
        app, now = request.app_id, self._clock()
        match request.page:
            case "aggregate":
                return _json(self._state.aggregate(now, app))
            case "chats":
                return _json(self._state.snapshots(now, app))
            case "stalled":
                return _json(self._state.stalled(now, self._stalled_seconds, app))
            case "tenants":
                return _json(self._state.tenants(app))
            case "streams":
                return _json(self._streams())
            case "chat":
                return self._chat(request.chat_id or ChatId(""), request, now)
            case "prometheus" if app is None:
                return Page(200, TEXT_FORMAT, generate_latest(self._registry))
            case "prometheus":
                return problem(400, "app_id: the series of all apps are one page")

    def _chat(self, chat: ChatId, request: MetricsPageRequested, now: datetime) -> Page:
        match self._state.named(chat, request.app_id):
            case [found]:
                return _json(performance_of(found, now))
            case []:
                return problem(404, "chat_id: this chat is not tracked")
            case _:
                return problem(
                    409, "app_id: required, because several apps have a chat with this id"
                )


def _json(answer: Answer) -> Page:
    return Page(200, JSON, _ANSWER.dump_json(answer))
