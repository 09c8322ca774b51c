"""Large values of events are archived with them, and come back to NATS in a restore."""

import pytest

from contracts import subjects
from contracts.event_log import StoredEvent
from contracts.events import Event
from contracts.events.chat import ChatStarted
from contracts.events.parts import TextPart
from contracts.events.turn import ToolReturned, VariablesChanged
from contracts.ids import AgentName, AppId, ChatKey, StreamSeq, UserId
from contracts.large_values import LargeValue
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.value_store import ValueLostError
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.restore import restore
from services.persistence.settings import Settings
from services.persistence.store.interface import ArchivedEvent, Store
from services.persistence.store.memory import MemoryStore
from services.persistence.store.mongo.store import MongoStore
from services.persistence.verify import verify
from tests.persistence.live import append, running, until
from tests.persistence.story import KEY, decisions_of
from tests.persistence.test_projector import MemoryValues

OTHER = ChatKey(AppId("other.corp"), KEY.chat)
WRITER = AgentName("Writer")
PAGE = "é" * 1_000_000
RESULT = LargeValue.of_json("x" * 3_000_000)
LARGE = VariablesChanged(turn=1, agent=WRITER, changed={"page": PAGE, "n": 1})
CUT = ToolReturned(
    turn=1,
    call=0,
    agent=WRITER,
    tool_call_id="c",
    name="n",
    status="ok",
    parts=[TextPart(text="xxx [cut]", whole=RESULT.reference)],
)
CHAT: list[Event] = [ChatStarted(user_id=UserId("ana"), seed=1), LARGE, CUT]


def events_of(key: ChatKey = KEY) -> tuple[list[ArchivedEvent], list[LargeValue]]:
    """The events as they are read from the log, and their values."""
    decisions = decisions_of(CHAT, key)
    values = [value for decision in decisions for value in decision.large]
    events = [
        ArchivedEvent(StoredEvent(one.envelope, one.event, one.data), StreamSeq(number))
        for number, decision in enumerate(decisions, 1)
        for one in decision.events
    ]
    return events, [*values, RESULT]


async def test_the_values_of_events_are_archived_and_stored_again_where_they_are_lost(
    store: Store,
) -> None:
    events, values = events_of()
    stored = MemoryValues()
    await stored.put(KEY, values)
    archive = ValueArchive(store, stored)
    for _ in range(2):  # a batch may come twice
        await archive.add(events)
    for value in values:
        assert await store.archived_value(KEY, value.reference.digest) == value.data
        assert await store.archived_value(OTHER, value.reference.digest) is None
    assert await archive.missing(events) == []
    emptied = MemoryValues()
    missing = await ValueArchive(store, emptied).missing(events)
    assert [one.where for one in missing] == ["log", "log"]
    await ValueArchive(store, emptied).restore(events)
    assert emptied.data == stored.data


async def test_a_lost_value_stops_neither_the_archive_nor_a_restore(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events, values = events_of()
    store, stored = MemoryStore(), MemoryValues()
    await stored.put(KEY, values[:1])
    archive = ValueArchive(store, stored)
    await archive.add(events)
    assert await store.archived_value(KEY, values[0].reference.digest) == values[0].data
    await archive.restore(events)
    assert {record.message for record in caplog.records} == {
        "a large value is not archived",
        "a large value is not in the archive",
    }


@pytest.mark.broker
async def test_a_restore_brings_large_values_back_to_nats(
    settings: Settings,
    gateway: JetStreamGateway,
    mongo_store: MongoStore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, values = events_of()
    await gateway.values.put(KEY, values)
    await append(gateway, decisions_of(CHAT))

    async def is_archived() -> bool:
        return KEY in await mongo_store.sessions([KEY])

    async with running(settings):
        await until(is_archived)
    stream = subjects.object_stream(subjects.VALUES)
    await gateway.js.purge_stream(stream)
    with pytest.raises(ValueLostError):
        await gateway.values.get(KEY, values[0].reference.digest)
    assert await verify(None, None, settings) == 1
    said = capsys.readouterr().out
    assert f"log: event 2: its value {values[0].reference.digest} is missing" in said
    assert await restore(settings) == 0
    assert await verify(None, None, settings) == 0
    for value in values:
        assert await gateway.values.get(KEY, value.reference.digest) == value.data
