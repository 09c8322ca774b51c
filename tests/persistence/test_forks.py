"""Forks on real servers: projected through their origin, verified, rebuilt, and restored."""

import pytest

from contracts import subjects
from contracts.event_log import Decision
from contracts.events.chat import ChatForked, Segment
from contracts.ids import ChatId, ChatKey, Seq
from infra.servers import MongoServer
from services.chassis.jetstream.event_log import OriginLostError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.erase import erase
from services.persistence.rebuild import rebuild
from services.persistence.restore import restore
from services.persistence.settings import Settings
from services.persistence.store.interface import Session, Store
from services.persistence.store.mongo.client import build_client
from services.persistence.store.mongo.store import MongoStore
from services.persistence.verify import verify
from tests import logs
from tests.persistence.live import append, is_published, running, until
from tests.persistence.store.test_stores import change
from tests.persistence.story import ANN, KEY, decisions_of, hello, interview

FORK = ChatKey(KEY.app, ChatId("fork"))
NESTED = ChatKey(KEY.app, ChatId("fork of the fork"))
SEQ = Seq(13)


def origin() -> list[Decision]:
    return decisions_of(interview())


def forked(before: list[Decision], key: ChatKey, *segments: Segment) -> list[Decision]:
    """A fork after these decisions that says the rest of the interview, without its end."""
    event = ChatForked(
        user_id=ANN, origin=segments[-1].chat_id, seq=segments[-1].last, segments=list(segments)
    )
    return logs.decisions([event, *interview(key)[14:17]], key, head=before[-1].head)


def fork() -> list[Decision]:
    return forked(origin()[:SEQ], FORK, Segment(chat_id=KEY.chat, last=SEQ))


def nested() -> list[Decision]:
    segments = [Segment(chat_id=KEY.chat, last=SEQ), Segment(chat_id=FORK.chat, last=Seq(16))]
    return forked(fork()[:3], NESTED, *segments)


@pytest.fixture
async def filled(
    gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore
) -> MongoStore:
    """A chat, a fork of it and a fork of that in the log and in MongoDB; persistence has ended."""
    async with running(settings):
        await append(gateway, origin())
        await append(gateway, fork())
        await append(gateway, nested())
        for key, last in ((KEY, 18), (FORK, 17), (NESTED, 20)):
            await until(lambda key=key, last=last: is_published(gateway, key, last))  # type: ignore[misc]
    return mongo_store


async def sessions(store: Store) -> dict[ChatKey, Session]:
    return await store.sessions([KEY, FORK, NESTED])


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_fork_has_the_state_of_its_origin_and_numbers_of_its_own(
    filled: MongoStore, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await sessions(filled)
    fork, nested = found[FORK], found[NESTED]
    assert fork.title == found[KEY].title == "Water the plants"
    assert fork.origin == Segment(chat_id=KEY.chat, last=SEQ)
    assert (fork.status, found[KEY].status) == ("running", "completed")
    assert (fork.totals.prompt_tokens, fork.totals.agent_turns) == (100, 1)
    assert nested.origin == Segment(chat_id=FORK.chat, last=Seq(16))
    for key, seqs in ((FORK, {15, 17}), (NESTED, {18, 20})):
        assert {message.seq for message in await filled.messages(key)} <= seqs
        records = [record.seq async for record in filled.archive_records(key)]
        assert records[0] == found[key].segments[-1].last + 1
    assert await verify(None, None, settings) == 0
    assert capsys.readouterr().out == "3 chats and 55 events compared: 0 differences\n"


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_rebuild_makes_the_same_session_of_a_fork(
    filled: MongoStore, settings: Settings, mongo: MongoServer
) -> None:
    before = await sessions(filled)
    client = build_client(mongo.uri)
    await client[settings.mongodb_database]["chat_sessions"].drop()
    assert await verify(None, None, settings) == 1
    assert await rebuild(settings) == 0
    assert await sessions(filled) == before
    assert await verify(None, None, settings) == 0
    await client.close()


@pytest.mark.broker
@pytest.mark.mongo
async def test_an_origin_that_the_log_has_lost_is_read_from_the_archive_and_restored(
    filled: MongoStore, settings: Settings, gateway: JetStreamGateway
) -> None:
    before = await sessions(filled)
    whole = [one.data async for commit in gateway.events.read(NESTED) for one in commit.events]
    await gateway.js.purge_stream(subjects.EVENTS, subject=subjects.events_of(KEY))
    with pytest.raises(OriginLostError):
        [commit async for commit in gateway.events.read(NESTED)]
    assert await rebuild(settings) == 0
    assert await sessions(filled) == before
    assert await restore(settings) == 0
    again = [one.data async for commit in gateway.events.read(NESTED) for one in commit.events]
    assert again == whole
    assert len(whole) == 20
    assert await verify(None, None, settings) == 0


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_chat_that_forks_read_is_only_erased_with_them(
    filled: MongoStore, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await erase(KEY.app, None, KEY.chat, settings) == 1
    said = capsys.readouterr().out
    assert "CHAT_HAS_FORKS: chat_id: chat 1 is read by the forks" in said
    assert {FORK.chat, NESTED.chat} <= set(
        said.partition("forks ")[2].replace(":", ",").split(", ")
    )
    assert len(await filled.messages(KEY)) > 0
    assert await erase(KEY.app, None, FORK.chat, settings, with_forks=True) == 0
    assert capsys.readouterr().out.startswith("2 chats erased")
    assert await verify(None, None, settings) == 0
    assert await erase(KEY.app, None, KEY.chat, settings) == 0
    assert await verify(None, None, settings) == 0


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_fork_whose_origin_says_something_else_is_reported(
    gateway: JetStreamGateway,
    settings: Settings,
    mongo_store: MongoStore,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    await append(gateway, decisions_of([*hello(), *interview()[6:14]]))
    await append(gateway, fork())
    assert await verify(None, FORK.chat, settings) == 1
    assert "acme.corp/fork  log: the events of its origin do not lead to event 14" in (
        capsys.readouterr().out
    )


async def test_the_forks_that_read_a_chat_are_found_page_by_page(store: Store) -> None:
    chats = [ChatId(f"fork-{number}") for number in range(5)]
    await store.save([change(origin())])
    for chat in chats:
        key = ChatKey(KEY.app, chat)
        decisions = forked(origin()[:SEQ], key, Segment(chat_id=KEY.chat, last=SEQ))
        await store.save([change([*origin()[:SEQ], *decisions])])
    other = ChatKey(KEY.app, ChatId("of another chat"))
    elsewhere = forked(origin()[:SEQ], other, Segment(chat_id=ChatId("another"), last=SEQ))
    await store.save([change([*origin()[:SEQ], *elsewhere])])
    first = await store.forks_of(KEY, None, 3)
    rest = await store.forks_of(KEY, first[-1].chat_id, 3)
    assert [one.chat_id for one in (*first, *rest)] == chats
    assert await store.forks_of(ChatKey(KEY.app, chats[0]), None, 3) == []
