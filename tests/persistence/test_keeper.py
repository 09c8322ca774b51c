"""Told twice, out of order or by two at once, the keeper keeps the same."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.catalogue import ChatSummary
from contracts.codec import UnreadableMessageError, encode
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq, WorkflowName
from services.chassis.away import AwayError
from services.chassis.bus import Stored
from services.persistence.handlers import Keeper, rebuild
from services.persistence.memory import MemoryStore
from services.persistence.projection import GapError
from services.persistence.store import Archived, Store, StoreAwayError
from tests.persistence.story import KEY, hello, interview, told

OTHER = ChatKey(AppId("other.corp"), KEY.chat)
GENERATOR = WorkflowName("Generator")


def log_of(*chats: ChatKey) -> list[Stored]:
    """The chats' events in one stream, taking turns."""
    histories = [told(interview(key), key) for key in chats]
    mixed = [envelope for row in zip(*histories, strict=True) for envelope in row]
    return [Stored(StreamSeq(n), encode(envelope)) for n, envelope in enumerate(mixed, 1)]


class Bench:
    """A keeper over a store and a log that is already complete."""

    def __init__(self, store: Store, log: Sequence[Stored]) -> None:
        self.store = store
        self.log = log
        self.summaries: dict[ChatKey, ChatSummary] = {}
        self.keeper = Keeper(store, self.read_from, self.announce)

    async def read_from(self, key: ChatKey, *, after: Seq) -> AsyncIterator[Stored]:
        for stored in self.log:
            envelope = stored.envelope()
            if envelope.key == key and envelope.seq > after:
                yield stored

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


async def told_once(log: Sequence[Stored], key: ChatKey = KEY) -> list[object]:
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


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
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
    long = told(hello() * 100)
    log = [Stored(StreamSeq(n), encode(envelope)) for n, envelope in enumerate(long, 1)]
    bench = Bench(store, log)
    await bench.keeper.apply(log[-1:])
    assert (await store.sessions([KEY]))[KEY].last_seq == 600
    assert len([event async for event in store.archived(KEY, after=Seq(0))]) == 600


async def test_a_hole_in_the_log_itself_is_named() -> None:
    log = log_of(KEY)
    bench = Bench(MemoryStore(), [*log[:4], *log[5:]])
    with pytest.raises(GapError, match=r"acme\.corp/chat 1: expected event 5, got 6"):
        await bench.keeper.apply(log[9:])


async def test_a_crash_before_the_summary_is_made_good_by_the_repeat() -> None:
    log = log_of(KEY)
    store = MemoryStore()
    await Bench(store, log).keeper.apply(log)
    again = Bench(store, log)
    await again.keeper.apply(log)
    assert again.summaries[KEY].status == "completed"


async def test_bytes_without_an_envelope_are_unreadable() -> None:
    bench = Bench(MemoryStore(), [])
    with pytest.raises(UnreadableMessageError):
        await bench.keeper.apply([Stored(StreamSeq(1), b"{}")])


class AwayStore(MemoryStore):
    async def archive(self, events: Sequence[Archived]) -> None:  # noqa: ARG002
        raise StoreAwayError("MongoDB: AutoReconnect")


async def test_a_store_that_is_away_means_ask_again() -> None:
    log = log_of(KEY)
    with pytest.raises(AwayError, match="AutoReconnect"):
        await Bench(AwayStore(), log).keeper.apply(log)


async def test_a_rebuild_folds_the_archive_to_the_same(store: Store) -> None:
    log = log_of(KEY, OTHER)
    bench = Bench(store, log)
    await bench.keeper.apply(log)
    before = await bench.kept(), await bench.kept(OTHER)
    assert await rebuild(store) == 2
    assert (await bench.kept(), await bench.kept(OTHER)) == before


async def test_a_rebuild_survives_chats_longer_than_a_page(store: Store) -> None:
    long = told(hello() * 100, ChatKey(KEY.app, ChatId("long")))
    log = [Stored(StreamSeq(n), encode(envelope)) for n, envelope in enumerate(long, 1)]
    bench = Bench(store, log)
    await bench.keeper.apply(log)
    before = await bench.kept(long[0].key)
    await rebuild(store)
    assert await bench.kept(long[0].key) == before
