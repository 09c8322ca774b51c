"""Told twice, out of order or by two at once, the keeper keeps the same."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.codec import encode
from contracts.event_log import digest
from contracts.ids import AppId, ChatKey, Seq, StreamSeq, WorkflowName
from contracts.subjects import InvalidSubjectError, parse
from services.chassis.away import AwayError
from services.chassis.direct_get import RawMessage, UnavailableError
from services.chassis.event_log import START, Commit, Place, take
from services.persistence.handlers import Keeper, ReadTo
from services.persistence.memory import MemoryStore
from services.persistence.projection import advance
from services.persistence.rebuilder import Rebuilder
from services.persistence.sources import Logged, Sources, archived
from services.persistence.store import Archived, Store, StoreAwayError
from tests import logs
from tests.persistence.story import KEY, altered, hello, interview, told

OTHER = ChatKey(AppId("other.corp"), KEY.chat)
GENERATOR = WorkflowName("Generator")
FIRST = 5
"""How many messages come before those that do not count."""


def log_of(*chats: ChatKey) -> list[RawMessage]:
    """The chats' events in one stream, taking turns."""
    histories = [told(interview(key), key) for key in chats]
    mixed = [decision for row in zip(*histories, strict=True) for decision in row]
    return logs.messages(mixed)


def with_strangers(strangers: Sequence[tuple[str, bytes]], at: int = FIRST) -> list[RawMessage]:
    """The interview, with other messages in its subjects before its last ones."""
    found = [(message.subject, message.data) for message in log_of(KEY)]
    found[at:at] = strangers
    return [RawMessage(StreamSeq(n), *one) for n, one in enumerate(found, 1)]


def chat_of(message: RawMessage) -> ChatKey | None:
    try:
        return parse(message.subject).key
    except InvalidSubjectError:
        return None


class LogInMemory(Sources):
    """The sources of chats where the log is a list."""

    def __init__(self, store: Store, read_to: ReadTo, end: StreamSeq) -> None:
        self._store = store
        self._read_to = read_to
        self._end = end

    async def logged(self, key: ChatKey) -> Logged:
        commits = [commit async for commit in self._read_to(key, self._end, after=START)]
        events = tuple(event for commit in commits for event in archived(commit))
        return Logged(events, commits[-1].place if commits else START, ())


class Bench:
    """A keeper over a store and a log that is already complete."""

    def __init__(self, store: Store, log: Sequence[RawMessage]) -> None:
        self.store = store
        self.log = log
        self.summaries: dict[ChatKey, ChatSummary] = {}
        self.rejected = 0
        sources = LogInMemory(store, self.read_to, log[-1].position)
        self.rebuilder = Rebuilder(store, sources, self.announce)
        self.keeper = Keeper(store, self.read_to, self.announce, self.rebuilder.mend, self.reject)

    async def read_to(
        self, key: ChatKey, goal: StreamSeq, *, after: Place
    ) -> AsyncIterator[Commit]:
        if goal > self.log[-1].position:
            raise UnavailableError(f"no replica shows message {goal}")
        for message in self.log:
            if chat_of(message) == key and after.position < message.position <= goal:
                commit = take(after, message)
                after = commit.place
                yield commit

    def reject(self, messages: int) -> None:
        self.rejected += messages

    async def announce(self, summary: ChatSummary) -> None:
        self.summaries[ChatKey(summary.app_id, summary.chat_id)] = summary

    async def kept(self, key: ChatKey = KEY) -> list[object]:
        return [
            await self.store.sessions([key]),
            await self.store.messages(key),
            await self.store.workflow_totals(key.app, GENERATOR),
            [event async for event in self.store.archived(key, after=Seq(0))],
            self.summaries.get(key),
        ]


async def told_once(log: Sequence[RawMessage], key: ChatKey = KEY) -> list[object]:
    bench = Bench(MemoryStore(), log)
    await bench.keeper.apply(log)
    return await bench.kept(key)


async def test_the_same_batch_twice_changes_nothing(store: Store) -> None:
    log = log_of(KEY)
    bench = Bench(store, log)
    await bench.keeper.apply(log)
    await bench.keeper.apply(log)
    assert await bench.kept() == await told_once(log)


async def test_batches_out_of_order_are_put_in_order(store: Store) -> None:
    log = log_of(KEY, OTHER)
    bench = Bench(store, log)
    for start in (20, 8, 0, 30):
        await bench.keeper.apply(log[start : start + 12])
    assert await bench.kept() == await told_once(log)
    assert await bench.kept(OTHER) == await told_once(log, OTHER)


