"""One suite for every store: memory and MongoDB keep the same."""

from contracts.envelope import Envelope
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq, WorkflowName
from services.persistence.projection import advance
from services.persistence.store import PAGE, Archived, Change, Store, WorkflowTotals
from tests.persistence.story import KEY, hello, interview, kept, told

GENERATOR = WorkflowName("Generator")


def change(envelopes: list[Envelope]) -> Change:
    made = advance(None, envelopes)
    assert made is not None
    return made


async def archive_of(store: Store, key: ChatKey = KEY, after: int = 0) -> list[Archived]:
    return [event async for event in store.archived(key, after=Seq(after))]


async def test_the_archive_gives_back_the_very_bytes(store: Store) -> None:
    events = kept(told(interview()))
    await store.archive(events)
    assert [event.data for event in await archive_of(store)] == [event.data for event in events]
    assert [event.position for event in await archive_of(store)] == list(range(1, 19))


async def test_an_archived_event_stays_as_it_was_first(store: Store) -> None:
    first, *_ = kept(told(hello()))
    await store.archive([first])
    await store.archive([Archived(first.envelope, StreamSeq(99), b"{}")])
    assert await archive_of(store) == [first]


async def test_an_unknown_event_is_archived_all_the_same(store: Store) -> None:
    strange = told(hello())[0].model_copy(update={"type": "chat.dreamt", "body": {"$of": {"": 1}}})
    await store.archive(kept([strange]))
    assert [event.envelope for event in await archive_of(store)] == [strange]


async def test_a_long_archive_is_read_in_order_from_a_cursor(store: Store) -> None:
    long = told(hello() * PAGE)
    await store.archive(kept(long[::-1]))
    assert [event.envelope.seq for event in await archive_of(store, after=2)] == list(
        range(3, len(long) + 1)
    )


async def test_every_archived_chat_is_found(store: Store) -> None:
    keys = {ChatKey(AppId(f"app {n % 3}"), ChatId(f"chat {n}")) for n in range(7)}
    for key in keys:
        await store.archive(kept(told(hello(), key)))
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


async def test_projections_can_be_dropped_and_the_archive_stays(store: Store) -> None:
    events = told(interview())
    await store.archive(kept(events))
    await store.keep([change(events)])
    await store.drop_projections()
    assert await store.sessions([KEY]) == {}
    assert await store.messages(KEY) == []
    assert await store.workflow_totals(KEY.app, GENERATOR) == WorkflowTotals()
    assert len(await archive_of(store)) == len(events)
