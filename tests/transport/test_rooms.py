import pytest

from contracts.events import Event
from contracts.ids import Seq, StreamSeq
from services.chassis.bus import Bus
from services.transport import rooms
from services.transport.rooms import Behind, Happened, Left, Rewound, Rooms, Seat
from tests.logs import decisions
from tests.transport.story import KEY, SELECTED, STARTED, Chat, chunk, many


def happened(*events: Event) -> list[Happened]:
    """Each event as a decision of its own."""
    return [Happened(StreamSeq(n), one) for n, one in enumerate(decisions(events, KEY), 1)]


async def test_what_is_offered_waits_in_order() -> None:
    seat, (first, second) = Seat(2), happened(STARTED, SELECTED)
    seat.offer(first)
    seat.offer(second)
    assert [await seat.next(), await seat.next()] == [first, second]


async def test_a_full_seat_forgets_what_waits_and_knows_how_far_the_log_must_reach() -> None:
    seat, (first, second, third) = Seat(1), happened(*many(3))
    seat.offer(first)
    seat.offer(second)
    seat.offer(chunk(0, "word"))
    assert await seat.next() == Behind(StreamSeq(2))
    seat.offer(third)
    assert await seat.next() == third


async def test_what_waits_is_bounded_in_bytes_too() -> None:
    seat, (first, second, third) = Seat(9), happened(*many(3))
    seat.offer(first, rooms.SEAT_BYTES - 1)
    seat.offer(second, 2)
    assert await seat.next() == Behind(StreamSeq(2))
    seat.offer(third, rooms.SEAT_BYTES)
    assert await seat.next() == third


async def test_a_rewind_comes_before_all_that_waits() -> None:
    seat, (first,) = Seat(1), happened(STARTED)
    seat.offer(first)
    seat.rewind(Seq(0))
    assert [await seat.next(), await seat.next()] == [Rewound(Seq(0)), first]


async def test_who_leaves_a_seat_hears_of_nothing_else() -> None:
    seat, (first,) = Seat(1), happened(STARTED)
    seat.offer(first)
    seat.rewind(Seq(0))
    seat.leave()
    assert [await seat.next(), await seat.next()] == [Left(), Left()]


@pytest.mark.broker
async def test_a_room_is_shared_and_closed_behind_the_last_viewer(bus: Bus, chat: Chat) -> None:
    opened = Rooms(bus)
    async with opened.seat(chat.key) as (room, first):
        async with opened.seat(chat.key) as (same, second):
            assert room is same
            assert len(opened) == 1
            await chat.append(STARTED)
            news = [await first.next(), await second.next()]
            assert news[0] is news[1]
        await chat.append(SELECTED)
        assert isinstance(await first.next(), Happened)
    assert len(opened) == 0
