"""FastStream middlewares: messages in flight, settlement and dead letters, metrics."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any

from faststream import BaseMiddleware, ContextRepo, StreamMessage
from faststream.exceptions import StopConsume
from faststream.prometheus import ConsumeAttrs, MetricsSettingsProvider
from faststream.prometheus.middleware import PrometheusMiddleware
from faststream.response import PublishCommand
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from prometheus_client import CollectorRegistry

from services.chassis.consumers.attempts import retry_delay
from services.chassis.consumers.batch_settlement import BatchSettlement
from services.chassis.consumers.settlement import Settlement
from services.chassis.jetstream.in_flight import InFlightMessages
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.nats.unavailable import is_unavailable

log = logging.getLogger(__name__)

Next = Callable[[StreamMessage[Any]], Awaitable[Any]]
Middleware = BaseMiddleware[PublishCommand, Any]
NotifyOf = Callable[[Msg, str], Awaitable[None]]
"""Notifies whoever waits for a message that it is a dead letter, with the reason."""


class EndHeartbeat:
    """Ends the heartbeat of a message, or a batch, that its fetch began, once it is processed."""

    def __init__(self, in_flight: InFlightMessages) -> None:
        self._in_flight = in_flight

    def __call__(self, msg: Any, /, *, context: ContextRepo) -> Middleware:
        return _Scope(msg, context=context, scope=self._consume)

    async def _consume(self, call_next: Next, message: StreamMessage[Any]) -> Any:
        raw = message.raw_message
        messages: Sequence[Msg] = raw if isinstance(raw, list) else [raw]
        try:
            return await call_next(message)
        finally:
            self._in_flight.remove(messages)


class SettleMessage:
    """Acknowledges a message once handled; retries it, or dead-letters it, where that fails."""

    def __init__(self, settlement: Settlement, on_dead_letter: NotifyOf | None = None) -> None:
        self._settlement = settlement
        self._on_dead_letter = on_dead_letter

    def __call__(self, msg: Any, /, *, context: ContextRepo) -> Middleware:
        return _Scope(msg, context=context, scope=self._consume)

    async def _consume(self, call_next: Next, message: StreamMessage[Msg]) -> None:
        raw, on_dead_letter = message.raw_message, self._on_dead_letter

        async def handle() -> None:
            await call_next(message)

        notify = None
        if on_dead_letter is not None:
            notify = lambda reason: on_dead_letter(raw, reason)  # noqa: E731
        try:
            await self._settlement.process(raw, handle, notify)
        except NatsError as error:  # it is redelivered
            _log_unsettled(error)


class SettleBatch:
    """Acknowledges a batch once applied; halves a failed one until the failing message is alone."""

    def __init__(self, settlement: BatchSettlement) -> None:
        self._settlement = settlement

    def __call__(self, msg: Any, /, *, context: ContextRepo) -> Middleware:
        return _Scope(msg, context=context, scope=self._consume)

    async def _consume(self, call_next: Next, message: StreamMessage[list[Msg]]) -> None:
        async def apply(messages: Sequence[Msg]) -> None:
            await call_next(_part(message, messages))

        try:
            await self._settlement.process(message.raw_message, apply)
        except NatsError as error:  # they are redelivered
            _log_unsettled(error)


class RetryWhileUnavailable:
    """For messages without acknowledgement: repeats a handler that lacks a server, in place.

    Any other error stops the subscriber: going on would skip the message.
    """

    def __init__(self) -> None:
        self._log = RateLimitedLog(log)

    def __call__(self, msg: Any, /, *, context: ContextRepo) -> Middleware:
        return _Scope(msg, context=context, scope=self._consume)

    async def _consume(self, call_next: Next, message: StreamMessage[Any]) -> Any:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await call_next(message)
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("a handler failed: its subscriber stops")
                    raise StopConsume from error
                self._log.warning("waiting for a server", why=repr(error))
            await asyncio.sleep(retry_delay(attempt))


def delivery_metrics(registry: CollectorRegistry) -> PrometheusMiddleware[Any, PublishCommand]:
    """`mozaiks_received_messages_total` and the like, one set per process.

    Their label `handler` is the stream: FastStream's own settings would make it the subject, of
    which every chat has its own.
    """
    return PrometheusMiddleware(
        settings_provider_factory=lambda _: _DeliveryAttributes(),
        registry=registry,
        metrics_prefix="mozaiks",
    )


class _DeliveryAttributes(MetricsSettingsProvider[Any, PublishCommand]):
    messaging_system = "nats"

    def get_consume_attrs_from_message(self, msg: StreamMessage[Any]) -> ConsumeAttrs:
        raw = msg.raw_message
        messages: Sequence[Msg] = raw if isinstance(raw, list) else [raw]
        return {
            "destination_name": messages[0].metadata.stream,
            "message_size": sum(len(message.data) for message in messages),
            "messages_count": len(messages),
        }

    def get_publish_destination_name_from_cmd(self, cmd: PublishCommand) -> str:
        return cmd.destination


class _Scope(Middleware):
    """A middleware that is one function around the handler."""

    def __init__(
        self,
        msg: Any,
        /,
        *,
        context: ContextRepo,
        scope: Callable[[Next, StreamMessage[Any]], Awaitable[Any]],
    ) -> None:
        super().__init__(msg, context=context)
        self._scope = scope

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Any]) -> Any:
        return await self._scope(call_next, msg)


def _part(message: StreamMessage[list[Msg]], messages: Sequence[Msg]) -> StreamMessage[list[Msg]]:
    """The same batch with these of its messages."""
    part = copy(message)
    part.raw_message = list(messages)
    part.body = [one.data for one in messages]
    part.batch_headers = [one.headers or {} for one in messages]
    return part


def _log_unsettled(error: NatsError) -> None:
    log.warning("a message could not be settled", extra={"why": repr(error)})
