"""Events of old chats leave NATS, and come back whole when somebody needs them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from contracts import event_log, subjects
from contracts.codec import Origin
from contracts.events.chat import ChatErased, UserMessageReceived
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq, WorkflowName
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import PositionConflictError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.app import now
from services.persistence.erase import erase
from services.persistence.maintenance import verifier
from services.persistence.maintenance.aged_chats import AgedChats
from services.persistence.maintenance.restorer import Restorer
from services.persistence.maintenance.retention import Retention
from services.persistence.maintenance.sources import ChatSources
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.operator_commands import CommandServices, command_services
from services.persistence.settings import Settings, max_ages
from services.persistence.store.mongo.store import MongoStore
from services.persistence.verify import verify
from tests.persistence.live import append, is_published, running, until
from tests.persistence.story import ANN, KEY, decisions_of, hello, interview

pytestmark = [pytest.mark.broker, pytest.mark.mongo]

WAITING = ChatKey(KEY.app, ChatId("waits"))
OTHER = ChatKey(AppId("other"), KEY.chat)


@asynccontextmanager
async def archived(gateway: JetStreamGateway, settings: Settings) -> AsyncIterator[None]:
    """A running persistence that has stored an ended chat of each of two apps, and one that waits."""
    async with running(settings):
        for key in (KEY, OTHER):
            await append(gateway, decisions_of(interview(key), key))
            await until(partial(is_published, gateway, key, 18))
        await append(gateway, decisions_of(hello(), WAITING))
        await until(lambda: is_published(gateway, WAITING, 6))
        yield


def retention(store: MongoStore, gateway: JetStreamGateway, setting: str) -> Retention:
    sources = ChatSources(store, gateway)
    return Retention(store, sources, gateway, max_ages(setting), lambda: now() + timedelta(days=8))


async def seqs(gateway: JetStreamGateway, key: ChatKey) -> list[int]:
    return [one.envelope.seq async for commit in gateway.events.read(key) for one in commit.events]


async def stored(gateway: JetStreamGateway, key: ChatKey) -> int:
    return await gateway.reader.count(subjects.EVENTS, subjects.events_of(key))


async def test_a_chat_that_is_old_leaves_one_message_and_is_whole_when_it_is_read(
    gateway: JetStreamGateway,
    mongo_store: MongoStore,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifier, "LAG_SECONDS", 0.05)
    async with archived(gateway, settings):
        before = [one.data async for c in gateway.events.read(KEY) for one in c.events]
        assert await retention(mongo_store, gateway, "acme.corp=7, *=365").round() == 17 + 5
        assert [await stored(gateway, key) for key in (KEY, WAITING, OTHER)] == [1, 1, 18]
        assert (
            await retention(mongo_store, gateway, "7").chat(
                (await mongo_store.sessions([KEY]))[KEY]
            )
            == 0
        )
        assert await verify(None, None, settings) == 0

        # A start that is delivered again begins no second chat.
        with pytest.raises(PositionConflictError):
            await gateway.events.append(decisions_of(interview())[0], after=StreamSeq(0))

        readers = await asyncio.gather(*(seqs(gateway, KEY) for _ in range(3)))
        assert readers == [list(range(1, 19))] * 3
        assert [one.data async for c in gateway.events.read(KEY) for one in c.events] == before
        assert await stored(gateway, KEY) == 18
        first = await gateway.events.first(WAITING)
        assert first is not None
        assert first.events[0].envelope.seq == 1


async def test_a_chat_that_waited_long_goes_on_where_it_was(
    gateway: JetStreamGateway, mongo_store: MongoStore, settings: Settings
) -> None:
    async with archived(gateway, settings):
        await retention(mongo_store, gateway, "7").round()
        place = None
        async for commit in gateway.events.read(WAITING):
            place = commit.place
        assert place is not None
        said = UserMessageReceived(user_id=ANN, text="Here I am again.")
        origin = Origin(
            key=WAITING, workflow=WorkflowName("Generator"), time=now(), cause="message"
        )
        decision = event_log.seal([said], place.head, [origin])
        await gateway.events.append(decision, after=place.position)
        await until(lambda: is_published(gateway, WAITING, 7))
        assert await seqs(gateway, WAITING) == list(range(1, 8))


class KilledError(Exception):
    """The process ends here."""


async def test_a_restoration_that_is_killed_after_any_step_is_finished_by_the_next(
    gateway: JetStreamGateway,
    mongo_store: MongoStore,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with archived(gateway, settings):
        await retention(mongo_store, gateway, "7").round()
    async with command_services(settings, "test") as services:
        aged = _aged(services)
        left = 0
        own, purger = services.gateway.events, services.gateway.purger
        whole_append, whole_purge = own.append, purger.purge

        async def append_until_killed(*args: object, **options: object) -> StreamSeq:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return await whole_append(*args, **options)  # type: ignore[arg-type]

        async def purge_until_killed(*args: object, **options: object) -> int:
            if left <= 0:
                raise KilledError
            return await whole_purge(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(own, "append", append_until_killed)
        monkeypatch.setattr(purger, "purge", purge_until_killed)
        kills = 0
        for steps in (0, 1, 5, 12, 100):
            left = steps
            try:
                await aged.restore(KEY)
            except KilledError:
                kills += 1
                assert await own.is_aged_out(KEY)  # nobody takes the half for the whole
        assert kills == 4
        assert await seqs(services.gateway, KEY) == list(range(1, 19))
        assert await aged.restore(KEY) == 0


def _aged(services: CommandServices) -> AgedChats:
    values = ValueArchive(services.store, services.gateway.values)
    restorer = Restorer(
        services.store, services.sources, services.gateway.events, services.rebuilder, values
    )
    return AgedChats(restorer, services.rebuilder, services.gateway)


async def test_what_is_not_archived_or_not_old_stays(
    gateway: JetStreamGateway, mongo_store: MongoStore, settings: Settings
) -> None:
    async with archived(gateway, settings):
        pass
    assert await retention(mongo_store, gateway, "3000").round() == 0
    database = mongo_store._database
    await database["event_archive"].delete_one({"app_id": KEY.app, "chat_id": KEY.chat, "seq": 7})
    assert await retention(mongo_store, gateway, "acme.corp=7").round() == 5  # the other one
    assert await stored(gateway, KEY) == 18


async def test_without_persistence_an_old_chat_is_unavailable_and_not_unknown(
    gateway: JetStreamGateway,
    mongo_store: MongoStore,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.chassis.jetstream.lookups.RESTORE_SECONDS", 0.2)
    async with archived(gateway, settings):
        await retention(mongo_store, gateway, "7").round()
    with pytest.raises(NatsUnavailableError, match="not restored yet"):
        await seqs(gateway, KEY)


async def test_an_old_chat_can_be_erased_without_being_restored(
    gateway: JetStreamGateway, mongo_store: MongoStore, settings: Settings
) -> None:
    async with archived(gateway, settings):
        await retention(mongo_store, gateway, "7").round()
    assert await erase(KEY.app, None, KEY.chat, settings) == 0
    events = [one async for commit in gateway.events.read(KEY) for one in commit.events]
    assert [type(one.event) for one in events] == [ChatErased]
    assert events[0].envelope.seq == 19


@pytest.mark.parametrize("setting", ["soon", "acme=", "acme=0", "-3", "*=1, x=nan"])
def test_an_age_that_is_none_is_refused_by_its_name(setting: str) -> None:
    with pytest.raises(ValueError, match="EVENTS_MAX_AGE: expected days"):
        max_ages(setting)


def test_ages_are_per_app_and_for_all_others() -> None:
    ages = max_ages("90, acme=30")
    assert ages == {"*": timedelta(days=90), "acme": timedelta(days=30)}
