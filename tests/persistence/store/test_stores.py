"""One suite for every store: memory and MongoDB keep the same."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from contracts.chat_snapshot import ChatTotals
from contracts.effects import effects_of
from contracts.event_log import Decision
from contracts.events import Event
from contracts.events.turn import ToolReturned
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq, WorkflowName
from services.persistence.domain.projection import advance
from services.persistence.store.interface import (
    PAGE,
    ArchivedEvent,
    ArchiveRecord,
    ProjectionUpdate,
    Store,
    TimeSpan,
    WorkflowTotals,
)
from tests.persistence.story import (
    KEY,
    archived_events,
    charges,
    continued,
    decisions_of,
    hello,
    interview,
)

GENERATOR = WorkflowName("Generator")


def change(decisions: Sequence[Decision]) -> ProjectionUpdate:
    made = advance(None, archived_events(decisions))
    assert made is not None
    return made


async def archive_of(store: Store, key: ChatKey = KEY) -> list[ArchiveRecord]:
    return [event async for event in store.archive_records(key)]


def lines(events: Sequence[ArchivedEvent]) -> list[ArchiveRecord]:
    return [ArchiveRecord(one.envelope.seq, one.position, one.data) for one in events]


async def test_the_archive_returns_the_same_bytes(store: Store) -> None:
    events = archived_events(decisions_of(interview()))
    await store.archive(events)
    assert [event.data for event in await archive_of(store)] == [event.data for event in events]
    assert [event.position for event in await archive_of(store)] == list(range(1, 19))


async def test_an_archived_event_stays_as_it_was_first(store: Store) -> None:
    first, second, *_ = archived_events(decisions_of(hello()))
    await store.archive([first])
    other = replace(first.stored, data=second.data)
    await store.archive([ArchivedEvent(other, StreamSeq(99))])
    assert await archive_of(store) == lines([first])


async def test_an_unknown_event_is_archived_all_the_same(store: Store) -> None:
    changes = {"type": "chat.dreamt", "body": {"$of": {"": 1}}}
    strange = continued(hello(), lambda envelope: envelope.model_copy(update=changes), 0)[0]
    await store.archive(archived_events([strange]))
    assert await archive_of(store) == lines(archived_events([strange]))


async def test_a_long_archive_is_read_in_order(store: Store) -> None:
    long = decisions_of(hello() * PAGE)
    await store.archive(archived_events(long)[::-1])
    assert [event.seq for event in await archive_of(store)] == list(range(1, len(long) + 1))


async def test_every_archived_chat_is_found(store: Store) -> None:
    keys = {ChatKey(AppId(f"app {n % 3}"), ChatId(f"chat {n}")) for n in range(7)}
    for n, key in enumerate(keys):
        await store.archive(archived_events(decisions_of(hello(), key))[n % 2 :])
    assert {key async for key in store.archived_chats()} == keys


async def test_what_is_saved_is_found(store: Store) -> None:
    made = change(decisions_of(interview()))
    await store.save([made])
    assert await store.sessions([KEY]) == {KEY: made.session}
    assert await store.messages(KEY) == list(made.messages)


async def test_saving_twice_is_saving_once(store: Store) -> None:
    made = change(decisions_of(interview()))
    await store.save([made])
    await store.save([made])
    assert await store.messages(KEY) == list(made.messages)
    assert (await store.workflow_totals(KEY.app, GENERATOR)).totals.agent_turns == 2


async def test_the_older_never_replaces_the_newer(store: Store) -> None:
    old, new = change(decisions_of(interview()[:9])), change(decisions_of(interview()))
    await store.save([new])
    await store.save([old])
    assert await store.sessions([KEY]) == {KEY: new.session}
    assert await store.messages(KEY) == list(new.messages)
    assert (await store.workflow_totals(KEY.app, GENERATOR)).totals.prompt_tokens == 300


async def test_the_newer_replaces_the_older(store: Store) -> None:
    old, new = change(decisions_of(interview()[:9])), change(decisions_of(interview()))
    await store.save([old])
    await store.save([new])
    assert await store.sessions([KEY]) == {KEY: new.session}
    assert (await store.workflow_totals(KEY.app, GENERATOR)).totals.prompt_tokens == 300


async def test_a_tenant_sees_its_own_chats_only(store: Store) -> None:
    theirs = ChatKey(AppId("other.corp"), KEY.chat)
    await store.archive(archived_events(decisions_of(interview(theirs), theirs)))
    await store.save([change(decisions_of(interview(theirs), theirs))])
    assert await store.sessions([KEY]) == {}
    assert await store.messages(KEY) == []
    assert await archive_of(store) == []
    assert await store.workflow_totals(KEY.app, GENERATOR) == WorkflowTotals()


async def test_workflows_whose_names_run_together_are_counted_apart(store: Store) -> None:
    one = ChatKey(AppId("a_b"), ChatId("1"))
    two = ChatKey(AppId("a"), ChatId("1"))
    await store.save([change(decisions_of(interview(one), one, "c"))])
    await store.save([change(decisions_of(hello(), two, "b_c"))])
    assert (await store.workflow_totals(one.app, WorkflowName("c"))).totals.agent_turns == 2
    assert (await store.workflow_totals(two.app, WorkflowName("b_c"))).totals.agent_turns == 1


async def test_a_workflows_statistics_are_the_sum_of_its_chats(store: Store) -> None:
    second = ChatKey(KEY.app, ChatId("chat 2"))
    await store.save([change(decisions_of(interview())), change(decisions_of(hello(), second))])
    assert await store.workflow_totals(KEY.app, GENERATOR) == WorkflowTotals(
        chats={"completed": 1, "waiting": 1},
        duration_sec=17.0 + 5.0,
        totals=ChatTotals(
            agent_turns=3, tool_calls=1, prompt_tokens=300, completion_tokens=30, cost=6.3e-05
        ),
    )


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1, 1], [6], [2, 1, 3]], ids=str)
async def test_a_repaired_archive_holds_the_events_whatever_messages_held_them_before(
    sizes: list[int], store: Store
) -> None:
    events = in_messages(hello(), [1, 3, 2])
    await store.archive(in_messages(hello(), sizes, first=90))
    await store.repair_archive(events)
    assert await archive_of(store) == lines(events)


def in_messages(events: list[Event], sizes: list[int], first: int = 1) -> list[ArchivedEvent]:
    """The events of a chat in messages of these sizes, which lie one after the other in the log."""
    rest = iter(archived_events(decisions_of(events)))
    return [
        replace(next(rest), position=StreamSeq(position))
        for position, size in enumerate(sizes, first)
        for _ in range(size)
    ]


async def test_what_is_later_than_a_repair_stays_in_the_archive(store: Store) -> None:
    events = archived_events(decisions_of(hello()))
    await store.archive(events)
    await store.repair_archive([replace(one, position=StreamSeq(90)) for one in events[:3]])
    assert [one.position for one in await archive_of(store)] == [90, 90, 90, 4, 5, 6]


async def test_a_replaced_chat_is_the_projection_of_its_events(store: Store) -> None:
    whole, other = change(decisions_of(interview())), change(decisions_of(hello() * 3))
    await store.save([other])
    await store.replace(whole)
    assert await store.sessions([KEY]) == {KEY: whole.session}
    assert await store.messages(KEY) == list(whole.messages)
    assert await store.stats(KEY, GENERATOR) == whole.stats


async def test_what_is_newer_survives_a_replacement(store: Store) -> None:
    old, new = change(decisions_of(interview()[:9])), change(decisions_of(interview()))
    await store.save([new])
    await store.replace(old)
    assert await store.sessions([KEY]) == {KEY: new.session}
    assert await store.messages(KEY) == list(new.messages)
    assert await store.stats(KEY, GENERATOR) == new.stats


async def test_a_replacement_concerns_one_chat(store: Store) -> None:
    mine, other = ChatKey(KEY.app, ChatId("chat 2")), ChatKey(AppId("other"), KEY.chat)
    for key in (mine, other):
        await store.save([change(decisions_of(interview(key), key))])
    await store.replace(change(decisions_of(hello())))
    for key in (mine, other):
        whole = change(decisions_of(interview(key), key))
        assert await store.sessions([key]) == {key: whole.session}
        assert await store.messages(key) == list(whole.messages)


async def test_every_session_is_found(store: Store) -> None:
    keys = [ChatKey(AppId(f"app {n % 3}"), ChatId(f"chat {n}")) for n in range(7)]
    await store.save([change(decisions_of(hello(), key)) for key in keys])
    found = [session.key async for session in store.all_sessions()]
    assert sorted(found) == sorted(keys)


async def test_a_chat_without_its_first_event_in_the_archive_is_found(store: Store) -> None:
    whole, partial = ChatKey(AppId("a"), ChatId("1")), ChatKey(AppId("b"), ChatId("1"))
    await store.archive(archived_events(decisions_of(hello(), whole)))
    await store.archive(archived_events(decisions_of(hello(), partial))[1:])
    assert await store.not_archived([whole, partial, KEY]) == {KEY}


DAY = TimeSpan(datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC))


async def test_the_effects_of_a_chat_are_found_in_order_and_after_any_of_them(store: Store) -> None:
    await store.save([change(decisions_of(charges(4)))])
    starts = await store.chat_effect_starts(KEY, Seq(0), 10)
    assert [start.seq for start in starts] == [5, 7, 9, 11]
    assert await store.chat_effect_starts(KEY, Seq(5), 2) == starts[1:3]
    records = await store.effect_records(KEY, {1})
    assert [record.seq for record in records] == list(range(3, 13))
    assert [one.receipt for one in effects_of(records, KEY.chat)] == [
        {"charge": f"c{number}"} for number in range(4)
    ]
    assert await store.effect_records(KEY, {2}) == []


async def test_the_effects_of_an_app_are_those_of_a_time_span_and_of_no_other_app(
    store: Store,
) -> None:
    keys = [
        KEY,
        ChatKey(KEY.app, ChatId("chat 2")),
        ChatKey(AppId("other"), KEY.chat),
    ]
    for key in keys:
        await store.save([change(decisions_of(charges(2, key), key))])
    found = await store.app_effect_starts(KEY.app, DAY, None, 10)
    assert {(start.key, start.seq) for start in found} == {
        (key, seq) for key in keys[:2] for seq in (5, 7)
    }
    assert [start.time for start in found] == sorted(start.time for start in found)
    pages = []
    after = None
    while page := await store.app_effect_starts(KEY.app, DAY, after, 1):
        pages += page
        after = page[-1].place
    assert pages == found
    last = TimeSpan(found[-1].time, DAY.until)
    assert {one.time for one in await store.app_effect_starts(KEY.app, last, None, 10)} == {
        found[-1].time
    }
    assert await store.app_effect_starts(KEY.app, TimeSpan(DAY.since, found[0].time), None, 9) == []


async def test_a_replaced_chat_has_the_effects_of_its_events(store: Store) -> None:
    await store.save([change(decisions_of(charges(4)))])
    await store.replace(change(decisions_of([*charges(1), *hello()[1:] * 3])))
    assert [one.seq for one in await store.chat_effect_starts(KEY, Seq(0), 10)] == [5]


async def test_a_receipt_may_hold_what_a_database_cannot(store: Store) -> None:
    odd = {"number": 2**80, "$set": {"a.b": "x\0"}, "": None}
    events = [
        one.model_copy(update={"receipt": odd}) if isinstance(one, ToolReturned) else one
        for one in charges(1)
    ]
    await store.save([change(decisions_of(events))])
    (effect,) = effects_of(await store.effect_records(KEY), KEY.chat)
    assert effect.receipt == odd
