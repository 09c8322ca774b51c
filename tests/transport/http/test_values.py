"""Large values: a frame shows the beginning and names the whole, which only the chat's user gets."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.events.parts import DataPart
from contracts.events.turn import ToolReturned
from contracts.ids import AppId, ChatKey, new_chat_id
from contracts.large_values import LargeValue
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.story import (
    PLANNER,
    SELECTED,
    STARTED,
    Chat,
    client,
    component_requested,
)

pytestmark = pytest.mark.broker

ROWS = [[n, "x" * 20] for n in range(40_000)]
SHOWN = component_requested(display="artifact").model_copy(
    update={"payload": {"title": "Rain", "rows": ROWS}}
)


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


async def whole(http: httpx.AsyncClient, url: str) -> httpx.Response:
    return await http.get(url, params={"user_id": "ana"})


async def test_a_component_gets_the_beginning_of_its_payload_and_where_the_whole_is(
    http: httpx.AsyncClient, transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, SHOWN)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    meta = await viewer.until("chat_meta")
    frame = await viewer.until("chat.tool_call")
    payload = frame["data"]["payload"]
    assert payload["title"] == "Rain"
    assert len(json.dumps(payload)) < 10_000
    (link,) = payload["stored_values"]
    assert link["path"] == "/rows"
    answer = await whole(http, link["url"])
    assert answer.json() == ROWS
    assert len(answer.content) == link["size"]
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    (of_frame,) = frame["data"]["stored_values"]
    assert of_frame == {**link, "path": "/payload/rows"}
    assert meta["data"]["last_artifact"]["payload"]["stored_values"] == [link]


async def test_a_large_result_of_a_tool_names_the_whole(
    http: httpx.AsyncClient, transport: str, chat: Chat
) -> None:
    value = LargeValue.of_json(ROWS)
    await chat.gateway.values.put(chat.key, [value])
    part = DataPart(data=ROWS[:2], whole=value.reference)
    returned = ToolReturned(
        turn=1, call=0, agent=PLANNER, tool_call_id="c", name="n", status="ok", parts=[part]
    )
    await chat.append(STARTED, SELECTED, returned)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    frame = await viewer.until("chat.tool_activity")
    (link,) = frame["data"]["stored_values"]
    assert link["path"] == "/parts/0"
    assert (await whole(http, link["url"])).json() == ROWS


async def test_a_value_is_found_only_in_its_own_chat_by_its_own_user(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    value = LargeValue.of_json("x" * 300_000)
    await gateway.values.put(chat.key, [value])
    others = [
        Chat(gateway, ChatKey(chat.key.app, new_chat_id())),
        Chat(gateway, ChatKey(AppId("another"), chat.key.chat)),
    ]
    for one in (chat, *others):
        await one.append(STARTED)
    digest = value.reference.digest

    async def status(key: ChatKey, user: str = "ana", name: str = digest) -> tuple[int, Any]:
        path = f"/api/chats/{key.app}/{key.chat}/values/{name}"
        answer = await http.get(path, params={"user_id": user})
        return answer.status_code, answer.text

    assert (await status(chat.key))[0] == 200
    for one in others:
        code, text = await status(one.key)
        assert (code, "xxx" in text) == (404, False)
    assert (await status(chat.key, user="bob"))[0] == 404
    for name in ("0" * 64, digest[:-1], digest.upper(), "%2e%2e", f"{digest}.{digest}"):
        assert (await status(chat.key, name=name))[0] == 404, name
