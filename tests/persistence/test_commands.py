"""What an operator can run: verify finds each damage on real servers, rebuild and restore rebuild_or_log it."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import nats as nats_client
import pytest

from contracts import subjects
from contracts.event_log import Decision
from contracts.events.human import HumanAnswered
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq
from infra.servers import MongoServer, NatsServer
from services.chassis.jetstream import command_line_connection
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.streams.ensure import ensure_streams
from services.persistence.maintenance import verifier
from services.persistence.rebuild import rebuild
from services.persistence.restore import restore
from services.persistence.settings import Settings
from services.persistence.store.mongo.client import Client, build_client
from services.persistence.store.mongo.documents import PersistenceState
from services.persistence.store.mongo.store import MongoStore
from services.persistence.verify import verify
from tests import logs
from tests.persistence.live import append, is_published, published_summary, running, until
from tests.persistence.story import ANN, KEY, altered, asked, decisions_of, hello, interview

pytestmark = [pytest.mark.broker, pytest.mark.mongo]

OTHER = ChatKey(AppId("other"), KEY.chat)
WAITING = ChatKey(KEY.app, ChatId("waits"))
Documents = dict[str, list[dict[str, Any]]]


def waiting() -> list[Decision]:
    """A chat that waits for its user, several events a message."""
    events = interview(WAITING)
    return logs.decisions([events[:2], events[2:5], events[5]], WAITING)


@pytest.fixture
async def client(mongo: MongoServer) -> AsyncIterator[Client]:
    found = build_client(mongo.uri)
    yield found
    await found.close()


@pytest.fixture
async def filled(
    gateway: JetStreamGateway,
    settings: Settings,
    mongo_store: MongoStore,
    monkeypatch: pytest.MonkeyPatch,
) -> MongoStore:
    """Three chats in the log, the archive and the read models; persistence has ended."""
    monkeypatch.setattr(verifier, "LAG_SECONDS", 0.05)
    async with running(settings):
        place = await append(gateway, decisions_of(interview())[:5])
        for data in (b"no envelope", altered(decisions_of(interview())[5], seq=99)):
            place = StreamSeq((await gateway.js.publish(subjects.event(KEY, "ui"), data)).seq)
        await append(gateway, decisions_of(interview())[5:], place)
        await append(gateway, decisions_of(interview(OTHER), OTHER))
        await append(gateway, waiting())
        await until(lambda: is_published(gateway, KEY, 18))
        await until(lambda: is_published(gateway, OTHER, 18))
        await until(lambda: is_published(gateway, WAITING, 6))
    return mongo_store


async def documents(client: Client, settings: Settings) -> Documents:
    database = client[settings.mongodb_database]
    names = set(await database.list_collection_names()) - {PersistenceState.Settings.name}
    return {name: await database[name].find().sort("_id").to_list() for name in names}


Damage = Callable[[Client, str], Awaitable[object]]
SAME = {"app_id": KEY.app, "chat_id": KEY.chat}
STATISTICS = "workflow_stats_=YWNtZS5jb3Jw_Generator"


async def alter(client: Client, database: str) -> None:
    found = await client[database]["event_archive"].find_one({**SAME, "seq": 7})
    assert found is not None
    raw = found["raw"].replace(b"Water", b"water")
    await client[database]["event_archive"].update_one(
        {"_id": found["_id"]}, {"$set": {"raw": raw}}
    )


DAMAGE: dict[str, tuple[Damage, list[str]]] = {
    "one document of the archive is deleted": (
        lambda client, name: client[name]["event_archive"].delete_one({**SAME, "seq": 7}),
        ["acme.corp/chat 1  archive: event 7: is missing"],
    ),
    "one byte of the archive is altered": (
        alter,
        ["acme.corp/chat 1  archive: event 7: its bytes differ from the log's"],
    ),
    "the archive is dropped": (
        lambda client, name: client[name]["event_archive"].drop(),
        [
            "acme.corp/chat 1  archive: event 1: is missing",
            "acme.corp/waits  archive: event 6: is missing",
        ],
    ),
    "the sessions are dropped": (
        lambda client, name: client[name]["chat_sessions"].drop(),
        [
            "acme.corp/chat 1  session: is missing, or damaged",
            "other/chat 1  session: is missing, or damaged",
            "acme.corp/waits  session: is missing, or damaged",
        ],
    ),
    "a session is altered": (
        lambda client, name: client[name]["chat_sessions"].update_one(
            SAME, {"$set": {"status": "failed"}}
        ),
        ["acme.corp/chat 1  session: event 18: differs in status"],
    ),
    "a session is no session any more": (
        lambda client, name: client[name]["chat_sessions"].update_one(
            SAME, {"$set": {"status": 7}, "$unset": {"last_seq": ""}}
        ),
        ["acme.corp/chat 1  session: is missing, or damaged"],
    ),
    "a message is deleted": (
        lambda client, name: client[name]["transcript_messages"].delete_one({**SAME, "seq": 4}),
        ["acme.corp/chat 1  messages: event 4: is missing"],
    ),
    "a message is altered": (
        lambda client, name: client[name]["transcript_messages"].update_one(
            {**SAME, "seq": 4}, {"$set": {"content": "x"}}
        ),
        ["acme.corp/chat 1  messages: event 4: differs in content"],
    ),
    "statistics are dropped": (
        lambda client, name: client[name][STATISTICS].drop(),
        ["acme.corp/chat 1  statistics: are missing, or damaged"],
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
async def test_damage_is_reported_and_a_rebuild_repairs_it(
    kind: str,
    settings: Settings,
    filled: MongoStore,
    client: Client,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del filled
    before = await documents(client, settings)
    damage, said = DAMAGE[kind]
    await damage(client, settings.mongodb_database)
    assert await verify(None, None, settings) == 1
    assert set(said) <= set(capsys.readouterr().out.splitlines())
    assert await rebuild(settings) == 0
    assert capsys.readouterr().out == "3 chats rebuilt from 42 events\n"
    assert await documents(client, settings) == before
    assert await verify(None, None, settings) == 0
    assert capsys.readouterr().out == "3 chats and 42 events compared: 0 differences\n"


async def test_a_lost_summary_is_reported_and_published_again(
    gateway: JetStreamGateway,
    settings: Settings,
    filled: MongoStore,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = await published_summary(gateway)
    await (await gateway.key_values.bucket(subjects.CHATS)).purge(
        subjects.chat_summary_key(KEY.app, ANN, KEY.chat)
    )
    assert await verify(None, None, settings) == 1
    assert capsys.readouterr().out.splitlines()[0] == (
        "acme.corp/chat 1  summary: is missing, or damaged"
    )
    await rebuild(settings)
    assert await published_summary(gateway) == before


async def test_verify_changes_nothing(
    gateway: JetStreamGateway, settings: Settings, filled: MongoStore, client: Client
) -> None:
    del filled
    await client.drop_database(settings.mongodb_database)
    last = await gateway.events.last_position(KEY)
    assert await verify(None, None, settings) == 1
    assert await client[settings.mongodb_database].list_collection_names() == []
    assert await gateway.events.last_position(KEY) == last


async def test_one_app_or_one_chat_can_be_verified_alone(
    settings: Settings, filled: MongoStore, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    del filled
    await client[settings.mongodb_database]["chat_sessions"].delete_one(SAME)
    assert await verify(OTHER.app, None, settings) == 0
    assert capsys.readouterr().out == "1 chats and 18 events compared: 0 differences\n"
    assert await verify(KEY.app, WAITING.chat, settings) == 0
    assert await verify(KEY.app, None, settings) == 1
    assert await verify(KEY.app, KEY.chat, settings) == 1
    assert await verify(None, KEY.chat, settings) == 1


async def test_the_commands_run_as_programs_and_say_what_is_wrong_by_their_exit_code(
    settings: Settings, filled: MongoStore, client: Client
) -> None:
    del filled
    await client[settings.mongodb_database]["transcript_messages"].delete_one({**SAME, "seq": 4})
    environment = {
        "NATS_URL": settings.nats_url,
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DATABASE": settings.mongodb_database,
    }
    only = ("--app", KEY.app, "--chat", KEY.chat)

    async def ran(module: str, *arguments: str) -> tuple[int | None, str]:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"services.persistence.{module}", *arguments),
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, _ = await child.communicate()
        return child.returncode, out.decode()

    code, out = await ran("verify", *only)
    assert (code, out.splitlines()[-1]) == (1, "1 chats and 18 events compared: 1 differences")
    assert await ran("rebuild") == (0, "3 chats rebuilt from 42 events\n")
    assert (await ran("restore"))[0] == 0


# -- rebuild ---------------------------------------------------------------------------------------


async def test_a_chat_that_cannot_be_rebuilt_keeps_its_documents_and_the_others_are_rebuilt(
    gateway: JetStreamGateway,
    settings: Settings,
    filled: MongoStore,
    client: Client,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = await documents(client, settings)
    name = settings.mongodb_database
    await gateway.js.purge_stream(subjects.EVENTS, subject=subjects.events_of(KEY))
    await client[name]["event_archive"].delete_one({**SAME, "seq": 7})
    await client[name]["chat_sessions"].delete_one({"app_id": OTHER.app})
    assert await rebuild(settings) == 1
    assert capsys.readouterr().out.splitlines() == [
        "2 chats rebuilt from 24 events",
        "acme.corp/chat 1  kept as it was: archive: event 7 is missing; the log ends at event 0",
    ]
    assert len(await filled.sessions([KEY, OTHER, WAITING])) == 3
    after = await documents(client, settings)
    assert len(after.pop("event_archive")) == len(before.pop("event_archive")) - 1
    assert after == before


async def test_during_a_rebuild_every_document_stays_readable_and_new_events_are_stored(
    gateway: JetStreamGateway, settings: Settings, filled: MongoStore
) -> None:
    missed = asyncio.Event()
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            if len(await filled.sessions([KEY, OTHER, WAITING])) < 3:
                missed.set()
            if not await filled.messages(OTHER):
                missed.set()

    async with running(settings), asyncio.TaskGroup() as group:
        group.create_task(look())
        answer = await answered(gateway)
        assert await rebuild(settings) == 0
        await until(lambda: is_published(gateway, WAITING, 7))
        assert await rebuild(settings) == 0
        done.set()
    assert not missed.is_set()
    assert (await filled.sessions([WAITING]))[WAITING].last_digest == answer.head.digest
    assert await verify(None, None, settings) == 0


async def answered(gateway: JetStreamGateway) -> Decision:
    """The waiting chat's user answers: the chat goes on."""
    answer = HumanAnswered(question_id=asked(WAITING).question_id, user_id=ANN, text="Water")
    decision = logs.decisions([answer], WAITING, head=waiting()[-1].head)[0]
    await gateway.events.append(decision, after=await gateway.events.last_position(WAITING))
    return decision


