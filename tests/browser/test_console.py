"""The console page in a real browser, on the real product with the demo model."""

import base64
import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from contracts.deltas import WaitReported
from contracts.events import Event
from contracts.ids import AgentName, ChatKey, RunnerId, UserId
from infra.console import PACKAGES
from tests.browser.chats import HOSTILE, RICH, append_chat, append_events, publish
from tests.browser.workflows import CLOSED, workflows_of_pages
from tests.system.product import Product, running
from tests.transport.story import COMPLETED, SELECTED, YOUR_TURN, user_message

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.page,
    pytest.mark.timeout(240),
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
        "WORKFLOWS_PATH": str(workflows_of_pages(folder)),
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


def address_of(product: Product, key: ChatKey) -> str:
    return f"{product.address}/#/{key.app}/HelloWorld/{key.chat}"


@pytest.fixture(scope="module")
def long_chat(product: Product) -> str:
    """The address of a chat of 241 events, more than two pages of the console."""
    turns = [(f"Question {turn}", f"Answer {turn}. " * 12) for turn in range(1, TURNS + 1)]
    return address_of(product, append_chat(product.settings, turns))


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
        try:
            page.locator('[data-testid="bubble"][data-streaming="true"]').wait_for(timeout=10_000)
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
    page.get_by_test_id("settings").click()
    page.get_by_test_id("user").fill("lister")
    page.get_by_test_id("user").press("Enter")
    page.keyboard.press("Escape")
    chats = page.get_by_test_id("chat-item")
    for number, words in enumerate(("Sourdough", "Croissants"), start=1):
        page.get_by_test_id("new-chat").click()
        page.get_by_test_id("new-chat-HelloWorld").click()
        expect(chats).to_have_count(number, timeout=PATIENCE)  # the new one is open
        expect(page.get_by_test_id("composer")).to_be_enabled(timeout=PATIENCE)
        page.get_by_test_id("composer").fill(words)
        page.get_by_test_id("send").click()
        expect(chats.filter(has_text=words)).to_be_visible(timeout=PATIENCE)

    page.get_by_test_id("search").fill("you said: “sourd")
    expect(chats).to_have_count(1, timeout=PATIENCE)
    expect(page.get_by_test_id("excerpt")).to_contain_text("You said", timeout=PATIENCE)
    choose(page, "Sourdough", "Rename")
    page.get_by_test_id("line").fill("Bread shop")
    page.get_by_test_id("confirm").click()
    expect(chats).to_contain_text("Bread shop", timeout=PATIENCE)
    page.get_by_test_id("search").fill("")
    expect(chats).to_have_count(2, timeout=PATIENCE)

    choose(page, "Bread shop", "Archive")
    expect(chats).to_have_count(1, timeout=PATIENCE)
    choose(page, "Croissants", "Delete")
    page.get_by_test_id("confirm").click()
    expect(page.get_by_text("Nothing yet. Start one above.")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("composer")).to_be_hidden(timeout=PATIENCE)
    page.get_by_test_id("filter-place").select_option("archived")
    expect(chats.filter(has_text="Bread shop")).to_be_visible(timeout=PATIENCE)
    choose(page, "Bread shop", "Take out of the archive")
    page.get_by_test_id("filter-place").select_option("active")
    expect(chats.filter(has_text="Bread shop")).to_be_visible(timeout=PATIENCE)


def choose(page: Page, title: str, action: str) -> None:
    page.get_by_label(f"Rename, archive or delete {title}").click()
    page.get_by_role("menuitem", name=action).click()


@pytest.fixture(scope="module")
def rich_chat(product: Product) -> str:
    return address_of(
        product, append_chat(product.settings, [(HOSTILE, HOSTILE), ("Show me", RICH)])
    )


AXE = PACKAGES / "axe-core" / "axe.min.js"


