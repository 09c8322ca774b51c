"""What is left of chats that are erased: their numbers, and nothing that was said in them."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contracts import encryption, event_log, subjects
from contracts.codec import Origin
from contracts.commands import SendMessage
from contracts.deltas import TextStreamed
from contracts.erasure import Erasure
from contracts.events.chat import ChatErased
from contracts.events.chat_list import ChatDeleted
from contracts.ids import (
    AppId,
    ChatId,
    ChatKey,
    CommandId,
    RunnerId,
    StreamSeq,
    UserId,
)
from contracts.large_values import LargeValue
from infra.servers import MongoServer
from services.chassis.jetstream.event_log import PositionConflictError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.key_ring import open_key_ring
from services.persistence.app import now
from services.persistence.erase import Proof, erase
from services.persistence.maintenance import erasures as erasures_module
from services.persistence.maintenance import verifier
from services.persistence.maintenance.eraser import Eraser
from services.persistence.maintenance.erasures import Erasures
from services.persistence.maintenance.scanner import FILE_BYTES, Scanner
from services.persistence.operator_commands import command_services
from services.persistence.rebuild import rebuild
from services.persistence.restore import restore
from services.persistence.settings import Settings
from services.persistence.store.mongo.client import Client, build_client
from services.persistence.store.mongo.store import MongoStore
from services.persistence.verify import verify
from tests.persistence.live import append, is_published, running, until
from tests.persistence.story import ANN, INTERVIEWER, KEY, decisions_of, interview

pytestmark = [pytest.mark.broker, pytest.mark.mongo]

OTHER = ChatKey(AppId("other"), KEY.chat)
SECOND = ChatKey(KEY.app, ChatId("chat 2"))
SAID = (b"plants", b"InterviewAgent says", b"a large value", b"a file of hers")


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
    """Two chats of an app and one of another, with what else NATS may hold of them."""
    monkeypatch.setattr(verifier, "LAG_SECONDS", 0.05)
    async with running(settings):
        for key in (KEY, SECOND, OTHER):
            await append(gateway, decisions_of(interview(key), key))
            await until(partial(is_published, gateway, key, 18))
    for key in (KEY, OTHER):
        await gateway.values.put(key, [LargeValue.of(b"a large value", "text/plain")])
        files = await gateway.js.object_store(subjects.ATTACHMENTS)
        await files.put(subjects.attachment_key(key, "att_1"), b"a file of hers")
        text = TextStreamed(
            turn=1,
            call=0,
            agent=INTERVIEWER,
            runner=RunnerId("r:1:1"),
            offset=0,
            text="InterviewAgent says",
        )
        await gateway.live.publish_delta(key, text)
        message = SendMessage(
            command_id=CommandId(f"m-{key.app}"),
            app_id=key.app,
            chat_id=key.chat,
            user_id=ANN,
            text="plants",
        )
        await gateway.commands.send(message)
        await gateway.js.publish(key_subject(key), b"k1:d3JhcHBlZA==")  # another process encrypts
        letter = subjects.dead_letter("orchestrator", subjects.command(key, "send_message"))
        await gateway.js.publish(letter, message.model_dump_json().encode())
        await gateway.js.publish(
            subjects.bucket_subject(subjects.ANSWERS, subjects.answer_key(key.app, "d0")), b"plants"
        )
    return mongo_store


def key_subject(key: ChatKey) -> str:
    return subjects.bucket_subject(subjects.CHAT_KEYS, subjects.key_of_scope(key))


async def wrapped_key(gateway: JetStreamGateway, key: ChatKey) -> bytes:
    stored = await gateway.reader.last(subjects.bucket_stream(subjects.CHAT_KEYS), key_subject(key))
    return b"" if stored is None else stored.data


async def places(gateway: JetStreamGateway, client: Client, settings: Settings) -> list[str]:
    """Where something is said: the subjects of messages and the ids of documents."""
    scanner = Scanner(SAID)
    await scanner.streams(gateway)
    await scanner.database(client[settings.mongodb_database])
    assert scanner.scanned.places > len(scanner.scanned.found)
    return sorted(one.name.rpartition(" ")[2] for one in scanner.scanned.found)


async def of_others(gateway: JetStreamGateway, client: Client, settings: Settings) -> list[str]:
    other, whole = subjects.token(OTHER.app), await places(gateway, client, settings)
    files = "$O."  # named by an id or in base64: counted by their number
    return [one for one in whole if f"{other}." in one or one.startswith(files)]


async def numbers(client: Client, settings: Settings) -> list[dict[str, Any]]:
    """The statistics of the app's chats, without what an erasure may change."""
    rows = client[settings.mongodb_database]["workflow_stats_=YWNtZS5jb3Jw_Generator"]
    found = await rows.find().sort("_id").to_list()
    return [
        {name: row[name] for name in row if name not in ("last_seq", "last_updated_at")}
        for row in found
    ]


