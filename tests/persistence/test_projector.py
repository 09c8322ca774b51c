"""Repeated, out of order or by two at once, the projector has the same result."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.codec import encode
from contracts.envelope import Envelope
from contracts.event_log import digest
from contracts.ids import AppId, ChatKey, StreamSeq, WorkflowName
from contracts.large_values import LargeValue
from contracts.subjects import InvalidSubjectError, parse
from services.chassis.consumers.errors import NewerReleaseError
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import START, Commit, Place, evaluate_and_log
from services.chassis.jetstream.value_store import ValueLostError
from services.chassis.nats.unavailable import ServerUnavailableError
from services.persistence.domain.projection import advance
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.sources import (
    ChatSources,
    IncompleteChatError,
    LoggedChat,
    archived,
)
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.projector import Projector, ReadTo
from services.persistence.store.interface import (
    ArchivedEvent,
    Session,
    Store,
    StoreUnavailableError,
)
from services.persistence.store.memory import MemoryStore
from tests import logs
from tests.persistence.story import KEY, altered, continued, decisions_of, hello, interview

OTHER = ChatKey(AppId("other.corp"), KEY.chat)
GENERATOR = WorkflowName("Generator")
FIRST = 5
"""How many messages come before those that do not count."""


def log_of(*chats: ChatKey) -> list[RawMessage]:
    """The chats' events in one stream, taking turns."""
    histories = [decisions_of(interview(key), key) for key in chats]
    mixed = [decision for row in zip(*histories, strict=True) for decision in row]
    return logs.messages(mixed)


def with_other_messages(others: Sequence[tuple[str, bytes]], at: int = FIRST) -> list[RawMessage]:
    """The interview, with other messages in its subjects before its last ones."""
    found = [(message.subject, message.data) for message in log_of(KEY)]
    found[at:at] = others
    return [RawMessage(StreamSeq(n), *one) for n, one in enumerate(found, 1)]


def chat_of(message: RawMessage) -> ChatKey | None:
    try:
        return parse(message.subject).key
    except InvalidSubjectError:
        return None


class LogInMemory(ChatSources):
    """The sources of chats where the log is a list."""

    def __init__(self, store: Store, read_to: ReadTo, end: StreamSeq) -> None:
        self._store = store
        self._read_to = read_to
        self._end = end

    async def logged(self, key: ChatKey) -> LoggedChat:
        commits = [commit async for commit in self._read_to(key, self._end, after=START)]
        events = tuple(event for commit in commits for event in archived(commit))
        return LoggedChat(events, commits[-1].place if commits else START, ())


class MemoryValues:
    """The object store of large values, in memory."""

    def __init__(self) -> None:
        self.data: dict[tuple[ChatKey, str], bytes] = {}

    async def get(self, key: ChatKey, digest: str) -> bytes:
        try:
            return self.data[key, digest]
        except KeyError:
            raise ValueLostError(digest) from None

    async def put(self, key: ChatKey, values: Iterable[LargeValue]) -> None:
        self.data |= {(key, value.reference.digest): value.data for value in values}


class ProjectorOverLog:
    """A projector over a store and a log that is already complete."""

    def __init__(self, store: Store, log: Sequence[RawMessage]) -> None:
        self.store = store
        self.log = log
        self.summaries: dict[ChatKey, ChatSummary] = {}
        self.rejected = 0
        sources = LogInMemory(store, self.read_to, log[-1].position)
        self.values = MemoryValues()
        values = ValueArchive(store, self.values)
        self.rebuilder = Rebuilder(store, sources, self.publish, values)
        self.projector = Projector(
            store,
            self.read_to,
            self.publish,
            self.rebuilder.rebuild_or_log,
            self.reject,
            values.add,
            self.erase,
        )

    async def erase(self, tombstone: ArchivedEvent) -> None:
        whole = advance(None, [tombstone])
        assert whole is not None
        await self.store.erase(tombstone, whole)

    async def read_to(
        self, key: ChatKey, goal: StreamSeq, *, after: Place
    ) -> AsyncIterator[Commit]:
        if goal > self.log[-1].position:
            raise NatsUnavailableError(f"no replica shows message {goal}")
        for message in self.log:
            if chat_of(message) == key and after.position < message.position <= goal:
                commit = evaluate_and_log(after, message)
                after = commit.place
                yield commit

    def reject(self, messages: int) -> None:
        self.rejected += messages

    async def publish(self, summary: ChatSummary) -> None:
        self.summaries[ChatKey(summary.app_id, summary.chat_id)] = summary

    async def stored(self, key: ChatKey = KEY) -> list[object]:
        return [
            await self.store.sessions([key]),
            await self.store.messages(key),
            await self.store.workflow_totals(key.app, GENERATOR),
            [event async for event in self.store.archive_records(key)],
            self.summaries.get(key),
        ]