async def test_verify_tolerates_that_read_models_lag_behind_a_running_log(
    gateway: JetStreamGateway,
    settings: Settings,
    filled: MongoStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del filled
    monkeypatch.setattr(verifier, "LAG_SECONDS", 3.0)
    long = ChatKey(AppId("busy"), ChatId("1"))
    async with running(settings), asyncio.TaskGroup() as group:
        writing = group.create_task(append(gateway, decisions_of(hello() * 60, long)))
        while not writing.done():
            assert await verify(long.app, long.chat, settings) == 0
    assert await verify(None, None, settings) == 0


# -- restore ---------------------------------------------------------------------------------------


async def logged(gateway: JetStreamGateway, key: ChatKey) -> list[tuple[bytes, dict[str, str]]]:
    """The messages of a chat that count, with their headers, as far as they say what is inside."""
    found: list[tuple[bytes, dict[str, str]]] = []
    async for commit in gateway.events.read(key):
        if commit.events:
            message = await gateway.js.get_msg(subjects.EVENTS, commit.place.position)
            headers = {
                name: value
                for name, value in (message.headers or {}).items()
                if not name.startswith("Nats-")
            }
            found.append((message.data or b"", headers))
    return found


@pytest.fixture
async def emptied(
    empty_nats: NatsServer, gateway: JetStreamGateway, filled: MongoStore
) -> AsyncIterator[tuple[JetStreamGateway, dict[ChatKey, list[tuple[bytes, dict[str, str]]]]]]:
    """NATS after it has lost everything, and what its log held."""
    del filled
    held = {key: await logged(gateway, key) for key in (KEY, OTHER, WAITING)}
    await gateway.nc.close()
    empty_nats.stop()
    shutil.rmtree(empty_nats.folder / "jetstream")
    empty_nats.start()
    nc = await nats_client.connect(empty_nats.url)
    await ensure_streams(nc, replicas=1)
    yield JetStreamGateway(nc), held
    await nc.close()


Emptied = tuple[JetStreamGateway, dict[ChatKey, list[tuple[bytes, dict[str, str]]]]]


async def test_a_lost_log_comes_back_byte_for_byte_and_a_second_run_changes_nothing(
    settings: Settings, emptied: Emptied, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, held = emptied
    assert await verify(None, None, settings) == 1
    assert "event 1: is missing; the archive goes on to event 18" in capsys.readouterr().out
    assert await restore(settings) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 chats and 42 events restored\n3 chats of the archive are in the log")
    assert "1 wait for their user" in said
    assert "audit --repair" in said
    assert "object store attachments" in said
    assert {key: await logged(gateway, key) for key in held} == held
    assert await verify(None, None, settings) == 0
    last = (await gateway.js.stream_info(subjects.EVENTS)).state.last_seq
    capsys.readouterr()
    assert await restore(settings) == 0
    assert capsys.readouterr().out.startswith("0 chats and 0 events restored\n3 chats")
    assert (await gateway.js.stream_info(subjects.EVENTS)).state.last_seq == last
    for key, seq in ((KEY, 18), (OTHER, 18), (WAITING, 6)):
        assert await is_published(gateway, key, seq)


async def test_a_waiting_chat_goes_on_after_a_restore(
    settings: Settings, emptied: Emptied, mongo_store: MongoStore
) -> None:
    gateway, _ = emptied
    await restore(settings)
    async with running(settings):
        await answered(gateway)
        await until(lambda: is_published(gateway, WAITING, 7))
    assert (await mongo_store.sessions([WAITING]))[WAITING].status == "running"
    assert await verify(None, None, settings) == 0


async def test_a_restore_continues_an_interrupted_one_and_leaves_running_chats_alone(
    settings: Settings, emptied: Emptied, mongo_store: MongoStore
) -> None:
    gateway, held = emptied
    await append(gateway, decisions_of(interview())[:3])
    await append(gateway, waiting())
    answer = await answered(gateway)
    assert await restore(settings) == 0
    assert await logged(gateway, KEY) == held[KEY]
    assert (await logged(gateway, WAITING))[-1][0] == answer.data
    assert len([line async for line in mongo_store.archive_records(WAITING)]) == 7
    assert await verify(None, None, settings) == 0


async def test_a_chat_whose_log_differs_is_reported_and_not_changed(
    settings: Settings, emptied: Emptied, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, held = emptied
    await append(gateway, logs.decisions([hello()[:3]], WAITING))
    before = await logged(gateway, WAITING)
    assert await restore(settings) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "acme.corp/waits  not restored: event 2 in the log is not the one in the archive"
    )
    assert await logged(gateway, WAITING) == before
    assert await logged(gateway, KEY) == held[KEY]


async def test_a_chat_whose_archive_is_damaged_is_reported_and_the_others_restored(
    settings: Settings, emptied: Emptied, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, held = emptied
    await client[settings.mongodb_database]["event_archive"].delete_one({**SAME, "seq": 7})
    assert await restore(settings) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "acme.corp/chat 1  not restored: archive: event 7 is missing"
    )
    assert await logged(gateway, KEY) == []
    assert await logged(gateway, OTHER) == held[OTHER]


async def test_a_restore_under_a_running_persistence_loses_and_rejects_nothing(
    settings: Settings, emptied: Emptied
) -> None:
    gateway, _ = emptied
    async with running(settings) as probes:
        assert await restore(settings) == 0
        await answered(gateway)
        await until(lambda: is_published(gateway, WAITING, 7))
        counted = probes.registry.get_sample_value("mozaiks_persistence_rejected_messages_total")
    assert counted == 0
    assert await verify(None, None, settings) == 0


async def test_without_mongodb_a_command_says_so_in_its_last_line() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.persistence.verify"),
        stderr=asyncio.subprocess.PIPE,
        env={"MONGODB_URI": "mongodb://127.0.0.1:9", "MONGODB_WAIT_SECONDS": "0.1"},
    )
    _, err = await child.communicate()
    assert child.returncode == 3
    assert "MONGODB_URI 127.0.0.1:9: connection refused" in err.decode().splitlines()[-1]
    assert "Traceback" not in err.decode()


async def test_without_nats_a_command_says_so(
    mongo: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line_connection, "CONNECT_SECONDS", 0.5)
    with pytest.raises(NatsUnavailableError, match=r"NATS_URL nats:.*connection refused"):
        await rebuild(Settings(nats_url="nats://127.0.0.1:9", mongodb_uri=mongo.uri))


async def test_without_the_chat_lists_verify_and_rebuild_name_the_command_that_creates_them(
    gateway: JetStreamGateway, settings: Settings
) -> None:
    await gateway.js.delete_stream(subjects.bucket_stream(subjects.CHATS))
    with pytest.raises(NatsUnavailableError, match=r"bucket chats is missing: .*streams ensure"):
        await rebuild(settings)
    assert await restore(settings) == 0
    assert await rebuild(settings) == 0
