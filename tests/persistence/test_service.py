"""The whole service on a real log and a real MongoDB."""

import asyncio
from pathlib import Path

import pytest

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq
from infra.servers import MongoServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.chat_summaries import ChatSummaryBucket
from services.persistence.domain.projection import advance
from services.persistence.nats_permissions import DURABLE
from services.persistence.settings import Settings
from services.persistence.store.mongo.store import MongoStore
from tests.persistence.live import append, is_published, published_summary, running, until
from tests.persistence.story import (
    ANN,
    KEY,
    altered,
    archived_events,
    decisions_of,
    hello,
    interview,
)

pytestmark = [pytest.mark.broker, pytest.mark.mongo]
OTHER = ChatKey(AppId("other"), ChatId("2"))


async def test_what_is_appended_is_stored_and_listed(
    gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore
) -> None:
    async with running(settings) as probes:
        await append(gateway, decisions_of(interview()))
        await until(lambda: is_published(gateway, KEY, 18))
    measured = probes.registry.get_sample_value
    assert (measured("mozaiks_projection_lag_seconds_count") or 0) >= 1
    assert (measured("mozaiks_projection_duration_seconds_count") or 0) >= 1
    found = {"command": "find", "outcome": "ok"}
    assert (measured("mozaiks_mongodb_command_duration_seconds_count", found) or 0) >= 1
    whole = advance(None, archived_events(decisions_of(interview())))
    assert whole is not None
    assert await mongo_store.sessions([KEY]) == {KEY: whole.session}
    assert await mongo_store.messages(KEY) == list(whole.messages)
    stored = [one.data async for commit in gateway.events.read(KEY) for one in commit.events]
    assert [event.data async for event in mongo_store.archive_records(KEY)] == stored


async def test_a_service_that_was_down_catches_up(
    gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore
) -> None:
    decisions = decisions_of(interview())
    place = await append(gateway, decisions[:7])
    async with running(settings):
        await until(lambda: is_published(gateway, KEY, 7))
    await append(gateway, decisions[7:], place)
    async with running(settings):
        await until(lambda: is_published(gateway, KEY, 18))
    assert (await mongo_store.sessions([KEY]))[KEY].status == "completed"


async def test_two_replicas_share_the_work_and_store_each_event_once(
    gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore
) -> None:
    async with running(settings), running(settings):
        await append(gateway, decisions_of(hello() * 20))
        await append(gateway, decisions_of(interview(OTHER), OTHER))
        await until(lambda: is_published(gateway, KEY, 120))
        await until(lambda: is_published(gateway, OTHER, 18))
    whole = advance(None, archived_events(decisions_of(hello() * 20)))
    assert whole is not None
    assert (await mongo_store.sessions([KEY]))[KEY] == whole.session
    assert await mongo_store.messages(KEY) == list(whole.messages)


async def test_nothing_is_lost_while_mongodb_is_unavailable(
    gateway: JetStreamGateway,
    settings: Settings,
    tmp_path: Path,
) -> None:
    own = MongoServer(tmp_path / "mongo")  # the one to kill
    own.start()
    try:
        async with running(settings.model_copy(update={"mongodb_uri": own.uri})):
            place = await append(gateway, decisions_of(interview())[:9])
            await until(lambda: is_published(gateway, KEY, 9))
            own.kill()
            await append(gateway, decisions_of(interview())[9:], place)
            await asyncio.sleep(0.5)  # let it try in vain
            own.start()
            await until(lambda: is_published(gateway, KEY, 18))
            assert not await _buried(gateway)
    finally:
        own.stop()


async def test_what_is_not_an_event_is_counted_and_neither_archived_nor_dead_lettered(
    gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore
) -> None:
    real = decisions_of(interview())
    here = subjects.event(KEY, "runtime")
    await gateway.js.publish("mozaiks.evt.acme", b"not an envelope")
    async with running(settings) as probes:
        place = await append(gateway, real[:6])
        for data in (b"", altered(real[6], seq=90), altered(real[6], previous="no digest")):
            place = StreamSeq((await gateway.js.publish(here, data)).seq)
        await append(gateway, real[6:], place)
        await until(lambda: is_published(gateway, KEY, 18))
        await until(lambda: _all_acknowledged(gateway))
        counted = probes.registry.get_sample_value("mozaiks_persistence_rejected_messages_total")
    assert counted == 4
    archived = [event.data async for event in mongo_store.archive_records(KEY)]
    assert archived == [decision.data for decision in real]
    assert not await _buried(gateway)


async def _all_acknowledged(gateway: JetStreamGateway) -> bool:
    consumer = await gateway.js.consumer_info(subjects.EVENTS, DURABLE)
    return not consumer.num_pending and not consumer.num_ack_pending


async def _buried(gateway: JetStreamGateway) -> bool:
    return bool((await gateway.js.stream_info(subjects.DEAD_LETTERS)).state.messages)


async def test_an_older_summary_never_replaces_a_newer_one(gateway: JetStreamGateway) -> None:
    summaries = ChatSummaryBucket(await gateway.key_values.bucket(subjects.CHATS))
    made = [_summary(n) for n in range(1, 9)]
    await asyncio.gather(*(summaries.publish(one) for one in made[::-1]))
    await summaries.publish(made[3])
    assert await published_summary(gateway) == made[-1]


def _summary(last_seq: int) -> ChatSummary:
    first = decisions_of(hello())[0].first
    return ChatSummary(
        app_id=KEY.app,
        chat_id=KEY.chat,
        user_id=ANN,
        workflow_name=first.workflow_name,
        status="running",
        created_at=first.time,
        updated_at=first.time,
        last_seq=Seq(last_seq),
    )
