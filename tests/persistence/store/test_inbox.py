"""Chats that wait for an answer, found by who may give it: in memory and on MongoDB alike."""

from collections.abc import Sequence
from typing import Any

import pytest

from contracts import inbox
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatStarted
from contracts.events.human import (
    Audience,
    HumanAnswered,
    QuestionEscalated,
    QuestionExpired,
)
from contracts.events.turn import SpeakerSelected, TurnCompleted
from contracts.ids import AppId, ChatId, ChatKey, UserId
from contracts.lookups import InboxCursor
from services.persistence.domain.projection import advance, inbox_change
from services.persistence.store.interface import Session, Store
from services.persistence.store.mongo.store import MongoStore
from tests.persistence.story import ANN, INTERVIEWER, archived_events, asked, decisions_of

ACME, OTHER = AppId("acme.corp"), AppId("other")
FINANCE = Audience(users=[UserId("bob")], roles=["finance"])
STARTS: list[Event] = [
    ChatStarted(user_id=ANN, seed=7),
    SpeakerSelected(turn=1, agent=INTERVIEWER, by="initial"),
]


def key_of(chat: str, app: AppId = ACME) -> ChatKey:
    return ChatKey(app, ChatId(chat))


def asking(key: ChatKey, audience: Audience | None = None, ordinal: int = 0) -> Event:
    question = f"{asked(key).question_id}-{ordinal}"
    return asked(key).model_copy(update={"audience": audience, "question_id": question})


async def keep(store: Store, key: ChatKey, *events: Event) -> Session:
    """The chat of these events, stored as persistence does: one event after the other."""
    session: Session | None = None
    for event in archived_events(decisions_of([*STARTS, *events], key)):
        update = advance(session, [event])
        assert update is not None
        await store.project([event], [update])
        session = update.session
    assert session is not None
    return session


async def found(
    store: Store, *recipients: str, app: AppId = ACME, limit: int = 50, **options: Any
) -> list[str]:
    who: Sequence[str] | None = recipients or None
    chats = await store.waiting(app, who, options.get("after"), limit)
    return [chat.chat_id for chat in chats]


ANN_, BOB = inbox.of_user(ANN), inbox.of_user("bob")
ROLE = inbox.of_role("finance")


async def test_a_chat_is_found_by_each_who_may_answer_and_by_nobody_else(store: Store) -> None:
    await keep(store, key_of("own"), asking(key_of("own")))
    await keep(store, key_of("for finance"), asking(key_of("for finance"), FINANCE))
    await keep(store, key_of("elsewhere", OTHER), asking(key_of("elsewhere", OTHER)))
    await keep(store, key_of("quiet"))
    assert await found(store, ANN_) == ["own"]
    assert await found(store, BOB) == await found(store, ROLE) == ["for finance"]
    assert await found(store, inbox.of_user("eve"), inbox.of_role("sales")) == []
    assert await found(store, ANN_, app=OTHER) == ["elsewhere"]
    assert set(await found(store)) == {"own", "for finance"}
    assert await found(store, inbox.of_user("finance"), inbox.of_role(ANN)) == []


