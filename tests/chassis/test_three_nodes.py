"""On a cluster a message can be on its way: neither stored nor refused when the next one comes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts import subjects
from contracts.commands import SendMessage
from contracts.ids import StreamSeq
from infra.nats_cluster import NatsCluster
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.chassis.event_log import PositionConflictError
from services.chassis.process import build_broker, connected
from services.chassis.settings import Settings
from tests.chassis.story import decided, message, new_chat, said, texts

pytestmark = [pytest.mark.broker]
PAIRS = 30
"""On a quiet machine a third of them meet on the way."""


@pytest.fixture
async def bus(nats_cluster: NatsCluster) -> AsyncIterator[Bus]:
    settings = Settings(nats_url=",".join(nats_cluster.urls), stream_replicas=3, drain_seconds=2)
    async with connected(build_broker(settings, "test"), settings) as bus:
        yield bus


async def test_of_two_appends_in_the_same_moment_one_lands_and_the_other_is_told(bus: Bus) -> None:
    for _ in range(PAIRS):
        chat = new_chat()
        both = [decided(chat, said(text)) for text in ("one", "other")]
        ended = await asyncio.gather(
            *(bus.events.append(one, after=StreamSeq(0)) for one in both), return_exceptions=True
        )
        landed = [
            one for one, end in zip(both, ended, strict=True) if not isinstance(end, Exception)
        ]
        assert [type(end) for end in ended if isinstance(end, Exception)] == [PositionConflictError]
        log = [event async for commit in bus.events.read(chat) for event in commit.events]
        assert texts(log) == texts(landed[0].events)


async def taken(bus: Bus, order: SendMessage) -> bool:
    try:
        await bus.order(order)
    except UnavailableError:
        return False
    return True


async def test_an_order_that_is_on_its_way_already_is_not_refused(
    nats_cluster: NatsCluster, bus: Bus
) -> None:
    order = message(new_chat())
    followers = await asyncio.to_thread(nats_cluster.stream_followers, subjects.COMMANDS)
    for node in followers:
        node.pause()
    try:
        with pytest.raises(UnavailableError):
            await bus.order(order)
    finally:
        for node in followers:
            node.resume()
    await asyncio.to_thread(nats_cluster.wait_until_current, subjects.COMMANDS)
    async with asyncio.timeout(60):
        while not await taken(bus, order):  # noqa: ASYNC110  a server says when
            await asyncio.sleep(0.1)
    await asyncio.to_thread(nats_cluster.wait_until_current, subjects.COMMANDS)
    subject = subjects.command(order.key, order.name)
    assert await bus.reader.count(subjects.COMMANDS, subject) == 1
