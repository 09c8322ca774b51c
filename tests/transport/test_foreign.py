"""A message that is no event of its chat is skipped by every viewer, and hides nothing after it."""

import logging

import httpx
import pytest

from contracts.event_log import Head
from contracts.events import Event
from contracts.ids import AppId, ChatKey, Seq, new_chat_id
from services.chassis.bus import Bus
from services.transport.rooms import Rooms
from services.transport.views import Views
from tests.foreign import FOREIGN, forged
from tests.logs import decisions
from tests.transport.conftest import Open
from tests.transport.story import COMPLETED, LOGGED, SELECTED, STARTED, Chat, Client, client, said

pytestmark = pytest.mark.broker


async def intrude(chat: Chat, kind: str) -> None:
    assert chat.last is not None
    await chat.intrude(FOREIGN[kind](chat.last))


async def watch(transport: str, chat: Chat, after: int) -> Client:
    """Somebody who is shown every event as it is stored."""
    viewer = await client(f"{transport}{chat.path()}?after={after}&events=1")
    await viewer.until("chat.resume_boundary")
    return viewer


async def seen(viewer: Client, last: int) -> list[int]:
    await viewer.until("chat.event", seq=last)
    await viewer.close()
    return viewer.seqs()


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_viewer_before_whom_it_happens_sees_the_events_and_nothing_else(
    transport: str, chat: Chat, kind: str
) -> None:
    await chat.append(STARTED, said("1"))
    viewer = await watch(transport, chat, 0)
    await chat.append(said("2"))
    await intrude(chat, kind)
    await chat.append(said("3"), said("4"))
    await intrude(chat, kind)
    await chat.append(COMPLETED)
    assert await seen(viewer, 6) == [1, 2, 3, 4, 5, 6]
    assert "never" not in str(viewer.frames)


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_viewer_who_comes_back_by_a_cursor_on_either_side_misses_no_event(
    transport: str, chat: Chat, kind: str
) -> None:
    await chat.append(STARTED)
    for text in ("1", "2"):
        await chat.append(said(text))
    await intrude(chat, kind)
    for text in ("3", "4"):
        await chat.append(said(text))
    await intrude(chat, kind)
    for cursor in range(6):
        viewer = await watch(transport, chat, cursor)
        await viewer.close()
        assert viewer.seqs() == list(range(cursor + 1, 6)), cursor
        assert "never" not in str(viewer.frames)


async def test_a_chain_of_forged_events_from_the_viewers_cursor_on_is_not_followed(
    transport: str, chat: Chat, bus: Bus
) -> None:
    for event in (STARTED, said("1"), said("2"), said("3"), said("4")):
        await chat.append(event)
    other = Chat(bus)
    for number in range(40):  # so that a search by position comes upon the forged ones first
        await other.append(STARTED if number == 0 else said("elsewhere"))
    chain = decisions([said("never")] * 3, chat.key, head=Head(Seq(2), "A" * 43))
    for decision in chain:
        await chat.intrude(decision.data)
    for cursor in range(6):
        viewer = await watch(transport, chat, cursor)
        await viewer.close()
        assert viewer.seqs() == list(range(cursor + 1, 6)), cursor
        assert "never" not in str(viewer.frames)


@pytest.mark.parametrize("kind", FOREIGN)
async def test_what_is_known_of_a_chat_comes_from_its_events_alone(
    bus: Bus, chat: Chat, kind: str
) -> None:
    views = Views(bus)
    await chat.append(STARTED)
    await views.of(chat.key)
    await chat.append(SELECTED)
    await intrude(chat, kind)
    view = await views.of(chat.key)
    assert view is not None
    assert (view.last_seq, view.ended, view.place) == (2, None, chat.place)
    assert view.speaker == SELECTED.agent
    assert await Views(bus).of(chat.key) == view


async def test_a_chat_in_which_nothing_counts_is_no_chat(bus: Bus, chat: Chat) -> None:
    (begun,) = chat.decided(STARTED)
    await chat.intrude(forged(begun, Head(Seq(4), "A" * 43)))
    assert await Views(bus).of(chat.key) is None


async def test_the_numbers_of_a_transport_tell_events_from_what_is_none(
    open_transport: Open, chat: Chat
) -> None:
    transport = await open_transport()
    await chat.append(STARTED)
    viewers = [await watch(transport, chat, 0) for _ in range(2)]
    happens: list[Event] = [said("1"), LOGGED, SELECTED]
    for kind in FOREIGN:
        await chat.append(*happens)
        await intrude(chat, kind)
    await chat.append(COMPLETED)
    for viewer in viewers:
        assert await seen(viewer, chat.seq) == list(range(1, chat.seq + 1))
    async with httpx.AsyncClient(base_url=f"http://{transport}") as http:
        told = (await http.get("/api/events/metrics")).json()["data"]
    assert told["events_failed"] == len(FOREIGN)
    assert told["events_processed"] == chat.seq - 1
    assert told["events_by_category"]["business"] == len(FOREIGN)


async def test_an_event_that_no_subscription_brought_is_counted_when_a_viewer_finds_it(
    bus: Bus, chat: Chat
) -> None:
    rooms = Rooms(bus)
    await chat.append(STARTED)
    key = ChatKey(AppId("acme"), new_chat_id())
    async with rooms.seat(key) as (room, _):  # of another chat: this one's messages are all lost
        before = chat.place
        room.begin(before)
        await chat.append(said("1"))
        await intrude(chat, "a seq far ahead")
        async for commit in bus.events.read(chat.key, after=before):
            for _ in range(2):  # two viewers
                room.settle(before, commit)
            before = commit.place
    assert (rooms.tally.by_category["runtime"], rooms.tally.rejected) == (1, 1)


async def test_what_is_skipped_is_said_in_the_log_with_its_place(
    transport: str, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    await chat.append(STARTED)
    viewer = await watch(transport, chat, 0)
    caplog.clear()
    await intrude(chat, "a seq far ahead")
    position = chat.place.position
    await chat.append(said("1"))
    await seen(viewer, 2)
    told = [line.__dict__ for line in caplog.records if line.levelno == logging.WARNING]
    assert {(line["position"], line["why"]) for line in told} == {
        (position, "seq: 1000001 where 2 comes next")
    }