async def test_of_an_erased_app_only_the_numbers_are_left_and_others_are_as_before(
    gateway: JetStreamGateway,
    filled: MongoStore,
    client: Client,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    others, counted = await of_others(gateway, client, settings), await numbers(client, settings)
    assert len(await places(gateway, client, settings)) > len(others) > 8

    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "mozaiks.log").write_text("one line\n" * 300_000)
    proof = Proof(("a file of hers",), (logs,))
    assert await erase(KEY.app, None, None, settings, proof) == 0

    said = capsys.readouterr().out
    assert "2 chats erased: " in said
    assert " 0 places have something of it" in said
    assert "the same is said in " in said
    left = await places(gateway, client, settings)
    assert [one for one in left if not one.startswith("$O.")] == [
        one for one in others if not one.startswith("$O.")
    ]
    assert sum(one.startswith("$O.") for one in left) == 2
    assert await numbers(client, settings) == counted
    keys = [await wrapped_key(gateway, key) for key in (KEY, SECOND, OTHER)]
    assert keys == [b"", b"", b"k1:d3JhcHBlZA=="]
    assert await verify(None, None, settings) == 0
    (event,) = [one async for commit in gateway.events.read(KEY) for one in commit.events]
    assert isinstance(event.event, ChatErased)
    assert (event.envelope.seq, event.event.status) == (19, "completed")
    assert filled is not None


