"""A backup that is taken while chats go on is restored into other servers, byte for byte."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import nats as nats_client
import pytest

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from infra.servers import MongoServer, NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.backup import backup
from services.persistence.drill import drill
from services.persistence.maintenance.backups import MANIFEST, BackupError
from services.persistence.rebuild import rebuild
from services.persistence.restore import restore
from services.persistence.settings import Settings
from services.persistence.store.mongo.store import MongoStore
from services.persistence.verify import verify
from tests.persistence.live import append
from tests.persistence.story import KEY, decisions_of, hello, interview

pytestmark = [pytest.mark.broker, pytest.mark.mongo]

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
OTHER = ChatKey(AppId("other"), KEY.chat)


class Place(NamedTuple):
    """Other servers, to restore to."""

    settings: Settings
    gateway: JetStreamGateway


@pytest.fixture
async def elsewhere(
    nats: NatsServer,  # noqa: ARG001
    mongo: MongoServer,
    database: str,
    tmp_path: Path,
    mongo_store: MongoStore,  # noqa: ARG001
) -> AsyncIterator[Place]:
    server = NatsServer(tmp_path / "elsewhere")
    server.start()
    nc = await nats_client.connect(server.url)
    settings = Settings(
        nats_url=server.url, mongodb_uri=mongo.uri, mongodb_database=f"{database}_b"
    )
    yield Place(settings, JetStreamGateway(nc))
    await nc.close()
    server.stop()


@pytest.fixture
async def taken(
    gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore, tmp_path: Path
) -> Path:
    """A backup of two chats and a file, taken while a third chat goes on."""
    del mongo_store
    await append(gateway, decisions_of(interview()))
    await append(gateway, decisions_of(interview(OTHER), OTHER))
    files = await gateway.js.object_store(subjects.ATTACHMENTS)
    await files.put("a file", b"bytes" * 100_000)
    await rebuild(settings)
    folder = tmp_path / "backup"
    going_on = asyncio.create_task(_go_on(gateway))
    assert await backup(folder, settings, clock=lambda: NOON) == 0
    going_on.cancel()
    await asyncio.wait([going_on])
    return folder


async def _go_on(gateway: JetStreamGateway) -> None:
    for number in range(1000):
        key = ChatKey(KEY.app, ChatId(f"more {number}"))
        await append(gateway, decisions_of(hello(), key))


def modes(folder: Path) -> tuple[set[str], str]:
    """Who may do what with the files of a folder, and with the folder."""
    files = {oct(one.stat().st_mode & 0o777) for one in folder.iterdir()}
    return files, oct(folder.stat().st_mode & 0o777)


async def raw_events(gateway: JetStreamGateway, key: ChatKey) -> list[tuple[int, bytes]]:
    """The positions and the bytes of a chat's messages."""
    commits = [commit async for commit in gateway.events.read(key)]
    return [
        (commit.place.position, b"\n".join(one.data for one in commit.events)) for commit in commits
    ]


async def test_a_backup_is_restored_with_the_same_positions_bytes_and_files(
    taken: Path, elsewhere: Place, gateway: JetStreamGateway
) -> None:
    assert await restore(elsewhere.settings, folder=taken) == 0
    for key in (KEY, OTHER):
        assert await raw_events(elsewhere.gateway, key) == await raw_events(gateway, key)
    files = await elsewhere.gateway.js.object_store(subjects.ATTACHMENTS)
    assert (await files.get("a file")).data == b"bytes" * 100_000
    assert await verify(None, None, elsewhere.settings) == 0
    with pytest.raises(BackupError, match="already has messages in EVENTS"):
        await restore(elsewhere.settings, folder=taken)


async def test_a_drill_verifies_every_chat_and_prints_how_much_would_be_lost_and_how_long_it_took(
    taken: Path, elsewhere: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    later = NOON + timedelta(seconds=90)
    assert await drill(taken, elsewhere.settings, clock=lambda: later) == 0
    printed = capsys.readouterr().out
    assert "RPO       90 s" in printed
    assert "RTO" in printed
    assert "0 differences" in printed
    with pytest.raises(BackupError, match="a drill needs an empty database"):
        await drill(taken, elsewhere.settings, clock=lambda: later)


async def test_events_that_the_log_of_the_backup_lacks_come_from_its_archive(
    gateway: JetStreamGateway,
    settings: Settings,
    mongo_store: MongoStore,
    elsewhere: Place,
    tmp_path: Path,
) -> None:
    del mongo_store
    await append(gateway, decisions_of(interview()))
    await rebuild(settings)
    last = [one async for one in gateway.events.read(KEY)][-1].place.position
    await gateway.js.delete_msg(subjects.EVENTS, last)
    await backup(tmp_path / "backup", settings, clock=lambda: NOON)
    assert await restore(elsewhere.settings, folder=tmp_path / "backup") == 0
    found = [data for _, data in await raw_events(elsewhere.gateway, KEY)]
    assert found == [one.data for one in decisions_of(interview())]


async def test_a_folder_that_is_no_whole_backup_is_refused(taken: Path, elsewhere: Place) -> None:
    snapshot = taken / "EVENTS.snapshot"
    whole = snapshot.read_bytes()
    snapshot.write_bytes(whole[:-1])
    with pytest.raises(BackupError, match=r"EVENTS\.snapshot"):
        await restore(elsewhere.settings, folder=taken)
    snapshot.write_bytes(whole)
    (taken / MANIFEST).unlink()
    with pytest.raises(BackupError, match=r"no manifest\.json"):
        await drill(taken, elsewhere.settings, clock=lambda: NOON)


async def test_a_backup_overwrites_nothing_and_is_for_its_user_alone(
    taken: Path, settings: Settings
) -> None:
    assert modes(taken) == ({"0o600"}, "0o700")
    with pytest.raises(BackupError, match="is not empty"):
        await backup(taken, settings, clock=lambda: NOON)
