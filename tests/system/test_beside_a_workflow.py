"""What a person does beside the conversation of a workflow, on the product as they start it."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from mozaiks_client import Client
from tests.patience import PATIENCE_SECONDS
from tests.system.product import Product
from tests.transport.chat_ui import ChatUi, open_page

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
]


@pytest.fixture
def product(demo_product: Product) -> Product:
    return demo_product


async def until(page: ChatUi, reached: Callable[[ChatUi], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not reached(page):
            await page.next()


async def answer(page: ChatUi) -> str:
    """The whole of what is said next by anyone but the person."""
    said = len(page.bubbles)
    await until(page, lambda page: len(page.bubbles) > said + 1 and not page.bubbles[-1].streaming)
    assert page.bubbles[-1].agent != "You"
    return page.bubbles[-1].content


async def test_a_file_is_given_a_question_asked_and_the_workflow_goes_on(product: Product) -> None:
    async with (
        httpx.AsyncClient(base_url=product.address, timeout=30) as http,
        Client(product.address, app="acme", user="ana") as client,
    ):
        chat = await client.start("HelloWorld", client_request_id="beside")
        path = f"/ws/HelloWorld/acme/{chat.id}/ana"
        page = await open_page(product.address.removeprefix("http://"), chat.id, path)
        await page.submit("Hello there")
        assert "Hello there" in await answer(page)

        attachment = await chat.upload("a.csv", b"rye,3\n")
        await until(page, lambda page: bool(page.ignored.get("attachment_uploaded")))
        assert await chat.download(attachment) == b"rye,3\n"

        await page.submit("What is sourdough?", conversation_mode="ask")
        assert "What is sourdough?" in await answer(page)
        assert page.mode == "general"
        listed = await http.get("/api/general_chats/list/acme/ana")
        assert [one["label"] for one in listed.json()["sessions"]] == ["General Chat #1"]

        back = {
            "type": "chat.switch_workflow",
            "chat_id": chat.id,
            "frontend_context": {"route": "/"},
        }
        await page.socket.send(json.dumps(back))
        await until(page, lambda page: page.mode == "workflow" and page.dividers == 2)
        await page.submit("And now?")
        assert "And now?" in await answer(page)
        told = [line for who, line in page.lines if who == "You"]
        assert told == ["Hello there", "What is sourdough?", "And now?"]
        await page.socket.close()
