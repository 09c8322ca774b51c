"""A replica set whose primary is lost goes on with another one, and keeps what was acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from infra.ports import LOOPBACK
from infra.servers import MongoServer
from services.persistence.store.interface import ArchivedEvent, StoreUnavailableError
from services.persistence.store.mongo.client import Client, build_client
from services.persistence.store.mongo.store import MongoStore, open_store
from tests.patience import PATIENCE_SECONDS
from tests.persistence.story import KEY, archived_events, decisions_of, interview

pytestmark = [pytest.mark.mongo]

NAME = "rs"
ELECTION_MILLISECONDS = 1000


@pytest.fixture
async def members(mongo: MongoServer, tmp_path: Path) -> AsyncIterator[list[MongoServer]]:
    """Three members; `mongo` decides what happens where there is no mongod."""
    del mongo
    started = [
        MongoServer(tmp_path / f"member{number}", options=("--replSet", NAME))
        for number in range(3)
    ]
    async with AsyncExitStack() as stack:
        for member in started:
            stack.push_async_callback(asyncio.to_thread, member.kill)
        await asyncio.gather(*(asyncio.to_thread(member.start) for member in started))
        client = build_client(f"{started[0].uri}/?directConnection=true")
        stack.push_async_callback(client.close)
        places = [
            {"_id": number, "host": f"{LOOPBACK}:{member.port}"}
            for number, member in enumerate(started)
        ]
        settings = {"electionTimeoutMillis": ELECTION_MILLISECONDS}
        config = {"_id": NAME, "members": places, "settings": settings}
        await client.admin.command("replSetInitiate", config)
        yield started


async def primary(client: Client, members: list[MongoServer]) -> MongoServer:
    await client.aconnect()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (found := await client.primary) is None:  # noqa: ASYNC110  an election sets no event
            await asyncio.sleep(0.05)
    return next(member for member in members if member.port == found[1])


async def archive(store: MongoStore, events: list[ArchivedEvent]) -> None:
    """As the projector does it: again, as long as MongoDB is unavailable."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await store.archive(events)
            except StoreUnavailableError:
                await asyncio.sleep(0.1)


async def test_what_was_archived_survives_the_loss_of_the_primary_and_another_one_goes_on(
    members: list[MongoServer], database: str
) -> None:
    hosts = ",".join(f"{LOOPBACK}:{member.port}" for member in members)
    client = build_client(f"mongodb://{hosts}/?replicaSet={NAME}")
    try:
        first = await primary(client, members)
        store = await open_store(client, database)
        events = archived_events(decisions_of(interview()))
        await archive(store, events[:9])
        first.kill()
        await archive(store, events[9:])
        assert await primary(client, members) is not first
        kept = [event.data async for event in store.archive_records(KEY)]
        assert kept == [event.data for event in events]
    finally:
        await client.close()
