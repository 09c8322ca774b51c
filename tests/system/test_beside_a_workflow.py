"""What a person does beside the conversation of a workflow, on the product as they start it."""

import asyncio
import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.system.product import Product, running
from tests.transport.chat_ui import ChatUi, open_page

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("product"),
]

WHO = {"user_id": "ana", "client_request_id": "beside"}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("beside")) as started:
        yield started


async def until(page: ChatUi, reached: Callable[[ChatUi], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached(page):
            await page.next()


async def answer(page: ChatUi) -> str:
    """The whole of what is said next by anyone but the person."""
    said = len(page.bubbles)
    await until(page, lambda page: len(page.bubbles) > said + 1 and not page.bubbles[-1].streaming)
    assert page.bubbles[-1].agent != "You"
    return page.bubbles[-1].content


async def test_a_file_is_given_a_question_asked_and_the_workflow_goes_on(product: Product) -> None:
    async with httpx.AsyncClient(base_url=product.address, timeout=30) as http:
        begun = (await http.post("/api/chats/acme/HelloWorld/start", json=WHO)).json()
        chat = begun["chat_id"]
        page = await open_page(
            product.address.removeprefix("http://"), chat, begun["websocket_url"]
        )
        await page.submit("Hello there")
        assert "Hello there" in await answer(page)

        form = {"appId": "acme", "userId": "ana", "chatId": chat, "intent": "context"}
        sent = await http.post("/api/chat/upload", data=form, files={"file": ("a.csv", b"rye,3\n")})
        await until(page, lambda page: bool(page.ignored.get("attachment_uploaded")))
        stored = {"file_path": sent.json()["attachment"]["stored_path"], "user_id": "ana"}
        assert (await http.get("/api/download/workflow-file", params=stored)).content == b"rye,3\n"

        await page.submit("What is sourdough?", conversation_mode="ask")
        assert "What is sourdough?" in await answer(page)
        assert page.mode == "general"
        listed = await http.get("/api/general_chats/list/acme/ana")
        assert [one["label"] for one in listed.json()["sessions"]] == ["General Chat #1"]

        back = {"type": "chat.switch_workflow", "chat_id": chat, "frontend_context": {"route": "/"}}
        await page.socket.send(json.dumps(back))
        await until(page, lambda page: page.mode == "workflow" and page.dividers == 2)
        await page.submit("And now?")
        assert "And now?" in await answer(page)
        told = [line for who, line in page.lines if who == "You"]
        assert told == ["Hello there", "What is sourdough?", "And now?"]
        await page.socket.close()
