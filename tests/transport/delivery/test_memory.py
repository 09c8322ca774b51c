import asyncio
import ctypes
import gc
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from contracts.ids import AppId, ChatKey, QuestionId, new_chat_id
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport import memory_trim
from services.transport.connection_limit import ConnectionLimiter
from services.transport.delivery import projection_cache
from services.transport.delivery.broadcast import ChatChannel
from services.transport.delivery.chat_stream import ChatStream
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.delivery.subscriber import Subscriber
from services.transport.memory_trim import (
    MAX_RECENT_CHANGES,
    MIN_CHANGES,
    find_trim,
    is_due,
    trim_when_quiet,
)
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import Open
from tests.transport.story import STARTED, Chat, client, component_requested, user_message

OF_A_VIEWER = (ChatStream, Subscriber, ChatChannel, WebSocket, WebSocketsSansIOProtocol)


@pytest.fixture
async def no_collector() -> AsyncIterator[None]:
    """From here on only what nothing refers to is freed; nothing of earlier viewers is left."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while held():
            gc.collect()
            await asyncio.sleep(0.01)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held() -> Counter[str]:
    """How many objects of a viewer there are in this process."""
    kinds = Counter(
        type(one).__name__ for one in gc.get_objects() if issubclass(type(one), OF_A_VIEWER)
    )
    return +kinds


@pytest.mark.broker
@pytest.mark.parametrize("leave", ["with a close", "refused", "cut off"])
@pytest.mark.usefixtures("no_collector")
async def test_a_viewer_leaves_nothing_in_memory(
    open_transport: Open, chat: Chat, leave: str
) -> None:
    address = await open_transport()
    await chat.append(STARTED, user_message("hello"))
    user = "nobody" if leave == "refused" else "ana"
    for _ in range(3):
        viewer = await client(f"{address}{chat.path(user)}?after=0")
        if leave == "refused":
            await viewer.closed()
            continue
        await viewer.until("chat.resume_boundary")
        assert held()["ChatStream"] >= 1
        if leave == "cut off":
            viewer.abort()
        await viewer.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while held():  # noqa: ASYNC110  # the server's side ends a moment later
            await asyncio.sleep(0.01)


@pytest.mark.broker
async def test_cached_projections_are_limited_in_bytes(
    gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection_cache, "MAX_BYTES", 100_000)
    kept = ProjectionCache(gateway.events)
    for _ in range(4):
        chat = Chat(gateway, ChatKey(AppId("acme"), new_chat_id()))
        heavy = component_requested(QuestionId("q"), "artifact").model_copy(
            update={"payload": {"x": "y" * 40_000}}
        )
        await chat.append(STARTED, heavy, user_message("z" * 90_000))
        for _ in range(2):  # a chat that is read twice is cached once
            view = await kept.get(chat.key)
            assert view is not None
            assert view.last_seq == 3
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("done", "before", "now", "due"),
    [
        (0, MIN_CHANGES, MIN_CHANGES, True),
        (0, MIN_CHANGES - 1, MIN_CHANGES - 1, False),  # too few changes
        (0, 0, MIN_CHANGES, False),  # still changing
        (0, 1000, 1000 + MAX_RECENT_CHANGES, True),  # a few viewers always come and leave
        (1000, 1000, 1000, False),  # trimmed already
    ],
)
def test_a_trim_is_due_once_after_a_wave_of_viewers(
    done: int, before: int, now: int, *, due: bool
) -> None:
    assert is_due(done, before, now) is due


async def test_memory_is_trimmed_after_viewers_came_and_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_trim, "POLL_SECONDS", 0.001)
    connections, trimmed = ConnectionLimiter(MIN_CHANGES, MIN_CHANGES), asyncio.Event()
    giving = asyncio.create_task(trim_when_quiet(connections, trimmed.set))
    await asyncio.sleep(0)
    for _ in range(MIN_CHANGES):
        with connections.acquire(AppId("acme")):
            pass
    await asyncio.wait_for(trimmed.wait(), PATIENCE_SECONDS)
    giving.cancel()


def test_trimming_does_nothing_where_the_c_library_has_no_malloc_trim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_trim()()  # whatever this machine has

    def musl(_: Any) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", musl)
    find_trim()()
