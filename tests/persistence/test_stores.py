"""One suite for every store: memory and MongoDB keep the same."""

from collections.abc import Sequence
from dataclasses import replace

from contracts.event_log import Decision
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq, WorkflowName
from services.persistence.projection import advance
from services.persistence.store import PAGE, Archived, Change, Line, Store, WorkflowTotals
from tests.persistence.story import KEY, continued, hello, interview, kept, told

GENERATOR = WorkflowName("Generator")


def change(decisions: Sequence[Decision]) -> Change:
    made = advance(None, kept(decisions))
    assert made is not None
    return made


async def archive_of(store: Store, key: ChatKey = KEY, after: int = 0) -> list[Line]:
    return [event async for event in store.archived(key, after=Seq(after))]


def lines(events: Sequence[Archived]) -> list[Line]:
    return [Line(one.envelope.seq, one.position, one.data) for one in events]


async def test_the_archive_gives_back_the_very_bytes(store: Store) -> None:
    events = kept(told(interview()))
    await store.archive(events)
    assert [event.data for event in await archive_of(store)] == [event.data for event in events]
    assert [event.position for event in await archive_of(store)] == list(range(1, 19))


async def test_an_archived_event_stays_as_it_was_first(store: Store) -> None:
    first, second, *_ = kept(told(hello()))
    await store.archive([first])
    other = replace(first.stored, data=second.data)
    await store.archive([Archived(other, StreamSeq(99))])
    assert await archive_of(store) == lines([first])


async def test_an_unknown_event_is_archived_all_the_same(store: Store) -> None:
    changes = {"type": "chat.dreamt", "body": {"$of": {"": 1}}}
    strange = continued(hello(), lambda envelope: envelope.model_copy(update=changes), 0)[0]
    await store.archive(kept([strange]))
    assert await archive_of(store) == lines(kept([strange]))


async def test_a_long_archive_is_read_in_order_from_a_cursor(store: Store) -> None:
    long = told(hello() * PAGE)
    await store.archive(kept(long)[::-1])
    assert [event.seq for event in await archive_of(store, after=2)] == list(
        range(3, len(long) + 1)
    )


async def test_every_archived_chat_is_found(store: Store) -> None:
    keys = {ChatKey(AppId(f"app {n % 3}"), ChatId(f"chat {n}")) for n in range(7)}
    for n, key in enumerate(keys):
        await store.archive(kept(told(hello(), key))[n % 2 :])
    assert {key async for key in store.archived_chats()} == keys


async def test_what_is_kept_is_found(store: Store) -> None:
    made = change(told(interview()))
    await store.keep([made])
    assert await store.sessions([KEY]) == {KEY: made.session}
    assert await store.messages(KEY) == list(made.messages)


async def test_keeping_twice_is_keeping_once(store: Store) -> None:
    made = change(told(interview()))
    await store.keep([made])
    await store.keep([made])
    assert await store.messages(KEY) == list(made.messages)
    assert (await store.workflow_totals(KEY.app, GENERATOR)).agent_turns == 2


async def test_the_older_never_replaces_the_newer(store: Store) -> None:
    old, new = change(told(interview()[:9])), change(told(interview()))
    await store.keep([new])
    await store.keep([old])
    assert await store.sessions([KEY]) == {KEY: new.session}
    assert await store.messages(KEY) == list(new.messages)
    assert (await store.workflow_totals(KEY.app, GENERATOR)).prompt_tokens == 300


async def test_the_newer_replaces_the_older(store: Store) -> None:
    old, new = change(told(interview()[:9])), change(told(interview()))
    await store.keep([old])
    await store.keep([new])
    assert await store.sessions([KEY]) == {KEY: new.session}
    assert (await store.workflow_totals(KEY.app, GENERATOR)).prompt_tokens == 300


