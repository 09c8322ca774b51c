import asyncio
import ctypes
import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from contracts.ids import AppId, ChatKey, QuestionId, new_chat_id
from services.chassis.bus import Bus
from services.transport import memory, views
from services.transport.desk import Crowd
from services.transport.memory import CALM, CHANGES, find_trim, give_back_when_calm, is_due
from services.transport.refusals import RefusalError
from services.transport.rooms import Room, Seat
from services.transport.together import together
from services.transport.viewing import Viewing
from services.transport.views import Views
from tests.transport.conftest import Open
from tests.transport.story import STARTED, Chat, client, said, shows

OF_A_VIEWER = (Viewing, Seat, Room, WebSocket, WebSocketsSansIOProtocol)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """From here on only what nothing refers to is freed."""
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
async def test_nothing_of_a_viewer_stays_behind_it(
    open_transport: Open, chat: Chat, leave: str
) -> None:
    address = await open_transport()
    await chat.append(STARTED, said("hello"))
    user = "nobody" if leave == "refused" else "ana"
    for _ in range(3):
        viewer = await client(f"{address}{chat.path(user)}?after=0")
        if leave == "refused":
            await viewer.closed()
            continue
        await viewer.until("chat.resume_boundary")
        assert held()["Viewing"] >= 1
        if leave == "cut off":
            viewer.cut()
        await viewer.close()
    async with asyncio.timeout(10):
        while held():  # noqa: ASYNC110  # the server's side ends a moment later
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("no_collector")
async def test_an_error_of_one_half_keeps_nothing_of_the_others() -> None:
    class Burden:
        pass

    async def breaks() -> None:
        raise RefusalError("NOT_ALLOWED", "chat_id", "is another's")

    async def carries(_: Burden) -> None:
        await asyncio.Event().wait()

    with pytest.raises(RefusalError, match="is another's"):
        await together(breaks(), carries(Burden()))
    await asyncio.sleep(0)
    assert not [one for one in gc.get_objects() if type(one) is Burden]


@pytest.mark.broker
async def test_remembered_views_are_bounded_by_bytes(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "KEPT_BYTES", 100_000)
    kept = Views(bus)
    for _ in range(4):
        chat = Chat(bus, ChatKey(AppId("acme"), new_chat_id()))
        heavy = shows(QuestionId("q"), "artifact").model_copy(
            update={"payload": {"x": "y" * 40_000}}
        )
        await chat.append(STARTED, heavy, said("z" * 90_000))
        for _ in range(2):  # seen twice it is kept once
            view = await kept.of(chat.key)
            assert view is not None
            assert view.last_seq == 3
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("done", "before", "now", "due"),
    [
        (0, CHANGES, CHANGES, True),
        (0, CHANGES - 1, CHANGES - 1, False),  # too few for it to be worth it
        (0, 0, CHANGES, False),  # in the middle of a storm
        (0, 1000, 1000 + CALM, True),  # somebody always comes
        (1000, 1000, 1000, False),  # done already
    ],
)
def test_memory_is_given_back_after_a_storm_and_once(
    done: int, before: int, now: int, *, due: bool
) -> None:
    assert is_due(done, before, now) is due


async def test_memory_is_given_back_when_viewers_came_and_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "LOOK_SECONDS", 0.001)
    crowd, trimmed = Crowd(CHANGES, CHANGES), asyncio.Event()
    giving = asyncio.create_task(give_back_when_calm(crowd, trimmed.set))
    await asyncio.sleep(0)
    for _ in range(CHANGES):
        with crowd.one_more(AppId("acme")):
            pass
    await asyncio.wait_for(trimmed.wait(), 10)
    giving.cancel()


def test_trimming_is_harmless_where_the_c_library_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    find_trim()()  # whatever this machine has

    def musl(_: Any) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", musl)
    find_trim()()