ENDS: dict[str, Event] = {
    "answered": HumanAnswered(question_id=asked().question_id, user_id=ANN, text="x"),
    "expired": QuestionExpired(question_id=asked().question_id),
    "turn over": TurnCompleted(turn=1, agent=INTERVIEWER, text="x"),
    "cancelled": ChatCancelled(user_id=ANN),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_question_that_is_not_open_any_more_is_not_found(store: Store, end: str) -> None:
    key = key_of("c")
    question = asking(key)
    last = ENDS[end]
    if "question_id" in type(last).model_fields:
        last = last.model_copy(update={"question_id": question.question_id})  # type: ignore[union-attr]
    await keep(store, key, question, last)
    assert await found(store, ANN_) == await found(store) == []


async def test_an_escalated_question_is_found_by_the_second_audience_too(store: Store) -> None:
    key = key_of("c")
    question = asking(key)
    to = Audience(roles=["manager"])
    await keep(
        store,
        key,
        question,
        QuestionEscalated(question_id=question.question_id, to=to),  # type: ignore[union-attr]
    )
    assert await found(store, ANN_) == await found(store, inbox.of_role("manager")) == ["c"]


async def test_a_repeated_or_late_write_brings_no_answered_question_back(store: Store) -> None:
    key = key_of("c")
    question = asking(key)
    answer = HumanAnswered(question_id=question.question_id, user_id=ANN, text="x")  # type: ignore[union-attr]
    events = archived_events(decisions_of([*STARTS, question, answer], key))
    waits, over = advance(None, events[:3]), advance(None, events)
    assert waits is not None
    assert over is not None
    await store.project(events, [over])
    await store.project(events[:3], [waits])
    assert await found(store, ANN_) == []


async def test_the_longest_waiting_come_first_and_pages_repeat_and_skip_nothing(
    store: Store,
) -> None:
    for number in range(7):  # some wait since the same moment
        key = key_of(f"c{number}")
        quiet: list[Event] = [SpeakerSelected(turn=1, agent=INTERVIEWER, by="initial")]
        await keep(store, key, *(quiet * (3 - number // 2)), asking(key))
    whole = await store.waiting(ACME, [ANN_], None, 50)
    since = [inbox.waiting_since(one) for one in whole]
    assert since == sorted(since, key=lambda one: (one is None, one))
    paged: list[str] = []
    after: InboxCursor | None = None
    while page := await store.waiting(ACME, [ANN_], after, 2):
        paged += [one.chat_id for one in page]
        waited = inbox.waiting_since(page[-1])
        assert waited is not None
        cursor = str(InboxCursor(since=waited, chat_id=page[-1].chat_id))
        after = InboxCursor.parse(cursor)
    assert paged == [one.chat_id for one in whole]
    assert len(paged) == 7


@pytest.mark.mongo
async def test_an_inbox_is_read_by_its_index_and_other_chats_are_not_in_it(
    mongo_store: MongoStore,
) -> None:
    for number in range(20):
        await keep(mongo_store, key_of(f"quiet {number}"))
    await keep(mongo_store, key_of("c"), asking(key_of("c")))
    collection = mongo_store._stored_sessions
    queries: dict[str, dict[str, Any]] = {
        "inbox": {"app_id": ACME, "waiting_for": {"$in": [ANN_]}},
        "app_inbox": {"app_id": ACME},
    }
    epoch = InboxCursor.parse("0.x").since
    for name, query in queries.items():
        cursor = collection.find({**query, "waiting_since": {"$gt": epoch}})
        plan = await cursor.sort([("waiting_since", 1), ("_id", 1)]).explain()
        assert f"'indexName': '{name}'" in str(plan["queryPlanner"]["winningPlan"])
        assert "'SORT'" not in str(plan["queryPlanner"]["winningPlan"])
        assert plan["executionStats"]["totalKeysExamined"] <= 2


def test_the_change_of_an_inbox_names_those_before_and_after() -> None:
    key = key_of("c")
    question = asking(key)
    to = Audience(roles=["manager"])
    story: list[Event] = [
        *STARTS,
        question,
        QuestionEscalated(question_id=question.question_id, to=to),  # type: ignore[union-attr]
        HumanAnswered(question_id=question.question_id, user_id=ANN, text="x"),  # type: ignore[union-attr]
    ]
    session: Session | None = None
    changes = []
    for event in archived_events(decisions_of(story, key)):
        update = advance(session, [event])
        assert update is not None
        changes.append(inbox_change(session, update.session))
        session = update.session
    manager = inbox.of_role("manager")
    assert changes == [
        frozenset(),
        frozenset(),
        frozenset([ANN_]),
        frozenset([ANN_, manager]),
        frozenset([ANN_, manager]),
    ]
