"""Messages that are handled as they are read."""

import asyncio
import logging

import nats as nats_py
import pytest
from nats.aio.msg import Msg

from infra.servers import NatsServer
from services.chassis.nats.connection import flush
from services.chassis.nats.direct_subscription import subscribe_directly
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]
SECONDS = 60


async def test_all_messages_are_handled_in_order_from_the_confirmation_to_the_close(
    nats: NatsServer,
) -> None:
    heard: list[bytes] = []
    publisher, nc = await nats_py.connect(nats.url), await nats_py.connect(nats.url)
    subject = nc.new_inbox()
    subscription = await subscribe_directly(
        nc, subject, lambda message: heard.append(message.data), SECONDS
    )
    sent = [str(number).encode() for number in range(5000)]
    for one in sent:
        await publisher.publish(subject, one)
    await flush(publisher, SECONDS)
    await flush(nc, SECONDS)
    assert heard == sent
    await subscription.aclose()
    await publisher.publish(subject, b"too late")
    await flush(publisher, SECONDS)
    await flush(nc, SECONDS)
    assert heard == sent
    await subscription.aclose()
    await publisher.close()
    await nc.close()


async def test_a_message_that_cannot_be_handled_is_logged_and_the_next_ones_are_handled(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []

    def hear(message: Msg) -> None:
        if message.data == b"bad":
            raise ValueError
        heard.append(message.data)

    nc = await nats_py.connect(nats.url)
    subject = nc.new_inbox()
    await subscribe_directly(nc, subject, hear, SECONDS)
    with caplog.at_level(logging.ERROR):
        for data in (b"one", b"bad", b"two"):
            await nc.publish(subject, data)
        await flush(nc, SECONDS)
    assert heard == [b"one", b"two"]
    assert [one.message for one in caplog.records] == ["a message cannot be handled"]
    await nc.close()


async def test_a_subscription_continues_after_a_reconnect_and_ends_with_its_connection(
    own_nats: NatsServer,
) -> None:
    received = asyncio.Event()
    nc = await nats_py.connect(own_nats.url, max_reconnect_attempts=-1, reconnect_time_wait=0)
    subject = nc.new_inbox()
    subscription = await subscribe_directly(nc, subject, lambda _: received.set(), SECONDS)
    own_nats.restart()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not received.is_set():
            if nc.is_connected:
                await nc.publish(subject, b"again")
            await asyncio.sleep(0.01)
    await nc.drain()
    await subscription.aclose()
