"""The whole service on a real log and a real MongoDB."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import nats as nats_client
import pytest
from faststream.asgi import AsgiFastStream

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq
from infra.servers import MongoServer, NatsServer
from services.chassis.bus import Bus
from services.chassis.streams import ensure_streams
from services.persistence.app import Settings, build_app
from services.persistence.mongo import MongoStore
from services.persistence.projection import advance
from services.persistence.summaries import Summaries
from tests.persistence.story import ANN, KEY, hello, interview, told

pytestmark = [pytest.mark.broker, pytest.mark.mongo]
OTHER = ChatKey(AppId("other"), ChatId("2"))
PATIENCE = 20.0


@pytest.fixture
async def bus(empty_nats: NatsServer) -> AsyncIterator[Bus]:
    nc = await nats_client.connect(empty_nats.url)
    await ensure_streams(nc, replicas=1)
    yield Bus(nc)
    await nc.close()


@pytest.fixture
def settings(empty_nats: NatsServer, mongo: MongoServer, database: str) -> Settings:
    return Settings(
        nats_url=empty_nats.url, mongodb_uri=mongo.uri, mongodb_database=database, drain_seconds=2
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    app, _ = build_app(settings)
    async with cast(AsgiFastStream, app).start_lifespan_context():
        yield


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110  # a database sets no event
            await asyncio.sleep(0.05)


async def shown(bus: Bus, key: ChatKey = KEY) -> ChatSummary | None:
    prefix = subjects.user_summaries_prefix(key.app, ANN)
    values = await bus.values_under(subjects.CHATS, prefix)
    summaries = [ChatSummary.model_validate_json(value) for value in values]
    return next((one for one in summaries if one.chat_id == key.chat), None)


async def is_shown(bus: Bus, key: ChatKey, last_seq: int) -> bool:
    summary = await shown(bus, key)
    return summary is not None and summary.last_seq == last_seq


async def test_what_is_appended_is_kept_and_listed(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    envelopes = told(interview())
    async with running(settings):
        await bus.append(envelopes, after=StreamSeq(0))
        await until(lambda: is_shown(bus, KEY, 18))
    whole = advance(None, envelopes)
    assert whole is not None
    assert await mongo_store.sessions([KEY]) == {KEY: whole.session}
    assert await mongo_store.messages(KEY) == list(whole.messages)
    stored = [event.data async for event in bus.read(KEY, after=StreamSeq(0))]
    assert [event.data async for event in mongo_store.archived(KEY, after=Seq(0))] == stored


async def test_a_service_that_was_away_catches_up(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    envelopes = told(interview())
    place = await bus.append(envelopes[:7], after=StreamSeq(0))
    async with running(settings):
        await until(lambda: is_shown(bus, KEY, 7))
    await bus.append(envelopes[7:], after=place)
    async with running(settings):
        await until(lambda: is_shown(bus, KEY, 18))
    assert (await mongo_store.sessions([KEY]))[KEY].status == "completed"


async def test_two_replicas_share_the_work_and_keep_each_event_once(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    async with running(settings), running(settings):
        place = StreamSeq(0)
        for envelope in told(hello() * 20):
            place = await bus.append([envelope], after=place)
        await bus.append(told(interview(OTHER), OTHER), after=StreamSeq(0))
        await until(lambda: is_shown(bus, KEY, 120))
        await until(lambda: is_shown(bus, OTHER, 18))
    whole = advance(None, told(hello() * 20))
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
            place = await bus.append(told(interview())[:9], after=StreamSeq(0))
            await until(lambda: is_shown(bus, KEY, 9))
            own.kill()
            await bus.append(told(interview())[9:], after=place)
            await asyncio.sleep(0.5)  # let it try in vain
            own.start()
            await until(lambda: is_shown(bus, KEY, 18))
            assert not await _buried(bus)
    finally:
        own.stop()


async def test_what_no_envelope_holds_is_buried_and_the_rest_kept(
    bus: Bus, settings: Settings
) -> None:
    await bus.js.publish("mozaiks.evt.acme.chat.runtime", b"not an envelope")
    async with running(settings):
        await bus.append(told(interview()), after=StreamSeq(0))
        await until(lambda: is_shown(bus, KEY, 18))
        await until(lambda: _buried(bus))


async def _buried(bus: Bus) -> bool:
    return bool((await bus.js.stream_info(subjects.DEAD_LETTERS)).state.messages)


async def test_an_older_summary_never_replaces_a_newer_one(bus: Bus) -> None:
    summaries = Summaries(await bus.bucket(subjects.CHATS))
    made = [_summary(n) for n in range(1, 9)]
    await asyncio.gather(*(summaries.announce(one) for one in made[::-1]))
    await summaries.announce(made[3])
    assert await shown(bus) == made[-1]


def _summary(last_seq: int) -> ChatSummary:
    first = told(hello())[0]
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
