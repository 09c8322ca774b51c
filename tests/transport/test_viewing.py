import asyncio

import pytest

from contracts.event_log import Decision
from contracts.ids import Seq
from services.chassis.bus import Bus
from services.chassis.ending import end
from services.transport import feed
from services.transport.feed import Viewer
from services.transport.frames import Frame
from services.transport.rooms import Happened, Room, Seat
from services.transport.viewing import Viewing
from services.transport.views import Views
from tests.transport.story import STARTED, Chat, client, many

pytestmark = pytest.mark.broker


async def happened(chat: Chat) -> list[Happened]:
    """The chat's messages, as a subscription hears them."""
    return [
        Happened(commit.place.position, Decision(chat.key, "chat", commit.events))
        async for commit in chat.bus.events.read(chat.key)
    ]


async def test_a_jump_is_healed_from_the_log_and_an_overlap_is_dropped(
    bus: Bus, chat: Chat
) -> None:
    await chat.append(STARTED, *many(2))
    view = await Views(bus).of(chat.key)
    assert view is not None
    sent: asyncio.Queue[Frame] = asyncio.Queue()
    seat, room = Seat(9), Room(bus, chat.key)
    viewing = Viewing(bus, room, seat, view, Viewer(), Seq(0), sent.put, feed)
    task = asyncio.create_task(viewing.run())
    while (await sent.get()).type != "chat.resume_boundary":
        pass
    for event in many(3):
        await chat.append(event)
    stored = await happened(chat)
    for one in (stored[1], stored[3], stored[2]):  # old, beyond a jump, and then what was jumped
        seat.offer(one)
    await chat.append(*many(1))
    seat.offer((await happened(chat))[-1])
    assert [(await sent.get()).seq for _ in range(4)] == [4, 5, 6, 7]
    assert sent.empty()
    await end(task)


async def test_an_event_whose_message_was_lost_is_found_by_a_look_at_the_silent_chat(
    bus: Bus, chat: Chat
) -> None:
    await chat.append(STARTED)
    view = await Views(bus).of(chat.key)
    assert view is not None
    sent: asyncio.Queue[Frame] = asyncio.Queue()
    room = Room(bus, chat.key)  # which hears nothing: no one has subscribed for it
    with room.seat(9) as seat:
        viewing = Viewing(bus, room, seat, view, Viewer(), Seq(0), sent.put, feed)
        task = asyncio.create_task(viewing.run())
        while (await sent.get()).type != "chat.resume_boundary":
            pass
        await chat.append(*many(1))
        for _ in range(2):  # silent is to whom nothing came since the last look
            await room.look()
        assert (await asyncio.wait_for(sent.get(), 10)).seq == 2
        await room.look()
        await chat.append(*many(1))
        await room.look()
        assert (await asyncio.wait_for(sent.get(), 10)).seq == 3
        await end(task)


async def test_a_viewing_ends_when_its_viewer_leaves_also_in_the_middle_of_the_history(
    bus: Bus, chat: Chat
) -> None:
    await chat.append(STARTED, *many(9))
    view = await Views(bus).of(chat.key)
    assert view is not None
    seat, room = Seat(9), Room(bus, chat.key)
    shown: list[Frame] = []

    async def show(frame: Frame) -> None:
        shown.append(frame)
        if frame.seq == 3:
            seat.leave()

    viewing = Viewing(bus, room, seat, view, Viewer(), Seq(0), show, feed)
    await asyncio.wait_for(viewing.run(), 10)
    assert [frame.seq for frame in shown] == [1, 2, 3]
    assert viewing.cursor == 3


async def test_a_cursor_past_the_end_hides_nothing_that_is_still_to_come(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{transport}{chat.path()}?after=99")
    await viewer.until("chat.resume_boundary")
    await chat.append(*many(1))
    await viewer.until("chat.text", seq=2)
    await viewer.close()


@pytest.mark.parametrize(
    ("query", "field"),
    [("after=x", "after"), ("after=-1", "after"), ("after=0&events=2", "events")],
)
async def test_a_cursor_that_is_none_is_refused(
    transport: str, chat: Chat, query: str, field: str
) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{transport}{chat.path()}?{query}")
    assert await viewer.closed() == 1008
    assert viewer.frames[0]["data"]["field"] == field