async def test_an_erasure_that_is_killed_after_any_step_is_finished_by_the_next_attempt(
    gateway: JetStreamGateway,
    filled: MongoStore,
    client: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each attempt gets one removal further than the one before, until one gets through."""
    others = await of_others(gateway, client, settings)
    async with command_services(settings, "erase") as services:
        purger, store = services.gateway.purger, services.store
        eraser = Eraser(store, services.gateway, services.rebuilder, now)
        left = 0

        def killed_when_due() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise asyncio.CancelledError

        whole_purge, whole_erase = purger.purge, store.erase

        async def purge(*args: Any, **options: Any) -> int:
            killed_when_due()
            return await whole_purge(*args, **options)

        async def erase_documents(*args: Any) -> int:
            killed_when_due()
            return await whole_erase(*args)

        monkeypatch.setattr(purger, "purge", purge)
        monkeypatch.setattr(store, "erase", erase_documents)
        attempts = 0
        while True:
            attempts += 1
            left = attempts - 1
            try:
                await eraser.chat(KEY)
            except asyncio.CancelledError:
                continue
            break
    assert attempts > 10
    assert await erase(KEY.app, None, None, settings) == 0  # the other chat, and the answers
    left_of = [one for one in await places(gateway, client, settings) if not one.startswith("$O.")]
    assert left_of == [one for one in others if not one.startswith("$O.")]
    assert await verify(None, None, settings) == 0
    assert filled is not None


async def test_a_running_persistence_erases_what_is_asked_for_also_after_a_restart(
    gateway: JetStreamGateway, filled: MongoStore, settings: Settings
) -> None:
    async with command_services(settings, "erase") as services:
        bucket = await gateway.key_values.bucket(subjects.ERASURES)
        eraser = Eraser(filled, gateway, services.rebuilder, now)
        erasures = Erasures(bucket, eraser, filled, gateway, now)
        asked = Erasure(app_id=KEY.app, user_id=ANN, requested_at=now())
        nobody = Erasure(app_id=KEY.app, user_id=UserId("nobody"), requested_at=now())
        await erasures.request(asked)
        await erasures.request(nobody)

        async def is_done() -> bool:
            return not await erasures.open()

        async with running(settings):
            await until(is_done)
        found = await erasures.find(asked.key)
        assert found
        assert (found.state, found.erased.chats) == ("done", 2)
        none = await erasures.find(nobody.key)
        assert none
        assert (none.state, none.erased.chats) == ("done", 0)
    assert await filled.not_erased(KEY.app, None, None, 10) == []
    assert await filled.not_erased(OTHER.app, None, None, 10) == [OTHER.chat]


async def test_an_erasure_of_a_user_lists_a_page_of_chats_at_a_time_and_goes_on_after_a_kill(
    gateway: JetStreamGateway,
    filled: MongoStore,
    client: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed once the first chat is erased, and once the second has lost its messages in NATS."""
    monkeypatch.setattr(erasures_module, "PAGE", 1)
    async with command_services(settings, "erase") as services:
        bucket = await gateway.key_values.bucket(subjects.ERASURES)
        store, listed = services.store, list[int]()
        eraser = Eraser(store, services.gateway, services.rebuilder, now)
        erasures = Erasures(bucket, eraser, store, services.gateway, now)
        whole_list, whole_erase, kept = store.not_erased, store.erase, 1

        async def not_erased(*args: Any) -> list[ChatId]:
            page = await whole_list(*args)
            listed.append(len(page))
            return page

        async def erase_documents(*args: Any) -> int:
            nonlocal kept
            kept -= 1
            if kept < 0:
                raise asyncio.CancelledError
            return await whole_erase(*args)

        monkeypatch.setattr(store, "not_erased", not_erased)
        monkeypatch.setattr(store, "erase", erase_documents)
        asked = Erasure(app_id=KEY.app, user_id=ANN, requested_at=now())
        await erasures.request(asked)
        with pytest.raises(asyncio.CancelledError):
            await erasures.carry_out(asked)
        assert await whole_list(KEY.app, ANN, None, 10) == [SECOND.chat]
        kept = 10
        (open_,) = await erasures.open()
        made = await erasures.carry_out(open_)
        assert (made.state, await erasures.open()) == ("done", [])
    assert max(listed) == 1
    token = subjects.token(KEY.app)
    left = await places(gateway, client, settings)
    assert [one for one in left if f"{token}." in one] == []
    assert await filled.not_erased(KEY.app, None, None, 10) == []


async def test_erasures_that_have_ended_are_read_once_by_a_process(
    gateway: JetStreamGateway, mongo_store: MongoStore, settings: Settings
) -> None:
    async with command_services(settings, "erase", creates_streams=True) as services:
        bucket = await gateway.key_values.bucket(subjects.ERASURES)
        eraser = Eraser(mongo_store, gateway, services.rebuilder, now)
        erasures = Erasures(bucket, eraser, mongo_store, gateway, now)
        users = [
            Erasure(app_id=KEY.app, user_id=UserId(f"u{number}"), requested_at=now())
            for number in range(4)
        ]
        for one in users:
            await erasures.request(one)
        for one in (users[0], users[1], users[3]):
            await erasures.carry_out(one)
        assert await erasures.open() == [users[2]]
        await bucket.purge(users[0].key)
        await erasures.carry_out(users[2])
        assert await erasures.open() == []
        last = await gateway.reader.last(
            subjects.bucket_stream(subjects.ERASURES),
            subjects.bucket_subject(subjects.ERASURES, ">"),
        )
        assert last
        assert erasures._ended == last.position
        await erasures.request(users[0])
        assert await erasures.open() == [users[0]]


async def test_a_deleted_chat_is_erased_once_its_grace_time_is_over_and_no_sooner(
    gateway: JetStreamGateway, filled: MongoStore, settings: Settings
) -> None:
    for key, grace in ((KEY, 0), (SECOND, 3600)):
        session = (await filled.sessions([key]))[key]
        origin = Origin(key=key, workflow=session.workflow_name, time=now(), cause="delete")
        deleted = event_log.seal(
            [ChatDeleted(user_id=ANN, grace_seconds=grace)], session.head, [origin]
        )
        await gateway.events.append(deleted, after=session.last_position)

    async def is_erased() -> bool:
        session = (await filled.sessions([KEY])).get(KEY)
        return session is not None and session.is_erased

    async with running(settings):
        await until(is_erased)
        second = (await filled.sessions([SECOND]))[SECOND]
    assert second.deleted_at is not None
    assert not second.is_erased
    assert await filled.messages(SECOND)


async def test_neither_rebuild_nor_restore_brings_an_erased_chat_back(
    gateway: JetStreamGateway, filled: MongoStore, settings: Settings
) -> None:
    backup = [
        message
        async for message in gateway.reader.pages(
            subjects.EVENTS, subjects.events_of(KEY), StreamSeq(0)
        )
    ]
    assert await erase(KEY.app, None, KEY.chat, settings) == 0
    assert await rebuild(settings) == 0
    assert await restore(settings) == 0
    assert not await filled.messages(KEY)

    # NATS comes back from a backup that still has the chat
    await gateway.purger.purge(subjects.EVENTS, subjects.events_of(KEY))
    for message in backup:
        await gateway.js.publish(message.subject, message.data)
    assert await restore(settings) == 0
    async with running(settings):

        async def is_gone() -> bool:
            seqs = [one.envelope.seq async for c in gateway.events.read(KEY) for one in c.events]
            return seqs == [19]

        await until(is_gone)
    assert not await filled.messages(KEY)


async def test_nobody_appends_to_a_chat_after_it_is_erased(
    gateway: JetStreamGateway, filled: MongoStore, settings: Settings
) -> None:
    end = await gateway.events.last_position(KEY)
    assert await erase(KEY.app, None, KEY.chat, settings) == 0
    first = decisions_of(interview())[0]
    for place in (StreamSeq(0), end):
        with pytest.raises(PositionConflictError):
            await gateway.events.append(first, after=place)
    assert filled is not None


async def test_a_proof_names_the_places_in_which_something_is_left(
    gateway: JetStreamGateway,
    filled: MongoStore,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A file that an operator kept, and a message in no chat's subject."""
    kept = tmp_path / "logs" / "kept.log"
    kept.parent.mkdir()
    kept.write_text("." * FILE_BYTES + "Water\n and So plants it is.")
    await gateway.js.publish("mozaiks.dlq.other.nobody", b'{"text": "So plants it is."}')
    proof = Proof(logs=(kept.parent,))
    assert await erase(KEY.app, None, KEY.chat, settings, proof) == 1
    found = capsys.readouterr().out
    assert "2 places have something of it" in found
    assert "mozaiks.dlq.other.nobody" in found
    assert str(kept) in found
    assert filled is not None


async def test_what_cannot_be_read_here_is_not_erased_with_a_proof(
    gateway: JetStreamGateway,
    mongo_store: MongoStore,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The services encrypt, and the command has no ENCRYPTION_KEYS: it would look for nothing."""
    assert mongo_store is not None
    monkeypatch.setenv("KEYS_OF_SERVICES", f"k1 {b64encode(bytes(32)).decode()}")
    encryption.use(open_key_ring(gateway.nc, "env:KEYS_OF_SERVICES"))
    try:
        await encryption.ensure(KEY)
        sealed = decisions_of(interview())
    finally:
        encryption.use(None)
    await append(gateway, sealed)
    assert await erase(KEY.app, None, KEY.chat, settings, Proof()) == 1
    assert "without ENCRYPTION_KEYS" in capsys.readouterr().out
    stored = [one.data async for commit in gateway.events.read(KEY) for one in commit.events]
    assert stored == [one.data for decision in sealed for one in decision.events]
    assert await erase(KEY.app, None, KEY.chat, settings) == 0
