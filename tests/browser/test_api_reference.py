"""The page that shows the OpenAPI document: complete, and without any other host."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, async_playwright, expect

from services.transport.http import routes
from services.transport.http.api_document import build_document
from tests.browser.test_console import FLAGS, PATIENCE
from tests.transport.conftest import gateway as gateway
from tests.transport.conftest import shared_transport as shared_transport
from tests.transport.conftest import transport as transport

pytestmark = [pytest.mark.broker, pytest.mark.page]


@pytest.fixture
async def page(browser_path: Path) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        yield await browser.new_page()
        await browser.close()


async def test_every_operation_is_shown_and_nothing_is_loaded_from_elsewhere(
    transport: str, page: Page
) -> None:
    complaints: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    await page.goto(f"http://{transport}/schema/docs")
    document = build_document(routes.HANDLERS)
    operations = sum(len(methods) for methods in document["paths"].values())
    await expect(page.locator(".opblock")).to_have_count(operations, timeout=PATIENCE)
    await expect(page.get_by_role("button", name="Authorize")).to_be_visible()
    await page.locator("#operations-Chats-start_chat").click()
    await expect(page.get_by_text("request-1").first).to_be_visible(timeout=PATIENCE)
    assert complaints == []  # the browser reports each breach of the content security policy
    assert {host for host in hosts if host} == {transport}
