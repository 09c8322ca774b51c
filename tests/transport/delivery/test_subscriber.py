import asyncio

import pytest

from contracts.events import Event
from contracts.ids import Seq, StreamSeq
from services.chassis.tasks import cancel_and_wait
from services.transport.delivery import subscriber as subscribers
from services.transport.delivery.subscriber import (
    Appended,
    Lagging,
    Overdue,
    ResumeRequested,
    Streamed,
    Subscriber,
    TailReached,
    Unsubscribed,
)
from tests.logs import decisions
from tests.transport.story import KEY, SELECTED, STARTED, chunk, user_messages


def appended(*events: Event) -> list[Appended]:
    """Each event as a decision of its own."""
    return [Appended(StreamSeq(n), one) for n, one in enumerate(decisions(events, KEY), 1)]


async def test_messages_are_queued_in_order() -> None:
    subscriber, (first, second) = Subscriber(2), appended(STARTED, SELECTED)
    subscriber.offer(first)
    subscriber.offer(second)
    assert [await subscriber.next(), await subscriber.next()] == [first, second]


async def test_a_full_queue_is_dropped_and_says_how_far_the_log_must_reach() -> None:
    subscriber, (first, second, third) = Subscriber(1), appended(*user_messages(3))
    subscriber.offer(first)
    subscriber.offer(second)
    subscriber.offer(Streamed(chunk(0, "word")))
    assert await subscriber.next() == Lagging(StreamSeq(2))
    subscriber.offer(third)
    assert await subscriber.next() == third


async def test_the_queue_is_limited_in_bytes_too() -> None:
    subscriber, (first, second, third) = Subscriber(9), appended(*user_messages(3))
    subscriber.offer(first, subscribers.QUEUE_BYTES - 1)
    subscriber.offer(second, 2)
    assert await subscriber.next() == Lagging(StreamSeq(2))
    subscriber.offer(third, subscribers.QUEUE_BYTES)
    assert await subscriber.next() == third


async def test_a_replay_request_comes_before_queued_messages() -> None:
    subscriber, (first,) = Subscriber(1), appended(STARTED)
    subscriber.offer(first)
    subscriber.resume_from(Seq(0))
    assert [await subscriber.next(), await subscriber.next()] == [ResumeRequested(Seq(0)), first]


async def test_an_unsubscribed_viewer_gets_nothing_else() -> None:
    subscriber, (first,) = Subscriber(1), appended(STARTED)
    subscriber.offer(first)
    subscriber.resume_from(Seq(0))
    subscriber.unsubscribe()
    assert [await subscriber.next(), await subscriber.next()] == [Unsubscribed(), Unsubscribed()]


async def test_what_the_viewer_sent_is_overdue_once_where_no_event_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.transport.delivery.subscriber.OVERDUE_SECONDS", 0.01)
    subscriber, (first,) = Subscriber(2), appended(STARTED)
    subscriber.expect()
    assert isinstance(await subscriber.next(), Overdue)
    subscriber.expect()
    subscriber.offer(first)
    assert await subscriber.next() == first
    subscriber.report_tail(first.position)
    assert isinstance(await subscriber.next(), TailReached)
    waiting = asyncio.create_task(subscriber.next())
    await asyncio.sleep(0.05)
    assert not waiting.done()  # it was taken up, and nothing is expected any more
    await cancel_and_wait(waiting)