async def test_a_tenant_sees_its_own_chats_only(store: Store) -> None:
    theirs = ChatKey(AppId("other.corp"), KEY.chat)
    await store.archive(kept(told(interview(theirs), theirs)))
    await store.keep([change(told(interview(theirs), theirs))])
    assert await store.sessions([KEY]) == {}
    assert await store.messages(KEY) == []
    assert await archive_of(store) == []
    assert await store.workflow_totals(KEY.app, GENERATOR) == WorkflowTotals()


async def test_workflows_whose_names_run_together_are_counted_apart(store: Store) -> None:
    one = ChatKey(AppId("a_b"), ChatId("1"))
    two = ChatKey(AppId("a"), ChatId("1"))
    await store.keep([change(told(interview(one), one, "c"))])
    await store.keep([change(told(hello(), two, "b_c"))])
    assert (await store.workflow_totals(one.app, WorkflowName("c"))).agent_turns == 2
    assert (await store.workflow_totals(two.app, WorkflowName("b_c"))).agent_turns == 1


async def test_a_workflows_statistics_are_the_sum_of_its_chats(store: Store) -> None:
    second = ChatKey(KEY.app, ChatId("chat 2"))
    await store.keep([change(told(interview())), change(told(hello(), second))])
    assert await store.workflow_totals(KEY.app, GENERATOR) == WorkflowTotals(
        chats=2,
        duration_sec=17.0 + 5.0,
        agent_turns=3,
        tool_calls=1,
        errors=0,
        prompt_tokens=300,
        completion_tokens=30,
        total_tokens=330,
        cost=6.3e-05,
    )


async def test_what_is_rewritten_takes_the_place_of_what_was_there(store: Store) -> None:
    events = kept(told(hello()))
    await store.archive([replace(one, position=StreamSeq(90)) for one in events[:3]])
    await store.rewrite(events)
    assert await archive_of(store) == lines(events)


async def test_a_chat_that_is_replaced_is_what_its_events_make_of_it(store: Store) -> None:
    whole, other = change(told(interview())), change(told(hello() * 3))
    await store.keep([other])
    await store.replace(whole)
    assert await store.sessions([KEY]) == {KEY: whole.session}
    assert await store.messages(KEY) == list(whole.messages)
    assert await store.stats(KEY, GENERATOR) == whole.stats


async def test_what_is_newer_survives_a_replacement(store: Store) -> None:
    old, new = change(told(interview()[:9])), change(told(interview()))
    await store.keep([new])
    await store.replace(old)
    assert await store.sessions([KEY]) == {KEY: new.session}
    assert await store.messages(KEY) == list(new.messages)
    assert await store.stats(KEY, GENERATOR) == new.stats


async def test_a_replacement_concerns_one_chat(store: Store) -> None:
    mine, other = ChatKey(KEY.app, ChatId("chat 2")), ChatKey(AppId("other"), KEY.chat)
    for key in (mine, other):
        await store.keep([change(told(interview(key), key))])
    await store.replace(change(told(hello())))
    for key in (mine, other):
        whole = change(told(interview(key), key))
        assert await store.sessions([key]) == {key: whole.session}
        assert await store.messages(key) == list(whole.messages)


async def test_every_session_is_found(store: Store) -> None:
    keys = [ChatKey(AppId(f"app {n % 3}"), ChatId(f"chat {n}")) for n in range(7)]
    await store.keep([change(told(hello(), key)) for key in keys])
    found = [session.key async for session in store.all_sessions()]
    assert sorted(found) == sorted(keys)


async def test_a_chat_without_its_first_event_in_the_archive_is_told_apart(store: Store) -> None:
    begun, unbegun = ChatKey(AppId("a"), ChatId("1")), ChatKey(AppId("b"), ChatId("1"))
    await store.archive(kept(told(hello(), begun)))
    await store.archive(kept(told(hello(), unbegun))[1:])
    assert await store.unbegun([begun, unbegun, KEY]) == {unbegun, KEY}
