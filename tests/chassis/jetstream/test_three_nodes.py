"""On a cluster a message can be in progress, neither stored nor rejected, when the next one comes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts import subjects
from contracts.commands import SendMessage
from contracts.ids import StreamSeq
from infra.nats_cluster import NatsCluster
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import PositionConflictError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from tests.chassis.story import decided, message, new_chat, said, texts

pytestmark = [pytest.mark.broker]
PAIRS = 30
"""On an idle machine a third of them overlap."""


@pytest.fixture
async def gateway(nats_cluster: NatsCluster) -> AsyncIterator[JetStreamGateway]:
    settings = Settings(nats_url=",".join(nats_cluster.urls), stream_replicas=3, drain_seconds=2)
    async with connected(build_broker(settings, "test"), settings) as gateway:
        yield gateway


async def test_of_two_simultaneous_appends_one_is_stored_and_the_other_is_a_conflict(
    gateway: JetStreamGateway,
) -> None:
    for _ in range(PAIRS):
        chat = new_chat()
        both = [decided(chat, said(text)) for text in ("one", "other")]
        ended = await asyncio.gather(
            *(gateway.events.append(one, after=StreamSeq(0)) for one in both),
            return_exceptions=True,
        )
        landed = [
            one for one, end in zip(both, ended, strict=True) if not isinstance(end, Exception)
        ]
        assert [type(end) for end in ended if isinstance(end, Exception)] == [PositionConflictError]
        log = [event async for commit in gateway.events.read(chat) for event in commit.events]
        assert texts(log) == texts(landed[0].events)


async def is_taken(gateway: JetStreamGateway, command: SendMessage) -> bool:
    try:
        await gateway.commands.send(command)
    except NatsUnavailableError:
        return False
    return True


async def test_a_command_that_is_being_stored_already_is_not_rejected(
    nats_cluster: NatsCluster, gateway: JetStreamGateway
) -> None:
    command = message(new_chat())
    followers = await asyncio.to_thread(nats_cluster.stream_followers, subjects.COMMANDS)
    for node in followers:
        node.pause()
    try:
        with pytest.raises(NatsUnavailableError):
            await gateway.commands.send(command)
    finally:
        for node in followers:
            node.resume()
    await asyncio.to_thread(nats_cluster.wait_until_current, subjects.COMMANDS)
    async with asyncio.timeout(60):
        while not await is_taken(gateway, command):  # noqa: ASYNC110  a server says when
            await asyncio.sleep(0.1)
    await asyncio.to_thread(nats_cluster.wait_until_current, subjects.COMMANDS)
    subject = subjects.command(command.key, command.name)
    assert await gateway.reader.count(subjects.COMMANDS, subject) == 1
