"""The console page in a real browser, on the real product with the demo model."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.system.product import Product, running

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.page,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("page"),
]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 20_000
"""Milliseconds that anything on the page may take."""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("page"), DEMO_PAUSE_SECONDS="0.08") as started:
        yield started


@pytest.fixture(scope="module")
def browser(browser_path: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, product: Product) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(product.address)
    yield opened
    context.close()
    assert faults == []


def start_generator(page: Page) -> None:
    page.get_by_test_id("new-chat-Generator").click()
    expect(page.get_by_test_id("status")).to_contain_text("onnected", timeout=PATIENCE)


def answer(page: Page, text: str) -> None:
    page.get_by_test_id("question-input").last.fill(text)
    page.get_by_test_id("question-send").last.click()


def seqs(page: Page) -> list[int]:
    rows = page.get_by_test_id("event-row").all()
    return [int(row.get_attribute("data-seq") or "0") for row in rows]


def test_a_person_takes_the_generator_to_its_end_across_a_reload_in_mid_stream(page: Page) -> None:
    start_generator(page)
    expect(page.get_by_test_id("demo-notice")).to_be_visible(timeout=PATIENCE)
    streaming = page.locator('[data-testid="bubble"][data-streaming="true"]')
    expect(streaming).to_have_count(1, timeout=PATIENCE)
    early = streaming.inner_text()
    expect(streaming).not_to_have_text(early, timeout=PATIENCE)  # a token has arrived

    expect(page.get_by_test_id("question")).to_be_visible(timeout=PATIENCE)
    answer(page, "A bakery app")

    planner = page.locator('[data-testid="bubble"][data-agent="Planner"]')
    expect(planner.first).to_be_visible(timeout=PATIENCE)
    page.reload()
    expect(page.get_by_text("A bakery app").first).to_be_visible(timeout=PATIENCE)
    expect(planner.first).to_contain_text("estimate the effort of each", timeout=PATIENCE)

    page.get_by_test_id("option").first.click()
    expect(page.get_by_test_id("chat-status")).to_contain_text(
        re.compile("completed", re.IGNORECASE), timeout=PATIENCE
    )
    said = page.get_by_test_id("bubble").all_inner_texts()
    assert sum("Let me find out what we are going to build" in text for text in said) == 1
    assert sum("That was the whole workflow" in text for text in said) == 1
    shown = seqs(page)
    assert shown == sorted(set(shown))


def test_two_windows_show_the_same(page: Page) -> None:
    page.get_by_test_id("new-chat-HelloWorld").click()
    expect(page.get_by_test_id("composer")).to_be_enabled(timeout=PATIENCE)
    page.get_by_test_id("composer").fill("Good morning")
    page.get_by_test_id("send").click()
    greeting = "You said: “Good morning”"
    expect(page.get_by_text(greeting).first).to_be_visible(timeout=PATIENCE)

    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_text(greeting).first).to_be_visible(timeout=PATIENCE)
    page.get_by_test_id("composer").fill("And a good evening")
    page.get_by_test_id("send").click()
    for window in (page, other):
        expect(window.get_by_text("And a good evening").first).to_be_visible(timeout=PATIENCE)
    expect(other.get_by_text("I heard you: “And a good evening”").first).to_be_visible(
        timeout=PATIENCE
    )


def test_a_running_chat_is_cancelled_and_says_so(page: Page) -> None:
    start_generator(page)
    expect(page.get_by_test_id("question")).to_be_visible(timeout=PATIENCE)
    page.get_by_test_id("cancel").click()
    expect(page.get_by_test_id("chat-status")).to_contain_text(
        re.compile("cancelled", re.IGNORECASE), timeout=PATIENCE
    )


def test_a_page_whose_transport_dies_comes_back_by_itself(page: Page, product: Product) -> None:
    start_generator(page)
    expect(page.get_by_test_id("question")).to_be_visible(timeout=PATIENCE)
    product.kill("transport")
    expect(page.get_by_test_id("status")).to_contain_text(
        re.compile("reconnect", re.IGNORECASE), timeout=PATIENCE
    )
    expect(page.get_by_test_id("status")).to_have_text(
        re.compile("^connected$", re.IGNORECASE), timeout=PATIENCE
    )
    answer(page, "A shop")
    expect(page.locator('[data-testid="bubble"][data-agent="Planner"]').first).to_be_visible(
        timeout=PATIENCE
    )
    shown = seqs(page)
    assert shown == list(range(shown[0], shown[0] + len(shown)))
