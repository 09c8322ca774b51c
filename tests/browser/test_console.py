"""The console page in a real browser, on the real product with the demo model."""

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from contracts.ids import AgentName, AppId, ChatKey, UserId, WorkflowName, new_chat_id
from services.chassis.settings import Settings
from tests.browser.payments import workflows_with_payments
from tests.gateway import connected_gateway
from tests.system.product import Product, running
from tests.transport.story import DONE, RESPONDED, SELECTED, STARTED, Chat, user_message

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
PATIENCE = 60_000
"""Milliseconds that anything on the page may take."""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """With the demo model itself, of which the page has a notice."""
    folder = tmp_path_factory.mktemp("page")
    demo = {
        "OPENAI_API_KEY": "",
        "DEMO_WORD_DELAY_SECONDS": "0.08",
        "WORKFLOWS_PATH": str(workflows_with_payments(folder)),
    }
    with running(folder, **demo) as started:
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


TURNS = 60
LONG = ChatKey(AppId("local-dev"), new_chat_id())


async def _append_long_chat(settings: Settings) -> None:
    async with connected_gateway(settings) as gateway:
        chat = Chat(gateway, LONG, workflow=WorkflowName("HelloWorld"))
        await chat.append(STARTED.model_copy(update={"user_id": UserId("56132")}))
        for turn in range(1, TURNS + 1):
            number = {"turn": turn, "agent": AgentName("Greeter")}
            await chat.append(
                user_message(f"Question {turn}"),
                SELECTED.model_copy(update=number),
                RESPONDED.model_copy(update={**number, "text": f"Answer {turn}. " * 12}),
                DONE.model_copy(update=number),
            )


@pytest.fixture(scope="module")
def long_chat(product: Product) -> str:
    """The address of a chat of 241 events, more than two pages of the console."""
    with ThreadPoolExecutor() as pool:  # this thread has Playwright's event loop
        pool.submit(asyncio.run, _append_long_chat(product.settings)).result()
    return f"{product.address}/#/{LONG.app}/HelloWorld/{LONG.chat}"


WIDTHS = pytest.mark.parametrize("width", [1280, 390])


def open_chat(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    expect(page.get_by_text(f"Answer {TURNS}.").first).to_be_in_viewport(timeout=PATIENCE)


def place_of(page: Page, text: str) -> float:
    box = page.get_by_text(text, exact=True).bounding_box()
    assert box is not None
    return box["y"]


@WIDTHS
def test_a_long_chat_is_opened_by_its_end_and_earlier_messages_on_demand(
    page: Page, long_chat: str, width: int
) -> None:
    open_chat(page, long_chat, width)
    bubbles, earlier = page.get_by_test_id("bubble"), page.get_by_test_id("earlier")
    assert bubbles.count() == 50
    first = "Question 36"
    page.get_by_text(first, exact=True).scroll_into_view_if_needed()
    expect(bubbles).to_have_count(100, timeout=PATIENCE)  # the top was reached
    expect(page.get_by_text(first, exact=True)).to_be_in_viewport()
    before = place_of(page, first)
    earlier.dispatch_event("click")
    expect(bubbles).to_have_count(2 * TURNS, timeout=PATIENCE)
    assert abs(place_of(page, first) - before) < 2
    expect(earlier).to_be_hidden()
    texts = [text for text in bubbles.all_inner_texts() if "Question" in text]
    assert [re.findall(r"Question (\d+)", text)[0] for text in texts] == [
        str(turn) for turn in range(1, TURNS + 1)
    ]


@WIDTHS
def test_earlier_messages_are_reached_by_the_keyboard(
    page: Page, long_chat: str, width: int
) -> None:
    open_chat(page, long_chat, width)
    bubbles, earlier = page.get_by_test_id("bubble"), page.get_by_test_id("earlier")
    earlier.focus()
    page.keyboard.press("Enter")
    # The top of the list comes into view, too, which may load the last page before the next key.
    focused = page.locator("#earlier:focus, #scroller:focus")
    expect(bubbles).not_to_have_count(50, timeout=PATIENCE)
    expect(focused).to_have_count(1)
    page.keyboard.press("Enter")
    expect(bubbles).to_have_count(2 * TURNS, timeout=PATIENCE)
    expect(page.locator("#scroller")).to_be_focused()


def test_events_before_the_tail_are_listed_in_order_once_they_are_read(
    page: Page, long_chat: str
) -> None:
    open_chat(page, long_chat, 1280)
    assert seqs(page) == list(range(142, 242))
    expect(page.get_by_test_id("event-count")).to_contain_text("241")
    page.get_by_test_id("earlier").dispatch_event("click")
    expect(page.get_by_test_id("event-row")).to_have_count(200, timeout=PATIENCE)
    assert seqs(page) == list(range(42, 242))


def test_a_page_that_cannot_be_read_can_be_tried_again(page: Page, long_chat: str) -> None:
    open_chat(page, long_chat, 1280)
    earlier = page.get_by_test_id("earlier")
    page.route("**/events?*", lambda route: route.abort())
    earlier.dispatch_event("click")
    expect(earlier).to_contain_text("Try again", timeout=PATIENCE)
    page.unroute("**/events?*")
    earlier.dispatch_event("click")
    expect(page.get_by_test_id("bubble")).to_have_count(100, timeout=PATIENCE)


def while_streaming(page: Page, act: Callable[[], None]) -> None:
    """Do something while an answer is streamed; where it has ended already, in another chat."""
    for attempt in range(5):
        home = page.url.partition("#")[0]
        page.goto(home)
        page.get_by_test_id("new-chat-Generator").click()
        expect(page.locator('[data-testid="bubble"][data-streaming="true"]')).to_have_count(
            1, timeout=PATIENCE
        )
        try:
            act()
        except PlaywrightError:
            if attempt == 4:
                raise
        else:
            return


@pytest.mark.parametrize("width", [1280, 390])
def test_an_answer_is_stopped_and_both_windows_keep_the_same_words(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})

    def stop() -> None:
        page.get_by_test_id("stop").click(timeout=1000)
        page.get_by_test_id("mark").filter(has_text="stopped").first.wait_for(timeout=3000)

    while_streaming(page, stop)
    expect(page.get_by_test_id("chat-status")).to_contain_text("Your turn", timeout=PATIENCE)
    expect(page.get_by_test_id("stop")).to_be_hidden()
    kept = page.locator("[data-interrupted] .words").all_inner_texts()
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_test_id("mark").first).to_have_text("stopped", timeout=PATIENCE)
    assert other.locator("[data-interrupted] .words").all_inner_texts() == kept
    page.get_by_test_id("composer").fill("Another idea")
    page.get_by_test_id("send").click()
    expect(page.get_by_test_id("question")).to_be_visible(timeout=PATIENCE)


