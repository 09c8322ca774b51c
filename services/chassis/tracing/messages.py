"""Spans of messages, by the semantic conventions of messaging systems.

FastStream's own telemetry middleware is not used: it names spans by the subject, of which each chat has
its own, and links a batch only to messages that have a header `correlation_id`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from faststream import BaseMiddleware, ContextRepo, StreamMessage
from faststream.response import PublishCommand
from nats.aio.msg import Msg

from services.chassis.tracing.spans import Span, is_on, span, traceparent

HEADER = "traceparent"
MAX_LINKS = 64
"""Of a batch: as many traces as one span is linked to."""


def with_traceparent(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of a message of the current trace; one that they have already is kept."""
    found = dict(headers or {})
    current = traceparent()
    if current is not None:
        found.setdefault(HEADER, current)
    return found


def sending(stream: str, message_id: str) -> AbstractContextManager[Span]:
    """The span of a message that is stored in a stream."""
    return span(
        f"send {stream}",
        "producer",
        attributes={
            "messaging.system": "nats",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": stream,
            "messaging.message.id": message_id,
        },
    )


def processing(
    message: Msg, stream: str, deliveries: int, parent: str | None = None
) -> AbstractContextManager[Span]:
    """The span of a message that is handled, delivered for the n-th time.

    `parent` is its `traceparent`, where it is known to be another one than that of its header.
    """
    headers = message.headers or {}
    return span(
        f"process {stream}",
        "consumer",
        parent=parent or headers.get(HEADER),
        is_root=True,
        attributes={
            **_processed(stream),
            "messaging.message.id": headers.get("Nats-Msg-Id"),
            "messaging.message.body.size": len(message.data),
            "mozaiks.delivery_count": deliveries,
        },
    )


def _processing_batch(messages: Sequence[Msg]) -> AbstractContextManager[Span]:
    """The span of several messages, of a trace of its own, with links to theirs."""
    metadata = messages[0].metadata
    traces = dict.fromkeys((message.headers or {}).get(HEADER) for message in messages)
    return span(
        f"process {metadata.stream}",
        "consumer",
        is_root=True,
        links=list(traces)[:MAX_LINKS],
        attributes={
            **_processed(metadata.stream),
            "messaging.batch.message_count": len(messages),
        },
    )


def _processed(stream: str) -> dict[str, str]:
    return {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": stream,
    }


class TraceMessages(BaseMiddleware[PublishCommand, Any]):
    """FastStream middleware: a span around each call of a handler, with a message or a batch."""

    def __init__(self, msg: Any, /, *, context: ContextRepo) -> None:
        super().__init__(msg, context=context)

    async def consume_scope(
        self,
        call_next: Callable[[StreamMessage[Any]], Awaitable[Any]],
        msg: StreamMessage[Any],
    ) -> Any:
        """Handle the message inside its span."""
        raw = msg.raw_message
        if isinstance(raw, list):
            if not is_on():
                return await call_next(msg)
            with _processing_batch(raw):
                return await call_next(msg)
        metadata = raw.metadata
        with processing(raw, metadata.stream, metadata.num_delivered or 1):
            return await call_next(msg)
