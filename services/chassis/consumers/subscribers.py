"""Declare FastStream subscribers of our streams, with our middlewares.

A subscriber is returned without a handler: use it as a decorator, before the broker starts.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from faststream import AckPolicy as FastStreamAckPolicy
from faststream import StreamMessage
from faststream.nats import JStream, NatsBroker, NatsRouter, PullSub
from faststream.nats.subscriber.usecases import (
    BatchPullStreamSubscriber,
    PullStreamSubscriber,
)
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from contracts import event_log, subjects
from contracts.ids import StreamSeq
from services.chassis.consumers.batch_settlement import MAX_ATTEMPTS, BatchSettlement
from services.chassis.consumers.middlewares import (
    EndHeartbeat,
    NotifyOf,
    RetryWhileUnavailable,
    SettleBatch,
    SettleMessage,
)
from services.chassis.consumers.settlement import Settlement
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.faststream_fetch import (
    FetchSubscription,
    HeartbeatConfig,
    ReaderConfig,
)
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.tasks import cancel_and_wait

BATCH_SIZE = 500
FILL_SECONDS = 0.25
"""How long a batch may fill before it is applied: limits how far a projection trails the log. A full
batch is applied at once; in a small one, several messages of a chat become one update."""
ACK_WAIT_SECONDS = 5.0
"""How soon the batch of a crashed process is redelivered."""


class Stoppable(Protocol):
    """Any subscriber of FastStream; those that pull have `tasks`, and a FetchSubscription."""

    async def stop(self) -> None: ...


Decoder = Any
"""A function from FastStream's message to what the handler takes."""


def event_consumer(durable: str) -> ConsumerConfig:
    """The durable consumer of `event_subscriber`."""
    return ConsumerConfig(
        durable_name=durable,
        filter_subject=subjects.ALL_EVENTS,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_ack_pending=10 * BATCH_SIZE,
    )


def event_subscriber(
    broker: NatsBroker,
    gateway: JetStreamGateway,
    durable: str,
    extra: Sequence[Any] = (),
    stream: str = subjects.EVENTS,
) -> BatchPullStreamSubscriber:
    """All events of a stream, first to last, in batches of list[RawMessage]; continues where it stopped.

    The handler is idempotent. A batch is acknowledged once the handler returns; an event for which
    it keeps raising is dead-lettered, and an unavailable server is waited for. `extra` are
    middlewares around each call of the handler.
    """
    settlement = Settlement(gateway, durable, MAX_ATTEMPTS)
    router = NatsRouter(
        middlewares=[
            EndHeartbeat(gateway.in_flight),
            SettleBatch(BatchSettlement(settlement)),
            *extra,
        ]
    )
    broker.include_router(router)
    return router.subscriber(
        subjects.ALL_EVENTS,
        stream=JStream(stream, declare=False),
        durable=durable,
        config=HeartbeatConfig(gateway.in_flight, event_consumer(durable)),
        pull_sub=PullSub(BATCH_SIZE, timeout=FILL_SECONDS, batch=True),
        decoder=_stored_messages,
        ack_policy=FastStreamAckPolicy.MANUAL,
        no_reply=True,
    )


def event_reader(
    broker: NatsBroker,
    config: ReaderConfig,
    batch_size: int,
    fill_seconds: float,
    extra: Sequence[Any] = (),
    stream: str = subjects.EVENTS,
) -> BatchPullStreamSubscriber:
    """All events of a stream after a position that the handler keeps, in batches of list[RawMessage].

    Nothing is acknowledged. The handler is repeated while a server is unavailable; any other error
    stops the subscriber.
    """
    router = NatsRouter(middlewares=[RetryWhileUnavailable(), *extra])
    broker.include_router(router)
    return router.subscriber(
        subjects.ALL_EVENTS,
        stream=JStream(stream, declare=False),
        config=config,
        pull_sub=PullSub(batch_size, timeout=fill_seconds, batch=True),
        decoder=_stored_messages,
        ack_policy=FastStreamAckPolicy.MANUAL,
        no_reply=True,
    )


def queue_subscriber(
    broker: NatsBroker,
    gateway: JetStreamGateway,
    queue: WorkQueue,
    decoder: Decoder,
    on_dead_letter: NotifyOf | None = None,
    extra: Sequence[Any] = (),
) -> PullStreamSubscriber:
    """Each message of a queue, `concurrency` at a time, as what `decoder` makes of it.

    A message is acknowledged once the handler returns, and dead-lettered after its attempts, or at
    once where decoder or handler raise UnprocessableMessageError.
    """
    gateway.metrics.slots.labels(queue.durable).set(queue.concurrency)
    settlement = Settlement(gateway, queue.durable, queue.max_attempts)
    router = NatsRouter(
        middlewares=[
            EndHeartbeat(gateway.in_flight),
            SettleMessage(settlement, on_dead_letter),
            *extra,
        ]
    )
    broker.include_router(router)
    return router.subscriber(
        queue.subject,
        stream=JStream(queue.stream, declare=False),
        durable=queue.durable,
        config=HeartbeatConfig(gateway.in_flight, queue.consumer_config()),
        pull_sub=True,  # one message per fetch
        max_workers=queue.concurrency,
        decoder=decoder,
        ack_policy=FastStreamAckPolicy.MANUAL,
        no_reply=True,
    )


async def stop_subscriber(subscriber: Stoppable) -> None:
    """Return once nothing of a subscriber runs any more: FastStream's stop does not wait.

    Messages that were fetched and wait for a worker are released.
    """
    tasks = list(getattr(subscriber, "tasks", ()))
    subscription = getattr(subscriber, "subscription", None)
    await subscriber.stop()
    await cancel_and_wait(*tasks)
    if isinstance(subscription, FetchSubscription):
        await subscription.release_unhandled()


async def _stored_messages(message: StreamMessage[list[Msg]]) -> list[RawMessage]:
    return [
        RawMessage(
            StreamSeq(one.metadata.sequence.stream),
            one.subject,
            one.data,
            stored_at=one.metadata.timestamp,
            is_restored=event_log.RESTORED in (one.headers or {}),
        )
        for one in message.raw_message
    ]
