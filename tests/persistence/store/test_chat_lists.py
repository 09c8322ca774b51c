"""Lists of a user's chats and searches in them: in memory and on MongoDB alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.chat_pages import ChatsFound, ChatsRequested, ChatStart
from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatStarted, UserMessageReceived
from contracts.events.chat_list import (
    ChatArchived,
    ChatDeleted,
    ChatRenamed,
    ChatUnarchived,
    ChatUndeleted,
)
from contracts.events.turn import ModelResponded, SpeakerSelected
from contracts.ids import AgentName, AppId, ChatId, ChatKey, Seq, UserId, WorkflowName
from services.persistence.chat_lists import list_chats
from services.persistence.domain.projection import advance
from services.persistence.store.interface import Session, StartedChats, Store
from services.persistence.store.word_search import EXCERPT_CHARS, excerpt_of
from tests.persistence.story import ANN, PLANNER, archived_events, decisions_of

ACME, OTHER = AppId("acme.corp"), AppId("other")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CREATED = ChatStarted(user_id=ANN, seed=7)
ARCHIVED, DELETED = ChatArchived(user_id=ANN), ChatDeleted(user_id=ANN, grace_seconds=60)


def heard(text: str) -> UserMessageReceived:
    return UserMessageReceived(user_id=ANN, text=text)


def said(text: str, agent: AgentName = PLANNER, *, hidden: bool = False) -> ModelResponded:
    return ModelResponded(turn=1, call=0, agent=agent, text=text, hidden=hidden)


async def keep(
    store: Store,
    name: str,
    *events: Event,
    minute: int = 0,
    user: UserId = ANN,
    app: AppId = ACME,
    workflow: str = "Planning",
) -> Session:
    """A chat of these events, which changed last at this minute."""
    started = ChatStarted(user_id=user, seed=7)
    key = ChatKey(app, ChatId(name))
    update = advance(None, archived_events(decisions_of([started, *events], key)))
    assert update is not None
    session = replace(
        update.session,
        workflow_name=WorkflowName(workflow),
        last_updated_at=NOON + timedelta(minutes=minute),
    )
    await store.save([replace(update, session=session)])
    return session


async def page(store: Store, **options: Any) -> ChatsFound:
    asked = {"request_id": "r", "app_id": ACME, "user_id": ANN, **options}
    return await list_chats(store, ChatsRequested.model_validate(asked))


async def listed(store: Store, **options: Any) -> list[str]:
    """The ids of all chats, page by page."""
    names, cursor = list[str](), None
    while True:
        found = await page(store, **options, cursor=cursor)
        names += [one.summary.chat_id for one in found.chats]
        if (cursor := found.next) is None:
            return names


async def test_a_user_sees_their_own_chats_of_the_app_the_newest_first(store: Store) -> None:
    for number in range(5):
        await keep(store, f"c {number}", minute=number)
    await keep(store, "of bob", user=UserId("bob"))
    await keep(store, "elsewhere", app=OTHER)
    assert await listed(store, limit=2) == ["c 4", "c 3", "c 2", "c 1", "c 0"]
    assert (await page(store, limit=5)).next is None


async def test_chats_that_changed_in_the_same_millisecond_are_listed_once_each(
    store: Store,
) -> None:
    for name in "abcdefg":
        await keep(store, name)
    assert sorted(await listed(store, limit=2)) == list("abcdefg")


async def test_a_chat_that_changes_meanwhile_neither_hides_nor_repeats_another(
    store: Store,
) -> None:
    for number in range(6):
        await keep(store, f"c{number}", minute=number)
    first = await page(store, limit=2)
    await keep(store, "c1", heard("Hello"), minute=9)
    rest = await listed_from(store, first.next)
    assert [one.summary.chat_id for one in first.chats] == ["c5", "c4"]
    assert rest == ["c3", "c2", "c0"]
    assert (await listed(store))[0] == "c1"


async def listed_from(store: Store, cursor: str | None) -> list[str]:
    found = await page(store, cursor=cursor)
    return [one.summary.chat_id for one in found.chats]


async def test_archived_and_deleted_chats_have_places_of_their_own(store: Store) -> None:
    await keep(store, "active")
    await keep(store, "back", ARCHIVED, ChatUnarchived(user_id=ANN))
    await keep(store, "undeleted", DELETED, ChatUndeleted(user_id=ANN))
    await keep(store, "archived", ARCHIVED)
    await keep(store, "deleted", DELETED)
    await keep(store, "both", ARCHIVED, DELETED)
    assert set(await listed(store)) == {"active", "back", "undeleted"}
    assert await listed(store, place="archived") == ["archived"]
    assert set(await listed(store, place="deleted")) == {"deleted", "both"}


async def test_statuses_and_workflows_filter_a_list(store: Store) -> None:
    done = ChatCompleted(reason="terminate", turns=0)
    await keep(store, "runs", SpeakerSelected(turn=1, agent=PLANNER, by="initial"))
    await keep(store, "done", done)
    await keep(store, "other done", done, workflow="Writing")
    assert await listed(store, statuses=["running"]) == ["runs"]
    assert set(await listed(store, statuses=["completed", "failed"])) == {"done", "other done"}
    assert await listed(store, statuses=["completed"], workflows=["Writing"]) == ["other done"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("bread", {"titled", "told", "renamed"}),
        ("BREAD", {"titled", "told", "renamed"}),
        ("rea", {"titled", "told", "renamed"}),
        ("rye bread", {"told"}),
        ("bread rye", {"told"}),
        ("パン", {"cjk"}),
        ("焼き", {"cjk"}),
        ("ÜBER", {"umlaut"}),
        (".*", set()),
        ("(", {"sign"}),
        ("nothing of it", set()),
    ],
)
async def test_words_are_found_in_titles_and_messages(
    store: Store, search: str, found: set[str]
) -> None:
    await keep(store, "titled", heard("A shop for bread"))
    await keep(store, "told", heard("Hello"), said("We bake Bread,\nand rye most."))
    await keep(store, "renamed", heard("Hello"), ChatRenamed(user_id=ANN, title="Bread"))
    await keep(store, "cjk", heard("朝"), said("毎朝パンを焼きます。"))
    await keep(store, "umlaut", heard("Hallo"), said("über Nacht"))
    await keep(store, "sign", heard("Hi :("))
    await keep(store, "of bob", heard("bread"), user=UserId("bob"))
    await keep(store, "elsewhere", heard("bread"), app=OTHER)
    assert set(await listed(store, search=search)) == found


async def test_what_a_user_does_not_see_is_not_found(store: Store) -> None:
    await keep(
        store, "a", heard("Hello"), said("rye", hidden=True), said("oats", AgentName("Mute"))
    )
    assert await listed(store, search="rye") == []
    assert await listed(store, search="oats") == ["a"]
    assert await listed(store, search="oats", visible_agents={"Planning": [PLANNER]}) == []
    assert await listed(store, search="oats", visible_agents={"Writing": [PLANNER]}) == ["a"]
    assert await listed(store, search="hello", visible_agents={"Planning": [PLANNER]}) == ["a"]


async def test_a_hit_in_a_message_is_shown_with_what_is_around_it(store: Store) -> None:
    await keep(store, "a", heard("Hello"), said("x " * 200 + "the rye\nbread " + "y " * 200))
    ((row,), _) = (await page(store, search="rye")).chats, None
    assert row.excerpt is not None
    assert "the rye bread y" in row.excerpt
    assert row.excerpt.startswith("…")
    assert row.excerpt.endswith("…")
    ((titled,), _) = (await page(store, search="hello")).chats, None
    assert titled.excerpt is None


def test_an_excerpt_is_short_and_of_one_line() -> None:
    assert excerpt_of("rye", ["rye"]) == "rye"
    assert len(excerpt_of("a\n" * 5000, ["a"])) <= EXCERPT_CHARS + 2


async def test_a_search_goes_through_a_bounded_number_of_chats_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.persistence.chat_lists.SEARCHED_CHATS", 4)
    for number in range(10):
        await keep(store, f"c{number}", heard("rye" if number in (0, 9) else "oats"), minute=number)
    first = await page(store, search="rye")
    assert [one.summary.chat_id for one in first.chats] == ["c9"]
    assert first.next is not None
    assert await listed(store, search="rye") == ["c9", "c0"]
    assert await listed(store, search="rye", limit=1) == ["c9", "c0"]


async def test_deleted_chats_are_due_for_erasure_after_their_grace_the_oldest_first(
    store: Store,
) -> None:
    first = await keep(store, "a", DELETED)
    await keep(store, "b", ChatDeleted(user_id=ANN, grace_seconds=120))
    await keep(store, "c", DELETED, ChatUndeleted(user_id=ANN))
    await keep(store, "d", DELETED, app=OTHER)
    assert first.erasable_at is not None
    late = first.erasable_at + timedelta(days=1)
    assert [key.chat for key in await store.erasable(late, 10)] == ["a", "d", "b"]
    assert [key.chat for key in await store.erasable(late, 1)] == ["a"]
    soon = first.erasable_at + timedelta(seconds=30)
    assert {key.chat for key in await store.erasable(soon, 10)} == {"a", "d"}
    assert await store.erasable(first.erasable_at, 10) == []


async def test_the_ids_of_an_apps_chats_are_listed_page_by_page(store: Store) -> None:
    for name in ("a", "b ü", "c", "d"):
        await keep(store, name, *([DELETED] if name == "c" else []))
    await keep(store, "of bob", user=UserId("bob"))
    await keep(store, "elsewhere", app=OTHER)
    found, after = list[ChatId](), None
    while ids := await store.chat_ids(ACME, None, after, 2):
        found += ids
        after = ids[-1]
    assert sorted(found) == ["a", "b ü", "c", "d", "of bob"]
    assert await store.chat_ids(ACME, UserId("bob"), None, 10) == ["of bob"]
    assert await store.chat_ids(AppId("acme"), None, None, 10) == []


async def test_chats_are_listed_and_counted_in_the_order_of_their_starts(store: Store) -> None:
    """Those of one user and workflow, hidden ones, too; of two that started at once the ids decide."""
    for number in range(4):
        session = await keep(store, f"c{number}", *([DELETED] if number == 1 else []))
        update = advance(None, archived_events(decisions_of([CREATED], session.key)))
        assert update is not None
        moved = replace(session, created_at=NOON + timedelta(minutes=number // 2), last_seq=Seq(9))
        await store.save([replace(update, session=moved)])
    await keep(store, "of bob", user=UserId("bob"))
    await keep(store, "of another workflow", workflow="Other")
    mine = StartedChats(ACME, ANN, WorkflowName("Planning"))

    async def started(wanted: StartedChats, limit: int) -> list[str]:
        return [one.chat_id for one in await store.started(wanted, limit)]

    assert await started(mine, 10) == ["c3", "c2", "c1", "c0"]
    assert await started(mine, 3) == ["c3", "c2", "c1"]
    assert await store.count_started(mine) == 4
    before = replace(mine, before=ChatStart(created_at=NOON, chat_id=ChatId("c1")))
    assert (await started(before, 10), await store.count_started(before)) == (["c0"], 1)
    later = replace(
        mine, before=ChatStart(created_at=NOON + timedelta(minutes=1), chat_id=ChatId("c2"))
    )
    assert (await started(later, 1), await store.count_started(later)) == (["c1"], 2)
