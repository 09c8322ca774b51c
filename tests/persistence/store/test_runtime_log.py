"""The runtime log in every store: by app, chat and time, page by page, through its index."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq
from contracts.runtime_log import ModelCall
from services.persistence.domain.projection import advance
from services.persistence.maintenance.runtime_log_reader import ALWAYS, all_model_calls
from services.persistence.store.interface import (
    ArchivedEvent,
    EffectPlace,
    ProjectionUpdate,
    Store,
    TimeSpan,
    place_of_call,
)
from services.persistence.store.mongo.store import MongoStore
from tests.persistence.story import KEY, archived_events, decisions_of, interview

OTHER_CHAT = ChatKey(KEY.app, ChatId("chat 2"))
OTHER_APP = ChatKey(AppId("beta"), ChatId("chat 1"))


def projected(key: ChatKey) -> ProjectionUpdate:
    made = advance(None, archived_events(decisions_of(interview(key), key)))
    assert made is not None
    return made


@pytest.fixture
async def filled(store: Store) -> Store:
    await store.save([projected(key) for key in (KEY, OTHER_CHAT, OTHER_APP)])
    return store


async def read(store: Store, app: AppId, chat: ChatId | None = None) -> list[ModelCall]:
    return [call async for call in all_model_calls(store, app, chat)]


async def test_the_calls_of_an_app_are_those_of_its_chats_and_of_no_other(filled: Store) -> None:
    found = await read(filled, KEY.app)
    expected = [*projected(KEY).model_calls, *projected(OTHER_CHAT).model_calls]
    assert found == sorted(expected, key=place_of_call)
    assert len(found) > 2
    assert await read(filled, KEY.app, OTHER_CHAT.chat) == list(projected(OTHER_CHAT).model_calls)
    assert await read(filled, AppId("nobody")) == []
    assert await read(filled, OTHER_APP.app, OTHER_CHAT.chat) == []


async def test_a_page_goes_on_after_any_call_and_a_time_span_bounds_it(filled: Store) -> None:
    whole = await read(filled, KEY.app)
    after: EffectPlace | None = None
    paged: list[ModelCall] = []
    while page := await filled.model_calls(KEY.app, None, ALWAYS, after, 1):
        paged += page
        after = place_of_call(page[-1])
    assert paged == whole
    span = TimeSpan(whole[0].ended_at, whole[-1].ended_at)
    bounded = await filled.model_calls(KEY.app, None, span, None, 100)
    assert bounded == [call for call in whole if call.ended_at < whole[-1].ended_at]


async def test_a_call_has_what_its_event_says(filled: Store) -> None:
    call = (await read(filled, KEY.app, KEY.chat))[0]
    assert (call.agent, call.model, call.tokens.prompt) == (
        "InterviewAgent",
        "gpt-4o-mini-2024-07-18",
        100,
    )
    assert call.ended_at - call.started_at == timedelta(seconds=0.5)


async def test_a_replaced_chat_has_the_calls_of_its_events_and_an_erased_one_none(
    filled: Store,
) -> None:
    longer = projected(KEY)
    odd = longer.model_calls[0].model_copy(update={"seq": Seq(2)})
    await filled.save([ProjectionUpdate(longer.session, longer.stats, model_calls=(odd,))])
    await filled.replace(longer)
    assert await read(filled, KEY.app, KEY.chat) == list(longer.model_calls)
    tombstone = ArchivedEvent(
        archived_events(decisions_of(interview()))[-1].stored, StreamSeq(longer.session.last_seq)
    )
    erased = ProjectionUpdate(longer.session, longer.stats)
    await filled.erase(tombstone, erased)
    assert await read(filled, KEY.app, KEY.chat) == []
    assert await read(filled, KEY.app, OTHER_CHAT.chat) != []


@pytest.mark.mongo
async def test_a_page_is_read_by_its_index(mongo_store: MongoStore) -> None:
    await mongo_store.save([projected(key) for key in (KEY, OTHER_CHAT, OTHER_APP)])
    collection = mongo_store._model_calls.get_pymongo_collection()
    queries: dict[str, dict[str, Any]] = {
        "app_ended": {"app_id": KEY.app},
        "chat_ended": {"app_id": KEY.app, "chat_id": KEY.chat},
    }
    for name, query in queries.items():
        spanned = {**query, "ended_at": {"$gte": ALWAYS.since, "$lt": ALWAYS.until}}
        plan = await collection.find(spanned).sort([("ended_at", 1), ("_id", 1)]).limit(2).explain()
        winning = str(plan["queryPlanner"]["winningPlan"])
        assert f"'indexName': '{name}'" in winning
        assert "COLLSCAN" not in winning
        assert "'SORT'" not in winning


def test_the_number_of_an_event_is_part_of_a_calls_place() -> None:
    first = projected(KEY).model_calls[0]
    assert place_of_call(first).seq == Seq(5)