async def stored_once(log: Sequence[RawMessage], key: ChatKey = KEY) -> list[object]:
    projection = ProjectorOverLog(MemoryStore(), log)
    await projection.projector.apply(log)
    return await projection.stored(key)


async def test_the_same_batch_twice_changes_nothing(store: Store) -> None:
    log = log_of(KEY)
    projection = ProjectorOverLog(store, log)
    await projection.projector.apply(log)
    await projection.projector.apply(log)
    assert await projection.stored() == await stored_once(log)


async def test_what_a_newer_release_wrote_is_projected_by_it_and_not_in_part(store: Store) -> None:
    def newer(envelope: Envelope) -> Envelope:
        return envelope.model_copy(update={"version": 99})

    log = logs.messages(continued(hello(), newer, 3))
    projection = ProjectorOverLog(store, log)
    await projection.projector.apply(log[:3])
    before = await projection.stored()
    for batch in (log[3:4], log[4:]):  # the event itself, and those that follow it
        with pytest.raises(NewerReleaseError, match="version 99"):
            await projection.projector.apply(batch)
    assert await projection.stored() == before
    with pytest.raises(IncompleteChatError, match="newer release"):
        await projection.rebuilder.chat(KEY)
    assert await projection.stored() == before


async def test_batches_out_of_order_are_put_in_order(store: Store) -> None:
    log = log_of(KEY, OTHER)
    projection = ProjectorOverLog(store, log)
    for start in (20, 8, 0, 30):
        await projection.projector.apply(log[start : start + 12])
    assert await projection.stored() == await stored_once(log)
    assert await projection.stored(OTHER) == await stored_once(log, OTHER)


async def test_two_replicas_at_once_have_the_result_of_one(store: Store) -> None:
    log = log_of(KEY, OTHER)
    first, second = ProjectorOverLog(store, log), ProjectorOverLog(store, log)
    await asyncio.gather(
        first.projector.apply(log[:9]),
        second.projector.apply(log[9:18]),
        first.projector.apply(log[18:27]),
        second.projector.apply(log[27:]),
        second.projector.apply(log[3:12]),
    )
    kept = await first.stored()
    assert kept[:-1] == (await stored_once(log))[:-1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_batches_in_any_order_have_the_same_result(data: st.DataObject) -> None:
    log = log_of(KEY, OTHER)
    batches = data.draw(st.lists(st.lists(st.sampled_from(log), max_size=12), max_size=6))

    async def tell() -> tuple[list[object], list[object]]:
        projection = ProjectorOverLog(MemoryStore(), log)
        for batch in [*batches, log]:
            await projection.projector.apply(batch)
        return await projection.stored(), await stored_once(log)

    mixed, straight = asyncio.run(tell())
    assert mixed == straight


async def test_a_projection_that_lags_behind_the_log_catches_up_from_it(store: Store) -> None:
    log = logs.messages(decisions_of(hello() * 100))
    projection = ProjectorOverLog(store, log)
    await projection.projector.apply(log[-1:])
    assert (await store.sessions([KEY]))[KEY].last_seq == 600
    assert len([event async for event in store.archive_records(KEY)]) == 600


async def test_what_follows_a_gap_in_the_log_itself_is_not_projected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = log_of(KEY)
    projection = ProjectorOverLog(MemoryStore(), [*log[:4], *log[5:]])
    await projection.projector.apply(projection.log)
    assert (await projection.store.sessions([KEY]))[KEY].last_seq == 4
    assert projection.rejected == 13
    assert "seq: 6 where 5 comes next" in {vars(one)["why"] for one in caplog.records}


async def test_a_decision_of_several_events_is_stored_completely(store: Store) -> None:
    events = hello()
    log = logs.messages(logs.decisions([events[:3], events[3:]], KEY))
    projection = ProjectorOverLog(store, log)
    await projection.projector.apply(log)
    kept = [event async for event in store.archive_records(KEY)]
    assert [(one.seq, one.position) for one in kept] == [
        *((1, 1), (2, 1), (3, 1)),
        *((4, 2), (5, 2), (6, 2)),
    ]
    assert b"\n".join(one.data for one in kept[:3]) == log[0].data


def others() -> dict[str, tuple[str, bytes]]:
    """Messages that are no events of the interview where they stand: after its fifth event."""
    real = decisions_of(interview())
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
        "a key unlike its subject": (here, decisions_of(interview(OTHER), OTHER)[FIRST].data),
        "a forged end without a body": (here, encode(completed)),
        "a category unlike the branch": (business, real[FIRST].data),
        "two events of which one is no event": (here, real[FIRST].data + b"\n{}"),
        "a subject that names no chat": ("mozaiks.evt.acme", real[FIRST].data),
        "a slot that is not the chat's": ("mozaiks.evt.99.a.b.chat", real[FIRST].data),
    }