async def test_two_replicas_at_once_keep_what_one_does(store: Store) -> None:
    log = log_of(KEY, OTHER)
    first, second = Bench(store, log), Bench(store, log)
    await asyncio.gather(
        first.keeper.apply(log[:9]),
        second.keeper.apply(log[9:18]),
        first.keeper.apply(log[18:27]),
        second.keeper.apply(log[27:]),
        second.keeper.apply(log[3:12]),
    )
    kept = await first.kept()
    assert kept[:-1] == (await told_once(log))[:-1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_batches_in_any_order_keep_the_same(data: st.DataObject) -> None:
    log = log_of(KEY, OTHER)
    batches = data.draw(st.lists(st.lists(st.sampled_from(log), max_size=12), max_size=6))

    async def tell() -> tuple[list[object], list[object]]:
        bench = Bench(MemoryStore(), log)
        for batch in [*batches, log]:
            await bench.keeper.apply(batch)
        return await bench.kept(), await told_once(log)

    mixed, straight = asyncio.run(tell())
    assert mixed == straight


async def test_a_projection_that_trails_the_log_is_healed_from_it(store: Store) -> None:
    log = logs.messages(told(hello() * 100))
    bench = Bench(store, log)
    await bench.keeper.apply(log[-1:])
    assert (await store.sessions([KEY]))[KEY].last_seq == 600
    assert len([event async for event in store.archived(KEY, after=Seq(0))]) == 600


async def test_what_follows_a_hole_in_the_log_itself_counts_for_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = log_of(KEY)
    bench = Bench(MemoryStore(), [*log[:4], *log[5:]])
    await bench.keeper.apply(bench.log)
    assert (await bench.store.sessions([KEY]))[KEY].last_seq == 4
    assert bench.rejected == 13
    assert "seq: 6 where 5 comes next" in {vars(one)["why"] for one in caplog.records}


async def test_a_decision_of_several_events_is_kept_whole(store: Store) -> None:
    events = hello()
    log = logs.messages(logs.decisions([events[:3], events[3:]], KEY))
    bench = Bench(store, log)
    await bench.keeper.apply(log)
    kept = [event async for event in store.archived(KEY, after=Seq(0))]
    assert [(one.seq, one.position) for one in kept] == [
        *((1, 1), (2, 1), (3, 1)),
        *((4, 2), (5, 2), (6, 2)),
    ]
    assert b"\n".join(one.data for one in kept[:3]) == log[0].data


def strangers() -> dict[str, tuple[str, bytes]]:
    """Messages that are no events of the interview where they stand: after its fifth event."""
    real = told(interview())
    here, business = subjects.event(KEY, "runtime"), subjects.event(KEY, "business")
    completed = real[-1].first.model_copy(
        update={"seq": 6, "previous": real[FIRST - 1].head.digest, "body": {}}
    )
    return {
        "no bytes at all": (here, b""),
        "bad bytes": (here, b"not an envelope"),
        "bytes that are no UTF-8": (here, b"\xff\xfe"),
        "a seq far ahead": (here, altered(real[FIRST], seq=1_000_000)),
        "a seq again": (here, real[2].data),
        "a wrong digest": (here, altered(real[FIRST], previous=digest(b"other"))),
        "no digest": (here, altered(real[FIRST], previous=None)),
        "a key unlike its subject": (here, told(interview(OTHER), OTHER)[FIRST].data),
        "a forged end without a body": (here, encode(completed)),
        "a category unlike the branch": (business, real[FIRST].data),
        "two events of which one is no event": (here, real[FIRST].data + b"\n{}"),
        "a subject that names no chat": ("mozaiks.evt.acme", real[FIRST].data),
        "a slot that is not the chat's": ("mozaiks.evt.99.a.b.chat", real[FIRST].data),
    }


@pytest.mark.parametrize("kind", strangers())
async def test_a_message_that_does_not_count_is_passed_over_said_and_counted(
    kind: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    log = with_strangers([strangers()[kind]])
    bench = Bench(store, log)
    await bench.keeper.apply(log)
    whole = advance(None, kept_at(log))
    assert whole is not None
    assert await store.sessions([KEY]) == {KEY: whole.session}
    assert await store.messages(KEY) == list(whole.messages)
    archive = [event.data async for event in store.archived(KEY, after=Seq(0))]
    assert archive == [decision.data for decision in told(interview())]
    assert bench.rejected == 1
    told_of = [one for one in caplog.records if "is no event" in one.message]
    assert [vars(one)["position"] for one in told_of] == [FIRST + 1]


def kept_at(log: Sequence[RawMessage]) -> list[Archived]:
    """The interview's events at their positions in a log that holds other messages too."""
    events = {decision.data: decision.events[0] for decision in told(interview())}
    found: dict[bytes, Archived] = {}
    for message in log:
        if message.data in events and message.subject == subjects.event(
            KEY, events[message.data].envelope.category
        ):
            found.setdefault(message.data, Archived(events[message.data], message.position))
    return list(found.values())


@pytest.mark.parametrize("size", [1, 3, 7])
async def test_many_that_do_not_count_hide_nothing_whatever_the_batches(
    size: int, store: Store
) -> None:
    log = with_strangers(list(strangers().values()))
    bench = Bench(store, log)
    for start in range(0, len(log), size):
        await bench.keeper.apply(log[start : start + size])
    await bench.keeper.apply(log[-size:])
    assert (await store.sessions([KEY]))[KEY].last_seq == 18
    archive = [event.data async for event in store.archived(KEY, after=Seq(0))]
    assert archive == [decision.data for decision in told(interview())]
    assert bench.rejected == len(strangers())


async def test_a_crash_before_the_summary_is_made_good_by_the_repeat() -> None:
    log = log_of(KEY)
    store = MemoryStore()
    await Bench(store, log).keeper.apply(log)
    again = Bench(store, log)
    await again.keeper.apply(log)
    assert again.summaries[KEY].status == "completed"


class AwayStore(MemoryStore):
    async def archive(self, events: Sequence[Archived]) -> None:  # noqa: ARG002
        raise StoreAwayError("MongoDB: AutoReconnect")


async def test_a_store_that_is_away_means_ask_again() -> None:
    log = log_of(KEY)
    with pytest.raises(AwayError, match="AutoReconnect"):
        await Bench(AwayStore(), log).keeper.apply(log)


async def test_a_restored_log_counts_anew_and_nothing_is_lost(store: Store) -> None:
    bench = Bench(store, log_of(KEY))
    before = logs.messages(told(interview())[:9], first=1000)
    await Bench(store, before).keeper.apply(before)
    await bench.keeper.apply(bench.log[:12])
    await bench.keeper.apply(bench.log[12:])
    assert (await store.sessions([KEY]))[KEY].last_seq == 18
    assert (await bench.kept())[1] == (await told_once(bench.log))[1]
    assert bench.rejected == 0


async def test_a_restored_log_may_also_put_chats_further_behind(store: Store) -> None:
    before = log_of(KEY)[:9]
    await Bench(store, before).keeper.apply(before)
    bench = Bench(store, logs.messages(told(interview()), first=1000))
    for start in range(0, 18, 4):
        await bench.keeper.apply(bench.log[start : start + 4])
    assert (await store.sessions([KEY]))[KEY].last_seq == 18
    assert bench.rejected == 0


async def test_a_message_in_a_log_that_was_lost_neither_counts_nor_is_waited_for(
    store: Store,
) -> None:
    before = logs.messages(told(interview())[:9], first=1000)
    await Bench(store, before).keeper.apply(before)
    kept = await store.sessions([KEY])
    far = altered(told(interview())[5], seq=99)
    lost = Bench(store, [RawMessage(StreamSeq(1), subjects.event(KEY, "ui"), far)])
    await lost.keeper.apply(lost.log)
    assert lost.rejected == 1
    assert await store.sessions([KEY]) == kept


async def test_a_copy_that_was_taken_for_the_event_gives_way_to_the_events_of_the_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    real = told(interview())
    forged = json.loads(real[6].data)
    forged["body"]["text"] = "Burn the plants"
    answer = json.dumps(forged, separators=(",", ":")).encode()
    here = subjects.event(KEY, "runtime")
    log = [(one.subject, one.data) for one in logs.messages(real)]
    log.insert(7, (here, answer))
    bench = Bench(store, [RawMessage(StreamSeq(n), *one) for n, one in enumerate(log, 1)])
    await bench.keeper.apply(bench.log[:6])
    await bench.keeper.apply(bench.log[7:8])  # another replica has the true one in hand
    assert (await store.sessions([KEY]))[KEY].title == "Burn the plants"
    await bench.keeper.apply(bench.log[8:])
    await bench.keeper.apply(bench.log[6:7])
    assert (await store.sessions([KEY]))[KEY].title == "Water the plants"
    assert [one.data async for one in store.archived(KEY, after=Seq(0))] == [
        one.data for one in real
    ]
    assert bench.summaries[KEY].title == "Water the plants"
    assert "is no event" in caplog.text
