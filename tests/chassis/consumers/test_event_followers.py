"""Followers of all streams of events, while streams are added: without a server."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from nats.errors import Error as NatsError

from contracts.event_streams import spread_over
from contracts.subjects import EVENTS
from services.chassis.consumers import event_followers
from services.chassis.consumers.event_followers import EventFollowers, EventSubscriber
from services.chassis.jetstream.event_streams import EventStreamLocator
from tests.patience import PATIENCE_SECONDS

NEW = "EVENTS_32"


class Streams:
    """Those of the product: one until it is spread."""

    def __init__(self) -> None:
        self.count = 1

    async def streams(self) -> Any:
        return spread_over(self.count)


class Subscriber:
    """What a subscriber of FastStream does when it is started and stopped."""

    def __init__(self, stops: Callable[[], None] = lambda: None, *, fails: bool = False) -> None:
        self.running = False
        self._stops = stops
        self._fails = fails

    async def start(self) -> None:
        if self._fails:
            raise NatsError("no answer")
        self.running = True

    async def stop(self) -> None:
        self.running = False
        self._stops()
        await asyncio.sleep(0.001)  # others run


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_no_stream_is_added_while_the_followers_are_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_followers, "CHECK_SECONDS", 0)
    streams, running = Streams(), list[set[str]]()
    subscribers: dict[str, Subscriber] = {}

    def spread() -> None:
        streams.count = 2

    async def subscribe(stream: str) -> EventSubscriber:
        subscribers[stream] = Subscriber(spread)
        return cast("EventSubscriber", subscribers[stream])

    followers = EventFollowers(cast("EventStreamLocator", streams), subscribe)
    await followers.open()
    followers.start()
    await followers.restart(
        lambda: running.append({name for name, one in subscribers.items() if one.running})
    )
    assert running == [set()]
    await until(lambda: len(subscribers) == 2 and all(one.running for one in subscribers.values()))
    await followers.stop()
    assert not any(one.running for one in subscribers.values())


async def test_a_stream_that_cannot_be_followed_at_first_is_followed_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_followers, "CHECK_SECONDS", 0)
    streams, refusals = Streams(), iter(range(2))
    subscribers: dict[str, Subscriber] = {}

    async def subscribe(stream: str) -> EventSubscriber:
        if stream == NEW and next(refusals, None) is not None:
            raise ValueError("a consumer with another configuration")
        subscribers[stream] = Subscriber(fails=stream == NEW and NEW not in subscribers)
        return cast("EventSubscriber", subscribers[stream])

    followers = EventFollowers(cast("EventStreamLocator", streams), subscribe)
    await followers.open()
    followers.start()
    streams.count = 2
    await until(lambda: NEW in subscribers and subscribers[NEW].running)
    assert followers.problem == f"the consumer of {EVENTS} stopped"  # nobody has started it here
    await followers.stop()
