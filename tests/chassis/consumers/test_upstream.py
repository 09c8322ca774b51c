"""Faults of FastStream and nats-py that `faststream_fetch`, `pull`, `middlewares` and the queue
consumer work around.

When one of these fails, the fault is gone upstream: remove its workaround.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import nats as nats_py
import pytest
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.prometheus import NatsPrometheusMiddleware
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig
from prometheus_client import CollectorRegistry

from infra.servers import NatsServer
from tests.chassis.story import until
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]
STREAM = StreamConfig(name="UPSTREAM", subjects=["upstream.>"])
SUBJECT = "upstream.one"


@pytest.fixture
async def js(nats: NatsServer) -> AsyncIterator[JetStreamContext]:
    client = await nats_py.connect(nats.url)
    js = client.jetstream()
    await js.add_stream(STREAM)
    yield js
    await js.delete_stream("UPSTREAM")
    await client.close()


@pytest.fixture
async def broker(nats: NatsServer) -> AsyncIterator[NatsBroker]:
    broker = NatsBroker(nats.url, logger=None, graceful_timeout=0.05)
    yield broker
    await broker.stop()


class Handled:
    """What a handler was called with."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def one(self, message: bytes) -> None:
        self.messages.append(message)

    async def batch(self, messages: list[bytes]) -> None:
        self.messages += messages


def batches(broker: NatsBroker, size: int) -> Any:
    return broker.subscriber(
        "upstream.>",
        stream=JStream("UPSTREAM", declare=False),
        durable="upstream",
        pull_sub=PullSub(size, timeout=0.5, batch=True),
        decoder=lambda message: [one.data for one in message.raw_message],
        ack_policy=AckPolicy.MANUAL,
    )


def singles(broker: NatsBroker, size: int, workers: int | None = None) -> Any:
    return broker.subscriber(
        "upstream.>",
        stream=JStream("UPSTREAM", declare=False),
        durable="upstream",
        pull_sub=PullSub(size, timeout=0.5),
        max_workers=workers,
        decoder=lambda message: message.body,
        ack_policy=AckPolicy.MANUAL,
    )


@pytest.mark.parametrize("status", ["404", "409", "503"])
async def test_the_fetch_of_nats_py_discards_stored_messages_with_a_status_header(
    js: JetStreamContext, status: str
) -> None:
    config = ConsumerConfig(ack_wait=0.3)
    subscription = await js.pull_subscribe("upstream.>", durable="upstream", config=config)
    await js.publish(SUBJECT, b"first")
    await js.publish(SUBJECT, b"second", headers={"Status": status})
    await js.publish(SUBJECT, b"third")
    received: set[bytes] = set()
    for _ in range(6):  # each of them is delivered several times
        try:
            received |= {one.data for one in await subscription.fetch(3, timeout=0.3)}
        except (TimeoutError, nats_py.js.errors.APIError):
            continue
    assert received in ({b"first", b"third"}, {b"third"})


async def test_the_fetch_of_nats_py_raises_an_error_that_is_none_of_its_own(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = await js.pull_subscribe("upstream.>", durable="upstream")
    publish: Callable[..., Awaitable[None]] = js._nc.publish

    async def slow(*arguments: Any) -> None:
        await publish(*arguments)
        await asyncio.sleep(0.1)

    monkeypatch.setattr(js._nc, "publish", slow)
    with pytest.raises(TimeoutError) as raised:
        await subscription.fetch(2, timeout=0.1)
    assert not isinstance(raised.value, NatsTimeoutError)


async def test_faststream_drops_the_batch_that_it_has_fetched_when_a_fetch_raises(
    js: JetStreamContext, broker: NatsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = Handled()
    batches(broker, size=2)(handled.batch)
    fetch, fetches = JetStreamContext.PullSubscription.fetch, 0

    async def second_fails(*arguments: Any, **named: Any) -> Any:
        nonlocal fetches
        fetches += 1
        if fetches == 2:
            raise TimeoutError
        return await fetch(*arguments, **named)

    monkeypatch.setattr(JetStreamContext.PullSubscription, "fetch", second_fails)
    await js.publish(SUBJECT, b"first")
    await broker.start()
    await until(lambda: fetches >= 3)  # the first batch was half full when the error came
    await js.publish(SUBJECT, b"second")
    await until(lambda: b"second" in handled.messages)
    assert handled.messages == [b"second"]


async def test_faststream_neither_recreates_a_consumer_nor_pauses_without_one(
    js: JetStreamContext, broker: NatsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = Handled()
    batches(broker, size=2)(handled.batch)
    await broker.start()
    await js.publish(SUBJECT, b"handled")
    await until(lambda: handled.messages == [b"handled"])
    fetch, fetches = JetStreamContext.PullSubscription.fetch, 0

    async def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal fetches
        fetches += 1
        return await fetch(*arguments, **named)

    monkeypatch.setattr(JetStreamContext.PullSubscription, "fetch", counted)
    await js.delete_stream("UPSTREAM")
    await js.add_stream(STREAM)
    await js.publish(SUBJECT, b"never delivered")
    await until(lambda: fetches > 500)  # within seconds
    assert handled.messages == [b"handled"]


async def test_faststream_does_not_wait_for_a_handler_that_its_stop_cancels(
    js: JetStreamContext, broker: NatsBroker
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handle(_: list[bytes]) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.5)  # a release of its messages, for example
            ended.set()

    batches(broker, size=1)(handle)
    await broker.start()
    await js.publish(SUBJECT, b"1")
    await begun.wait()
    await broker.stop()
    assert not ended.is_set()
    await ended.wait()


async def test_faststream_fetches_nothing_while_one_message_of_a_fetch_is_handled(
    js: JetStreamContext, broker: NatsBroker
) -> None:
    handled: list[bytes] = []
    released = asyncio.Event()

    async def handle(text: bytes) -> None:
        if text == b"slow":
            await released.wait()
        handled.append(text)

    singles(broker, size=2)(handle)
    await js.publish(SUBJECT, b"slow")
    await js.publish(SUBJECT, b"quick")
    await broker.start()
    await until(lambda: handled == [b"quick"])
    await js.publish(SUBJECT, b"next")
    await asyncio.sleep(0.5)
    assert handled == [b"quick"]
    released.set()
    await until(lambda: handled == [b"quick", b"slow", b"next"])


async def test_faststream_fetches_more_messages_than_it_has_free_workers(
    js: JetStreamContext, broker: NatsBroker
) -> None:
    released, running = asyncio.Event(), 0

    async def handle(_: bytes) -> None:
        nonlocal running
        running += 1
        await released.wait()

    singles(broker, size=1, workers=2)(handle)
    for _ in range(6):
        await js.publish(SUBJECT, b"")
    await broker.start()
    await until(lambda: running == 2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await js.consumer_info("UPSTREAM", "upstream")).num_ack_pending <= running:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert running == 2
    released.set()


async def test_faststream_labels_its_metrics_with_the_subject_of_each_message(
    nats: NatsServer, js: JetStreamContext
) -> None:
    registry = CollectorRegistry()
    broker = NatsBroker(
        nats.url, logger=None, middlewares=[NatsPrometheusMiddleware(registry=registry)]
    )
    handled = Handled()
    singles(broker, size=1)(handled.one)
    await broker.start()
    await js.publish("upstream.a-chat", b"1")
    await until(lambda: handled.messages == [b"1"])
    await broker.stop()
    labels = {
        sample.labels.get("handler") for metric in registry.collect() for sample in metric.samples
    }
    assert labels == {"upstream.a-chat"}
