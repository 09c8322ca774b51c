"""What only MongoDB has: an age, an absence, and races between two writers."""

import asyncio
import socket

import pytest

from contracts.ids import AppId, WorkflowName
from services.persistence.mongo import (
    MongoStore,
    away,
    build_client,
    open_store,
    refuse_older,
    stats_name,
)
from services.persistence.projection import advance
from services.persistence.store import StoreAwayError, StoreUnfitError
from tests.persistence.story import KEY, interview, told


def test_a_mongodb_that_is_too_old_is_refused_by_its_version() -> None:
    with pytest.raises(StoreUnfitError, match=r"MONGODB_URI: this is MongoDB 5\.0\.14"):
        refuse_older("5.0.14")


@pytest.mark.parametrize("version", ["6.0.5", "7.0.0", "8.2.1-rc0"])
def test_a_mongodb_from_6_0_on_is_taken(version: str) -> None:
    refuse_older(version)


def test_a_statistics_collection_has_a_legal_name_for_any_id() -> None:
    assert stats_name(AppId("acme_corp"), WorkflowName("Gen")) == "workflow_stats_acme_corp_Gen"
    assert "$" not in stats_name(AppId("$a b/ü"), WorkflowName("system."))


async def test_a_mongodb_that_does_not_answer_is_away_and_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = build_client(f"mongodb://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(StoreAwayError, match="MongoDB: ServerSelectionTimeoutError"):
            await open_store(client, "nowhere")
        assert away(client) == "MongoDB is away"
        await client.close()


@pytest.mark.mongo
async def test_of_many_writers_at_once_the_newest_wins(mongo_store: MongoStore) -> None:
    envelopes = told(interview())
    changes = [advance(None, envelopes[: n + 1]) for n in range(len(envelopes))]
    await asyncio.gather(*(mongo_store.keep([made]) for made in changes if made is not None))
    assert (await mongo_store.sessions([KEY]))[KEY].last_seq == 18
    assert len(await mongo_store.messages(KEY)) == 4
    totals = await mongo_store.workflow_totals(KEY.app, WorkflowName("Generator"))
    assert (totals.chats, totals.agent_turns) == (1, 2)
