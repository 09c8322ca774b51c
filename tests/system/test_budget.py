"""A budget of the whole product: it ends an answer, and the chat goes on once there is room."""

import asyncio
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from contracts.ids import new_chat_id
from contracts.wire.frames import BudgetData, SpeakerData, TextData
from mozaiks_client import Chat, Client
from tests.patience import PATIENCE_SECONDS
from tests.system.product import Product

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(120),
]

USED_UP = "Your budget for today is used up"


async def shown(chat: Chat, *, from_turn: int) -> tuple[list[str], int]:
    """What a client that begins anew is shown until the user's turn, and the number of that turn.

    Budgets and texts; the turn is the first of the user from `from_turn` on.
    """
    found: list[str] = []
    async with aclosing(chat.stream()) as frames:
        async for frame in frames:
            match frame.data:
                case BudgetData() as budget:
                    assert budget.waits == (budget.state == "exceeded")
                    found.append(budget.message)
                case TextData(content=text):
                    found.append(text)
                case SpeakerData(selected_speaker="user", turn=turn) if turn >= from_turn:
                    return found, turn
                case _:
                    pass
    raise AssertionError("the stream has ended")


async def refused(client: Client) -> tuple[Chat, list[str], int]:
    """The first chat that the limit refuses: orchestrators know it within a second."""
    while True:
        chat = await client.start("HelloWorld", message="Hello")
        found, turn = await shown(chat, from_turn=2)
        if found[-1].startswith(USED_UP):
            return chat, found, turn


async def answered(chat: Chat, turn: int) -> list[str]:
    """What is shown once a message is answered."""
    while True:
        await chat.send("And now?")
        found, turn = await shown(chat, from_turn=turn + 1)
        if not found[-1].startswith(USED_UP):
            return found


async def limit_of(http: httpx.AsyncClient, path: str) -> dict[str, Any]:
    (limit,) = (await http.get(path)).json()["limits"]
    return dict(limit)


async def test_a_chat_without_room_says_so_to_every_client_and_goes_on_once_there_is(
    demo_product: Product,
) -> None:
    app, user = f"app-{new_chat_id()}", "ana"
    limit = {"scope": "user", "unit": "tokens", "period": "day", "hard": 1}
    path = f"/api/budgets/{app}"
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        httpx.AsyncClient(base_url=demo_product.address, timeout=20) as http,
        Client(demo_product.address, app=app, user=user) as client,
    ):
        assert (await http.put(path, json=limit)).status_code == 200
        chat, live, turn = await refused(client)
        assert (await shown(chat, from_turn=2))[0] == live
        await http.put(path, json={**limit, "hard": 1_000_000})
        later = await answered(chat, turn)
        assert later[: len(live)] == live
        left = await limit_of(http, f"{path}/{user}")
        while not left["used"]:  # settled after the answer is shown
            await asyncio.sleep(0.05)
            left = await limit_of(http, f"{path}/{user}")
        assert left["left"] == 1_000_000 - left["used"]
    assert demo_product.violations == []