def test_a_message_that_waits_says_so_until_an_agent_reads_it(page: Page) -> None:
    own = page.locator('[data-testid="bubble"][data-agent="user"] [data-testid="mark"]')

    def write() -> None:
        page.get_by_test_id("composer").fill("A bakery")
        page.get_by_test_id("send").click(timeout=1000)
        own.filter(has_text="waits").first.wait_for(timeout=2000)

    while_streaming(page, write)
    page.get_by_test_id("question-input").last.fill("Bread")
    page.get_by_test_id("question-send").last.click()
    expect(own.filter(has_text="waits")).to_have_count(0, timeout=PATIENCE)


def test_chats_are_searched_renamed_archived_and_deleted(page: Page) -> None:
    page.get_by_test_id("user").fill("lister")
    page.get_by_test_id("user").press("Enter")
    answers = {"prompt": "Bread shop", "confirm": ""}
    page.on("dialog", lambda asked: asked.accept(answers[asked.type]))
    chats = page.get_by_test_id("chat-item")
    for number, words in enumerate(("Sourdough", "Croissants"), start=1):
        page.get_by_test_id("new-chat-HelloWorld").click()
        expect(chats).to_have_count(number, timeout=PATIENCE)  # the new one is open
        expect(page.get_by_test_id("composer")).to_be_enabled(timeout=PATIENCE)
        page.get_by_test_id("composer").fill(words)
        page.get_by_test_id("send").click()
        expect(chats.filter(has_text=words)).to_be_visible(timeout=PATIENCE)

    page.get_by_test_id("search").fill("you said: “sourd")
    expect(chats).to_have_count(1, timeout=PATIENCE)
    expect(page.get_by_test_id("excerpt")).to_contain_text("You said", timeout=PATIENCE)
    page.get_by_label("Rename, archive or delete Sourdough").click()
    page.get_by_role("button", name="Rename Sourdough").click()
    expect(chats).to_contain_text("Bread shop", timeout=PATIENCE)
    page.get_by_test_id("search").fill("")
    expect(chats).to_have_count(2, timeout=PATIENCE)

    page.get_by_label("Rename, archive or delete Bread shop").click()
    page.get_by_role("button", name="Archive Bread shop").click()
    expect(chats).to_have_count(1, timeout=PATIENCE)
    page.get_by_label("Rename, archive or delete Croissants").click()
    page.get_by_role("button", name="Delete Croissants").click()
    expect(page.get_by_text("Nothing yet. Start one above.")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("composer")).to_be_hidden(timeout=PATIENCE)