@pytest.mark.parametrize("kind", others())
async def test_a_message_that_is_not_an_event_is_skipped_logged_and_counted(
    kind: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    log = with_other_messages([others()[kind]])
    projection = ProjectorOverLog(store, log)
    await projection.projector.apply(log)
    whole = advance(None, kept_at(log))
    assert whole is not None
    assert await store.sessions([KEY]) == {KEY: whole.session}
    assert await store.messages(KEY) == list(whole.messages)
    archive = [event.data async for event in store.archive_records(KEY)]
    assert archive == [decision.data for decision in decisions_of(interview())]
    assert projection.rejected == 1
    told_of = [one for one in caplog.records if "is not an event" in one.message]
    assert [vars(one)["position"] for one in told_of] == [FIRST + 1]


def kept_at(log: Sequence[RawMessage]) -> list[ArchivedEvent]:
    """The interview's events at their positions in a log that holds other messages too."""
    events = {decision.data: decision.events[0] for decision in decisions_of(interview())}
    found: dict[bytes, ArchivedEvent] = {}
    for message in log:
        if message.data in events and message.subject == subjects.event(
            KEY, events[message.data].envelope.category
        ):
            found.setdefault(message.data, ArchivedEvent(events[message.data], message.position))
    return list(found.values())


@pytest.mark.parametrize("size", [1, 3, 7])
async def test_many_messages_that_are_not_events_hide_no_event_in_any_batches(
    size: int, store: Store
) -> None:
    log = with_other_messages(list(others().values()))
    projection = ProjectorOverLog(store, log)
    for start in range(0, len(log), size):
        await projection.projector.apply(log[start : start + size])
    await projection.projector.apply(log[-size:])
    assert (await store.sessions([KEY]))[KEY].last_seq == 18
    archive = [event.data async for event in store.archive_records(KEY)]
    assert archive == [decision.data for decision in decisions_of(interview())]
    assert projection.rejected == len(others())


async def test_after_a_crash_before_the_summary_a_repeat_publishes_it() -> None:
    log = log_of(KEY)
    store = MemoryStore()
    await ProjectorOverLog(store, log).projector.apply(log)
    again = ProjectorOverLog(store, log)
    await again.projector.apply(log)
    assert again.summaries[KEY].status == "completed"


class CountingStore(MemoryStore):
    """Counts the sessions that are read."""

    read = 0

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        self.read += len(keys)
        return await super().sessions(keys)


async def test_the_session_of_a_chat_in_progress_is_not_read_again() -> None:
    log, store = log_of(KEY, OTHER), CountingStore()
    projection = ProjectorOverLog(store, log)
    for start in range(0, len(log), 4):
        await projection.projector.apply(log[start : start + 4])
    assert store.read == 0
    assert await projection.stored() == await stored_once(log)


async def test_a_replica_continues_what_another_one_has_projected_meanwhile() -> None:
    log, store = log_of(KEY), CountingStore()
    first, second = ProjectorOverLog(store, log), ProjectorOverLog(store, log)
    for place, message in enumerate(log):
        await (first, second)[place % 2].projector.apply([message])
    assert store.read == len(log) - 1  # one read for each message of the other
    assert (await first.stored())[:-1] == (await stored_once(log))[:-1]


class AwayStore(MemoryStore):
    async def archive(self, events: Sequence[ArchivedEvent]) -> None:  # noqa: ARG002
        raise StoreUnavailableError("MongoDB: AutoReconnect")


async def test_with_an_unavailable_store_the_batch_is_to_be_repeated() -> None:
    log = log_of(KEY)
    with pytest.raises(ServerUnavailableError, match="AutoReconnect"):
        await ProjectorOverLog(AwayStore(), log).projector.apply(log)


async def test_a_restored_log_has_other_positions_and_nothing_is_lost(store: Store) -> None:
    projection = ProjectorOverLog(store, log_of(KEY))
    before = logs.messages(decisions_of(interview())[:9], first=1000)
    await ProjectorOverLog(store, before).projector.apply(before)
    await projection.projector.apply(projection.log[:12])
    await projection.projector.apply(projection.log[12:])
    assert (await store.sessions([KEY]))[KEY].last_seq == 18
    assert (await projection.stored())[1] == (await stored_once(projection.log))[1]
    assert projection.rejected == 0


async def test_a_restored_log_may_also_have_later_positions(store: Store) -> None:
    before = log_of(KEY)[:9]
    await ProjectorOverLog(store, before).projector.apply(before)
    projection = ProjectorOverLog(store, logs.messages(decisions_of(interview()), first=1000))
    for start in range(0, 18, 4):
        await projection.projector.apply(projection.log[start : start + 4])
    assert (await store.sessions([KEY]))[KEY].last_seq == 18
    assert projection.rejected == 0


async def test_a_message_of_a_lost_log_is_neither_projected_nor_waited_for(
    store: Store,
) -> None:
    before = logs.messages(decisions_of(interview())[:9], first=1000)
    await ProjectorOverLog(store, before).projector.apply(before)
    kept = await store.sessions([KEY])
    far = altered(decisions_of(interview())[5], seq=99)
    lost = ProjectorOverLog(store, [RawMessage(StreamSeq(1), subjects.event(KEY, "ui"), far)])
    await lost.projector.apply(lost.log)
    assert lost.rejected == 1
    assert await store.sessions([KEY]) == kept


async def test_a_copy_that_was_projected_as_the_event_is_replaced_by_the_events_of_the_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    real = decisions_of(interview())
    forged = json.loads(real[6].data)
    forged["body"]["text"] = "Burn the plants"
    answer = json.dumps(forged, separators=(",", ":")).encode()
    here = subjects.event(KEY, "runtime")
    log = [(one.subject, one.data) for one in logs.messages(real)]
    log.insert(7, (here, answer))
    projection = ProjectorOverLog(
        store, [RawMessage(StreamSeq(n), *one) for n, one in enumerate(log, 1)]
    )
    await projection.projector.apply(projection.log[:6])
    await projection.projector.apply(
        projection.log[7:8]
    )  # another replica has the true one in hand
    assert (await store.sessions([KEY]))[KEY].title == "Burn the plants"
    await projection.projector.apply(projection.log[8:])
    await projection.projector.apply(projection.log[6:7])
    assert (await store.sessions([KEY]))[KEY].title == "Water the plants"
    assert [one.data async for one in store.archive_records(KEY)] == [one.data for one in real]
    assert projection.summaries[KEY].title == "Water the plants"
    assert "is not an event" in caplog.text
