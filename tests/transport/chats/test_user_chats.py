"""The lists of a user with few chats, read from NATS, and of one with many, read from persistence."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from contracts import subjects
from contracts.chat_pages import ChatStart
from contracts.events.chat import ChatStarted
from contracts.ids import AppId, ChatId, ChatKey, WorkflowName, new_chat_id
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.domain.projection import advance, summary_of
from services.transport.auth.principal import UNRESTRICTED
from services.transport.chats import user_chats
from services.transport.chats.read_models import ReadModels
from services.transport.chats.user_chats import UserChats
from tests.persistence.story import archived_events, decisions_of
from tests.transport.persistence import Persistence, answering
from tests.transport.story import ANA, NOON, WORKFLOW

pytestmark = pytest.mark.broker
GENERAL = WorkflowName("General")
COUNT = 12


@dataclass(frozen=True)
class Lists:
    """The lists of a user of this app, who has chats 0 to 11: every third one is general."""

    app: AppId
    http: httpx.AsyncClient
    direct: UserChats

    async def shown(self, limit: int) -> dict[str, Any]:
        own = f"{self.app}/{ANA}"
        urls = (
            f"/api/sessions/list/{own}?limit={limit}",
            f"/api/sessions/recent/{own}",
            f"/api/chats/{self.app}/{WORKFLOW}?user_id={ANA}&limit={limit}",
            f"/api/general_chats/list/{own}?limit={limit}",
        )
        answers = {url: await self.http.get(url) for url in urls}
        assert {one.status_code for one in answers.values()} == {200}
        return {url: one.json() for url, one in answers.items()}


async def keep(
    persistence: Persistence, gateway: JetStreamGateway, app: AppId, number: int
) -> None:
    """A chat as persistence stores it, in its store and in the bucket of rows."""
    key = ChatKey(app, ChatId(f"c {number}"))
    made = advance(None, archived_events(decisions_of([ChatStarted(user_id=ANA, seed=7)], key)))
    assert made is not None
    session = replace(
        made.session,
        workflow_name=GENERAL if number % 3 == 0 else WORKFLOW,
        status="completed" if number > 7 else "waiting",
        is_archived=number == 4,
        deleted_at=NOON if number in (3, 5) else None,
        created_at=NOON + timedelta(minutes=number),
        last_updated_at=NOON + timedelta(minutes=100 + (number * 5) % COUNT),
    )
    await persistence.store.save([replace(made, session=session)])
    row = summary_of(session)
    assert row is not None
    bucket = await gateway.key_values.bucket(subjects.CHATS)
    place = subjects.chat_summary_key(app, ANA, key.chat)
    await bucket.put(place, row.model_dump_json().encode())


@pytest.fixture
async def lists(transport: str, gateway: JetStreamGateway) -> AsyncIterator[Lists]:
    app = AppId(f"app-{new_chat_id()}")
    async with (
        answering(gateway) as persistence,
        httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http,
    ):
        for number in range(COUNT):
            await keep(persistence, gateway, app, number)
        read_models = ReadModels(gateway.lookups)
        yield Lists(app, http, UserChats(gateway.key_values, read_models, UNRESTRICTED))


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_the_lists_of_a_user_with_many_chats_are_those_of_one_with_few(
    lists: Lists, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    few = await lists.shown(limit)
    monkeypatch.setattr(user_chats, "MAX_ROWS", 1)
    monkeypatch.setattr(user_chats, "MAX_CHATS", 2)
    assert await lists.shown(limit) == few
    sessions, recent, ids, general = few.values()
    assert recent["chat_id"] == "c 7"
    assert len(sessions["sessions"]) == len(ids["chat_ids"]) == min(limit, 6)
    assert [one["sequence"] for one in general["sessions"]] == [4, 3, 1][:limit]


async def test_a_chat_keeps_its_number_however_many_chats_its_user_has(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def numbers() -> list[int]:
        starts = [
            ChatStart(created_at=NOON + timedelta(minutes=one), chat_id=ChatId(f"c {one}"))
            for one in range(0, COUNT, 3)
        ]
        return [await lists.direct.count_started(lists.app, ANA, GENERAL, one) for one in starts]

    assert await numbers() == [0, 1, 2, 3]
    monkeypatch.setattr(user_chats, "MAX_ROWS", 1)
    assert await numbers() == [0, 1, 2, 3]


async def test_of_a_user_with_many_chats_no_more_rows_are_read_than_a_page_has(
    lists: Lists, gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_chats, "MAX_ROWS", COUNT - 1)

    async def list_values(*_: object) -> list[bytes]:
        raise AssertionError("all rows of the user were read")

    monkeypatch.setattr(type(gateway.key_values), "list_values", list_values)
    async for number, _ in lists.direct.numbered(lists.app, ANA, GENERAL):
        assert number == 4
        break
