"""The whole service on a real log and a real MongoDB."""

import asyncio
from pathlib import Path

import pytest

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq
from infra.servers import MongoServer
from services.chassis.bus import Bus
from services.persistence.app import DURABLE, Settings
from services.persistence.mongo import MongoStore
from services.persistence.projection import advance
from services.persistence.summaries import Summaries
from tests.persistence.live import append, is_shown, running, shown, until
from tests.persistence.story import ANN, KEY, altered, hello, interview, kept, told

pytestmark = [pytest.mark.broker, pytest.mark.mongo]
OTHER = ChatKey(AppId("other"), ChatId("2"))


async def test_what_is_appended_is_kept_and_listed(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    async with running(settings):
        await append(bus, told(interview()))
        await until(lambda: is_shown(bus, KEY, 18))
    whole = advance(None, kept(told(interview())))
    assert whole is not None
    assert await mongo_store.sessions([KEY]) == {KEY: whole.session}
    assert await mongo_store.messages(KEY) == list(whole.messages)
    stored = [one.data async for commit in bus.events.read(KEY) for one in commit.events]
    assert [event.data async for event in mongo_store.archived(KEY, after=Seq(0))] == stored


async def test_a_service_that_was_away_catches_up(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    decisions = told(interview())
    place = await append(bus, decisions[:7])
    async with running(settings):
        await until(lambda: is_shown(bus, KEY, 7))
    await append(bus, decisions[7:], place)
    async with running(settings):
        await until(lambda: is_shown(bus, KEY, 18))
    assert (await mongo_store.sessions([KEY]))[KEY].status == "completed"


async def test_two_replicas_share_the_work_and_keep_each_event_once(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    async with running(settings), running(settings):
        await append(bus, told(hello() * 20))
        await append(bus, told(interview(OTHER), OTHER))
        await until(lambda: is_shown(bus, KEY, 120))
        await until(lambda: is_shown(bus, OTHER, 18))
    whole = advance(None, kept(told(hello() * 20)))
    assert whole is not None
    assert (await mongo_store.sessions([KEY]))[KEY] == whole.session
    assert await mongo_store.messages(KEY) == list(whole.messages)


async def test_nothing_is_lost_while_mongodb_is_away(
    bus: Bus,
    settings: Settings,
    tmp_path: Path,
) -> None:
    own = MongoServer(tmp_path / "mongo")  # the one to kill
    own.start()
    try:
        async with running(settings.model_copy(update={"mongodb_uri": own.uri})):
            place = await append(bus, told(interview())[:9])
            await until(lambda: is_shown(bus, KEY, 9))
            own.kill()
            await append(bus, told(interview())[9:], place)
            await asyncio.sleep(0.5)  # let it try in vain
            own.start()
            await until(lambda: is_shown(bus, KEY, 18))
            assert not await _buried(bus)
    finally:
        own.stop()


async def test_what_is_no_event_is_counted_and_neither_archived_nor_buried(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    real = told(interview())
    here = subjects.event(KEY, "runtime")
    await bus.js.publish("mozaiks.evt.acme", b"not an envelope")
    async with running(settings) as probes:
        place = await append(bus, real[:6])
        for data in (b"", altered(real[6], seq=90), altered(real[6], previous="no digest")):
            place = StreamSeq((await bus.js.publish(here, data)).seq)
        await append(bus, real[6:], place)
        await until(lambda: is_shown(bus, KEY, 18))
        await until(lambda: _all_acknowledged(bus))
        counted = probes.registry.get_sample_value("mozaiks_persistence_rejected_messages_total")
    assert counted == 4
    archived = [event.data async for event in mongo_store.archived(KEY, after=Seq(0))]
    assert archived == [decision.data for decision in real]
    assert not await _buried(bus)


async def _all_acknowledged(bus: Bus) -> bool:
    consumer = await bus.js.consumer_info(subjects.EVENTS, DURABLE)
    return not consumer.num_pending and not consumer.num_ack_pending


async def _buried(bus: Bus) -> bool:
    return bool((await bus.js.stream_info(subjects.DEAD_LETTERS)).state.messages)


async def test_an_older_summary_never_replaces_a_newer_one(bus: Bus) -> None:
    summaries = Summaries(await bus.bucket(subjects.CHATS))
    made = [_summary(n) for n in range(1, 9)]
    await asyncio.gather(*(summaries.announce(one) for one in made[::-1]))
    await summaries.announce(made[3])
    assert await shown(bus) == made[-1]


def _summary(last_seq: int) -> ChatSummary:
    first = told(hello())[0].first
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
