"""A running persistence says whose open questions have changed, once they can be read."""

import asyncio

import pytest

from contracts import inbox
from contracts.events.human import HumanAnswered
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.settings import Settings
from services.persistence.store.mongo.client import build_client
from services.persistence.store.mongo.store import open_store
from tests.persistence.live import append, running
from tests.persistence.story import ANN, KEY, asked, decisions_of, interview

pytestmark = [pytest.mark.broker, pytest.mark.mongo]


async def test_a_question_is_announced_when_it_is_open_and_when_it_is_answered(
    gateway: JetStreamGateway, settings: Settings
) -> None:
    changes: asyncio.Queue[None] = asyncio.Queue()
    ann = inbox.of_user(ANN)
    answer = HumanAnswered(question_id=asked().question_id, user_id=ANN, text="x")
    decisions = decisions_of([*interview()[:6], answer])
    client = build_client(settings.mongodb_uri)
    try:
        async with (
            asyncio.timeout(60),
            running(settings),
            gateway.inbox.changes(KEY.app, [ann], lambda: changes.put_nowait(None)),
        ):
            store = await open_store(client, settings.mongodb_database)
            place = await append(gateway, decisions[:6])
            await changes.get()
            (waiting,) = await store.waiting(KEY.app, [ann], None, 10)
            assert [one.question_id for one in waiting.open_questions] == [asked().question_id]
            await append(gateway, decisions[6:], place)
            await changes.get()
            assert await store.waiting(KEY.app, [ann], None, 10) == []
    finally:
        await client.close()