def violations(page: Page) -> list[str]:
    """What axe finds of WCAG 2.2 AA, and what the content security policy refused."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """async () => (await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] })).violations
            .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`)"""
    )
    return [*found, *page.evaluate("window.refused")]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (768, "dark"), (390, "light")])
def test_markdown_is_shown_and_hostile_text_stays_text(
    page: Page, rich_chat: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    page.add_init_script(
        "window.refused = []; document.addEventListener('securitypolicyviolation', "
        "({ violatedDirective, blockedURI }) => window.refused.push(`${violatedDirective} ${blockedURI}`))"
    )
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("about:blank")
    page.goto(rich_chat)
    answer = page.get_by_test_id("bubble").last
    expect(answer.locator(".katex").first).to_be_visible(timeout=PATIENCE)
    expect(answer.locator(".hljs-keyword").first).to_have_text("def", timeout=PATIENCE)
    expect(answer.get_by_role("cell", name="Spelt")).to_be_visible()
    expect(answer).to_contain_text("It costs $5 or $10.")
    link = answer.get_by_role("link", name="link")
    assert "noopener" in (link.get_attribute("rel") or "")
    page.get_by_test_id("bubble").first.scroll_into_view_if_needed()
    text = page.locator(".entries").get_by_text("window.hacked = 1<")
    expect(text.first).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("window.hacked") is None
    assert (
        page.locator(".entries :is(script, iframe, img, svg:not(.glyph), [onclick])").count() == 0
    )
    targets = page.locator(".entries a").evaluate_all("all => all.map(({ href }) => href)")
    assert {target.partition(":")[0] for target in targets} == {"https"}
    assert violations(page) == []


def test_what_is_selected_stays_selected_while_the_answer_grows(page: Page) -> None:
    def select() -> None:
        streaming = '[data-testid="bubble"][data-streaming="true"] p'
        page.wait_for_function(
            f"() => document.querySelector('{streaming}')?.textContent.length > 8", timeout=3000
        )
        page.evaluate(
            f"""() => {{
                const text = document.createTreeWalker(document.querySelector('{streaming}'), NodeFilter.SHOW_TEXT).nextNode();
                getSelection().setBaseAndExtent(text, 0, text, 8);
                window.selected = [getSelection().toString(), text.data.length, text];
            }}"""
        )
        page.wait_for_function(
            "() => window.selected[2].data.length > window.selected[1]", timeout=3000
        )

    while_streaming(page, select)
    expect(page.get_by_test_id("question")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("getSelection().toString() === window.selected[0]")


def test_a_message_is_edited_tried_again_copied_and_forked(page: Page) -> None:
    page.get_by_test_id("new-chat-HelloWorld").click()
    page.get_by_test_id("composer").fill("Good morning")
    page.get_by_test_id("send").click()
    expect(page.get_by_text("You said: “Good morning”")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("chat-status")).to_contain_text("Your turn", timeout=PATIENCE)
    own = page.locator('[data-testid="bubble"][data-agent="user"]')
    own.hover()
    own.get_by_test_id("edit").click()
    page.get_by_test_id("edit-input").fill("Good evening")
    page.get_by_test_id("edit-send").click()
    heard = page.locator(".entries").get_by_text("You said: “Good evening”")
    expect(heard).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".entries").get_by_text("Good morning")).to_have_count(0)

    expect(page.get_by_test_id("chat-status")).to_contain_text("Your turn", timeout=PATIENCE)
    answer = page.get_by_test_id("bubble").last
    answer.hover()
    answer.get_by_test_id("retry-entry").click()
    expect(page.locator('.event[data-type="chat.rewound"]')).to_have_count(2, timeout=PATIENCE)
    expect(page.get_by_test_id("chat-status")).to_contain_text("Your turn", timeout=PATIENCE)
    expect(heard).to_have_count(1)
    answer.hover()
    answer.get_by_test_id("copy").first.click()
    expect(answer.get_by_label("Copied")).to_be_visible()
    before = page.url
    answer.get_by_test_id("fork").click()
    expect(page.get_by_role("link", name="A fork of another chat")).to_be_visible(timeout=PATIENCE)
    assert page.url != before
    expect(heard).to_have_count(1, timeout=PATIENCE)
    fork = page.locator('.chat-row[data-depth="1"]').first
    expect(fork).to_be_visible(timeout=PATIENCE)  # below the chat that it comes from


PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)


def test_files_come_in_by_button_paste_and_drop_and_drafts_and_messages_survive(page: Page) -> None:
    page.get_by_test_id("new-chat-HelloWorld").click()
    expect(page.get_by_test_id("status")).to_contain_text("Connected", timeout=PATIENCE)
    page.get_by_test_id("file-input").set_input_files(
        {"name": "pixel.png", "mimeType": "image/png", "buffer": PIXEL}
    )
    expect(page.get_by_test_id("picture")).to_be_visible(timeout=PATIENCE)
    for kind, field in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.evaluate(
            """([kind, field]) => {
                const given = new DataTransfer();
                given.items.add(new File(["a,b"], `${kind}.csv`, { type: "text/csv" }));
                const Event_ = kind === "paste" ? ClipboardEvent : DragEvent;
                document.getElementById("composer").dispatchEvent(
                    new Event_(kind, { [field]: given, bubbles: true, cancelable: true }));
            }""",
            [kind, field],
        )
        expect(page.get_by_test_id("file").filter(has_text=f"{kind}.csv")).to_be_visible(
            timeout=PATIENCE
        )
    composer = page.get_by_test_id("composer")
    composer.fill("Not sent yet")
    page.reload()
    expect(composer).to_have_value("Not sent yet", timeout=PATIENCE)
    expect(page.get_by_test_id("picture")).to_be_visible(timeout=PATIENCE)
    page.context.set_offline(True)
    page.get_by_test_id("send").click()
    expect(page.get_by_test_id("queued")).to_contain_text("Not sent yet", timeout=PATIENCE)
    expect(page.get_by_test_id("picture")).to_be_visible()  # what was there stays
    page.context.set_offline(False)
    expect(page.get_by_text("You said: “Not sent yet”")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("queued")).to_have_count(0)


def test_the_page_is_used_by_the_keyboard_and_in_german(page: Page) -> None:
    expect(page.get_by_test_id("new-chat-HelloWorld")).to_be_visible(timeout=PATIENCE)
    page.keyboard.press("Control+k")
    page.get_by_test_id("palette").fill("hello")
    expect(page.get_by_test_id("command").first).to_contain_text("New chat with HelloWorld")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("composer")).to_be_focused(timeout=PATIENCE)
    page.evaluate("localStorage.setItem('mozaiks.language', 'de')")
    page.reload()
    expect(page.get_by_test_id("status")).to_contain_text("Verbunden", timeout=PATIENCE)
    assert page.locator("html").get_attribute("lang") == "de"


def test_approvals_say_who_decided_on_the_call_itself(page: Page) -> None:
    page.get_by_test_id("new-chat-Payments").click()
    option = page.get_by_test_id("option")
    for label in ("Deny", "Approve", "Always for this chat"):
        option.filter(has_text=re.compile(f"^{label}$")).click(timeout=PATIENCE)
    marks = page.get_by_test_id("approved-by")
    granted = re.compile("^Approved for this chat by")  # as the last one, which asked nobody
    verdicts = [re.compile("^Refused by"), re.compile("^Approved by"), granted, granted]
    expect(marks).to_have_text(verdicts, timeout=PATIENCE)
    expect(page.get_by_test_id("tool")).to_have_count(4)
    page.reload()
    expect(marks).to_have_text(verdicts, timeout=PATIENCE)
    expect(page.get_by_test_id("question").filter(has=option)).to_have_count(0)


def test_a_whole_chat_is_exported_as_markdown_and_as_json(page: Page, product: Product) -> None:
    small = [(f"Question {turn}", f"Answer {turn}") for turn in range(1, 76)]  # several pages
    turns = [(HOSTILE, HOSTILE), *small, ("Show me", RICH)]
    page.goto(address_of(product, append_chat(product.settings, turns)))
    expect(page.get_by_test_id("bubble").last).to_contain_text("A heading", timeout=PATIENCE)
    written = exported(page, "Export as Markdown", ".md")
    assert RICH.strip() in written
    assert HOSTILE.strip() in written  # as it was said: nothing of it is run by who reads it
    assert written.index(HOSTILE.strip()) < written.index("Show me") < written.index(RICH.strip())
    whole = json.loads(exported(page, "Export as JSON", ".json"))
    types = [frame["data"]["type"] for frame in whole["frames"] if frame["type"] == "chat.event"]
    assert types[:2] == ["chat.started", "chat.user_message_received"]
    assert len(types) == 1 + 4 * len(turns)
    assert page.url.endswith(f"{whole['app']}/{whole['workflow']}/{whole['chat']}")


def exported(page: Page, action: str, suffix: str) -> str:
    page.get_by_test_id("chat-actions").click()
    with page.expect_download(timeout=PATIENCE) as coming:
        page.get_by_role("menuitem", name=action).click()
    # Named by the title of the chat once the list has it, till then by its workflow.
    assert re.fullmatch(r"\w[\w-]*" + re.escape(suffix), coming.value.suggested_filename)
    return coming.value.path().read_text(encoding="utf-8")


def test_a_failed_chat_shows_its_cause_and_its_retry_goes_on(page: Page, product: Product) -> None:
    closed = product.data.parent / CLOSED
    closed.touch()
    try:
        page.get_by_test_id("new-chat-Shop").click()
        fault = page.get_by_test_id("error")
        expect(fault).to_contain_text("the shop is closed", timeout=PATIENCE)
        expect(page.get_by_test_id("chat-status")).to_have_text("Failed")
        expect(fault).to_have_count(1)
    finally:
        closed.unlink()
    fault.get_by_test_id("retry-error").click()
    answer = page.locator(".entries").get_by_text("Here you are.")
    expect(answer).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("chat-status")).not_to_have_text("Failed", timeout=PATIENCE)
    expect(fault).to_have_count(0)
    page.reload()
    expect(answer).to_be_visible(timeout=PATIENCE)
    expect(fault).to_have_count(0)


def test_a_running_tool_shows_its_progress_and_a_form_keeps_its_answer(page: Page) -> None:
    page.get_by_test_id("new-chat-Bakery").click()
    option, progress = page.get_by_test_id("option"), page.get_by_test_id("progress")
    option.filter(has_text="Rye").click()
    expect(progress).to_contain_text("Rye is in the oven 40 %", timeout=PATIENCE)
    assert progress.locator("progress").evaluate("bar => bar.position") == 0.4
    option.filter(has_text="Done").click()
    form = page.get_by_test_id("ui-tool")
    expect(form).to_contain_text("4 euros", timeout=PATIENCE)
    expect(progress).to_have_count(0)
    form.get_by_label("pieces").select_option("2")
    form.get_by_label("name").fill("Ana")
    form.get_by_test_id("ui-tool-send").click()
    kept = form.get_by_test_id("form-answer").locator("dl")
    expect(kept).to_contain_text(re.compile(r"pieces\s*2\s*name\s*Ana"), timeout=PATIENCE)
    page.reload()
    expect(kept).to_contain_text(re.compile(r"pieces\s*2\s*name\s*Ana"), timeout=PATIENCE)
    expect(form.get_by_role("textbox")).to_have_count(0)


def test_chats_are_filtered_by_state_and_workflow(page: Page, product: Product) -> None:
    sorter = UserId("sorter")
    chats: list[tuple[str, list[list[Event]]]] = [
        ("HelloWorld", [[user_message("Goes on"), SELECTED]]),
        ("HelloWorld", [[user_message("Over"), SELECTED], [COMPLETED]]),
        ("Helpdesk", [[user_message("Your word"), YOUR_TURN]]),
    ]
    for workflow, decisions in chats:
        append_events(product.settings, decisions, workflow=workflow, user=sorter)
    page.evaluate("localStorage.setItem('mozaiks.user', 'sorter')")
    page.reload()
    titles = page.locator('[data-testid="chat-item"] .chat-title')
    status, workflow_filter = (
        page.get_by_test_id("filter-status"),
        page.get_by_test_id("filter-workflow"),
    )
    expect(titles).to_have_count(3, timeout=PATIENCE)
    for chosen, left in (("completed", "Over"), ("running", "Goes on"), ("waiting", "Your word")):
        status.select_option(chosen)
        expect(titles).to_have_text([left], timeout=PATIENCE)
    workflow_filter.select_option("HelloWorld")
    expect(titles).to_have_count(0, timeout=PATIENCE)
    expect(page.locator("#chats-note")).not_to_be_empty(timeout=PATIENCE)
    status.select_option("")
    expect(titles).to_have_count(2, timeout=PATIENCE)
    assert set(titles.all_inner_texts()) == {"Goes on", "Over"}


def test_a_wait_for_a_provider_is_explained_until_something_comes(
    page: Page, product: Product
) -> None:
    agent = AgentName("Greeter")
    key = append_events(
        product.settings, [[user_message("Hello"), SELECTED.model_copy(update={"agent": agent})]]
    )
    page.goto(address_of(product, key))
    expect(page.get_by_test_id("thinking")).to_contain_text("Greeter", timeout=PATIENCE)
    wait = WaitReported(
        turn=1,
        agent=agent,
        runner=RunnerId("r"),
        code="MODEL_RATE_LIMITED",
        seconds=3000,
        attempt=2,
        attempts=4,
    )
    publish(product.settings, key, wait)
    told = page.get_by_test_id("waiting")
    expect(told).to_contain_text(
        re.compile(r"asks to wait [23]\d{3} s; attempt 2 of 4 follows"), timeout=PATIENCE
    )
    publish(product.settings, key, wait.model_copy(update={"code": "MODEL_UNAVAILABLE"}))
    expect(told).to_contain_text("did not answer", timeout=PATIENCE)
    expect(page.get_by_test_id("thinking")).to_have_count(0)


def test_an_answer_whose_orchestrator_dies_comes_whole_and_once(
    page: Page, product: Product
) -> None:
    while_streaming(page, lambda: product.kill("orchestrator"))
    expect(page.get_by_test_id("question")).to_be_visible(timeout=PATIENCE)
    words = "Let me find out what we are going to build together."
    whole = page.locator(".entries").get_by_text(words)
    expect(whole).to_have_count(1)
    expect(page.locator('[data-streaming="true"]')).to_have_count(0)
    cut = page.locator('[data-interrupted="runner_lost"]')  # of which the rest never comes
    for part in cut.all():
        expect(part.get_by_test_id("mark")).not_to_be_empty()
    shown = seqs(page)
    page.reload()
    expect(page.get_by_test_id("question")).to_be_visible(timeout=PATIENCE)
    expect(whole).to_have_count(1)
    assert seqs(page) == shown


def test_chats_go_on_without_persistence_and_the_list_says_what_it_lacks(
    page: Page, product: Product
) -> None:
    product.send_signal("persistence", signal.SIGSTOP)
    try:
        page.get_by_test_id("new-chat-HelloWorld").click()
        page.get_by_test_id("composer").fill("Is anybody there")
        page.get_by_test_id("send").click()
        expect(page.get_by_text("You said: “Is anybody there”")).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#chats-note")).not_to_be_empty(timeout=PATIENCE)
        expect(page.get_by_test_id("status")).to_have_text("Connected")
    finally:
        product.kill("persistence")
    listed = page.get_by_test_id("chat-item").filter(has_text="Is anybody there")
    expect(listed.first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#chats-note")).to_be_empty(timeout=PATIENCE)
