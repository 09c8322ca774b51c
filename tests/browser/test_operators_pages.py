"""The console's pages of workflows, traces and operations in a real browser, at three widths."""

import asyncio
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from contracts import subjects
from contracts.events.turn import ModelWait
from contracts.ids import AppId, ChatId, ChatKey
from infra.console import PACKAGES
from services.chassis.dead_letters.letter import Original, to_headers
from tests.browser.chats import append_events
from tests.browser.test_console import FLAGS, PATIENCE
from tests.gateway import connected_gateway
from tests.patience import PATIENCE_SECONDS
from tests.system.product import Product, running
from tests.transport.story import NOON, REQUESTED, RESPONDED, SELECTED, USED

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.page,
    pytest.mark.timeout(240),
]

APP, USER = "local-dev", "56132"
AXE = PACKAGES / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
REFUSED = (
    "window.refused = []; document.addEventListener('securitypolicyviolation',"
    " ({ violatedDirective, blockedURI }) => window.refused.push(`${violatedDirective} ${blockedURI}`))"
)


@dataclass(frozen=True)
class Stage:
    """A product, a chat of Helpdesk that waits for its user, and a fork of it that went on."""

    address: str
    chat: str
    fork: str
    product: Product

    def page(self, hash_: str) -> str:
        return f"{self.address}/{hash_}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    demo = {"OPENAI_API_KEY": "", "DEMO_WORD_DELAY_SECONDS": "0.01"}
    with (
        running(tmp_path_factory.mktemp("page"), **demo) as product,
        httpx.Client(base_url=product.address, timeout=60) as http,
    ):
        start = {"user_id": USER, "message": "My bill is wrong"}
        chat = http.post(f"/api/chats/{APP}/Helpdesk/start", json=start).json()["chat_id"]
        wait_until(http, chat, "waiting")
        fork = {"user_id": USER, "message": "thanks"}
        forked = http.post(f"/api/chats/{APP}/{chat}/fork", json=fork).json()["chat_id"]
        limit = {"unit": "tokens", "hard": 100_000, "soft": 50_000, "period": "day"}
        http.put(f"/api/budgets/{APP}", json=limit)
        yield Stage(product.address, chat, forked, product)


def wait_until(http: httpx.Client, chat: str, status: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        page = http.get(f"/api/chats/{APP}/{chat}/timeline").json()
        if page.get("chat", {}).get("chat_status") == status:
            return
        time.sleep(0.1)
    pytest.fail(f"the chat is not {status}")


@pytest.fixture(scope="module")
def browser(browser_path: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        expect.set_options(timeout=PATIENCE)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    yield from opened(browser, 1280, "light")


def opened(browser: Browser, width: int, scheme: Literal["light", "dark"]) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE)
    context.add_init_script(REFUSED)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert faults == []


def go(page: Page, stage: Stage, hash_: str) -> None:
    """The page of an address; the whole document is loaded where it was not yet."""
    if page.url.startswith(stage.page("")):
        page.evaluate("hash => { location.hash = hash; }", hash_)
    else:
        page.goto(stage.page(hash_))


def faults_of(page: Page) -> list[str]:
    """What axe finds, what the policy refused, and whether the page is wider than the window."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(
        """async (rules) => (await axe.run({ runOnly: rules })).violations
            .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`)""",
        RULES,
    )
    root = "document.documentElement"
    too_wide = page.evaluate(f"{root}.scrollWidth > {root}.clientWidth")
    return [*found, *page.evaluate("window.refused"), *(["too wide"] if too_wide else [])]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (768, "dark"), (390, "dark")])
def test_every_page_is_accessible(
    browser: Browser, stage: Stage, width: int, scheme: Literal["light", "dark"]
) -> None:
    places = {
        "#workflows": '[data-testid="workflow-card"]',
        f"#workflows/Helpdesk/{stage.chat}": '[data-testid="speaker"][data-lit]',
        f"#trace/{APP}/{stage.chat}": '[data-testid="span"]',
        f"#trace/{APP}/{stage.fork}/compare/{stage.chat}": '[data-testid="pair"]',
        "#operations": '[data-testid="lag"]',
        "#operations/chats": '[data-testid="chat-filter"]',
        "#operations/letters": '[data-testid="no-letters"], [data-testid="letters"]',
        "#operations/apps": '[data-testid="budgets"] meter',
    }
    for page in opened(browser, width, scheme):
        for hash_, ready in places.items():
            go(page, stage, hash_)
            page.locator(ready).first.wait_for()
            assert faults_of(page) == [], hash_
            if hash_.endswith(stage.chat) and hash_.startswith("#workflows"):
                for tab in ("prompts", "start", "playground"):
                    page.get_by_test_id(f"tab-{tab}").click()
                    assert faults_of(page) == [], tab


def test_a_model_call_is_shown_exactly_as_it_was_sent(page: Page, stage: Stage) -> None:
    go(page, stage, f"#trace/{APP}/{stage.chat}")
    page.locator('[data-testid="span"][data-kind="model_call"]').first.click()
    call = page.get_by_test_id("model-call")
    expect(call).to_contain_text("Exactly as sent")
    expect(call).to_contain_text("You are the receptionist of a helpdesk")
    expect(call.get_by_test_id("sent-messages")).to_contain_text("My bill is wrong")
    assert faults_of(page) == []
    page.get_by_test_id("filter").select_option("failures")
    expect(page.get_by_test_id("span")).to_have_count(0)


def test_events_are_searched_and_two_chats_compared(page: Page, stage: Stage) -> None:
    go(page, stage, f"#trace/{APP}/{stage.fork}")
    page.get_by_test_id("tab-events").click()
    page.get_by_test_id("search-events").fill("turn.tool_returned")
    expect(page.get_by_test_id("event").first).to_contain_text("find_invoice")
    expect(page.get_by_test_id("events-found")).to_contain_text("2 of")
    page.get_by_test_id("tab-compare").click()
    page.get_by_test_id("other").select_option(stage.chat)
    differing = page.locator('[data-testid="pair"][data-differs]')
    expect(differing.first).to_contain_text("thanks")
    page.get_by_test_id("tab-why").click()
    expect(page.get_by_test_id("why")).to_contain_text("It has ended")


def test_waits_for_a_provider_are_part_of_the_timeline(page: Page, stage: Stage) -> None:
    waits = [
        ModelWait(code=code, seconds=2, until=NOON, attempt=attempt)
        for attempt, code in ((2, "MODEL_RATE_LIMITED"), (3, "MODEL_FAILED"))
    ]
    used = USED.model_copy(update={"waits": waits})
    key = append_events(stage.product.settings, [[SELECTED, REQUESTED], [RESPONDED, used]])
    go(page, stage, f"#trace/{APP}/{key.chat}")
    rows = page.locator('[data-testid="span"][data-kind="provider_wait"]')
    expect(rows).to_contain_text(["MODEL_RATE_LIMITED", "MODEL_FAILED"])
    rows.last.click()
    details = page.locator(".trace-details")
    expect(details).to_contain_text("Pause: MODEL_FAILED")
    expect(details).to_contain_text("2 sec")
    expect(rows.first).to_have_attribute("aria-pressed", "false")
    assert faults_of(page) == []


def test_the_menu_of_a_chat_leads_to_its_trace(page: Page, stage: Stage) -> None:
    go(page, stage, f"#/{APP}/Helpdesk/{stage.chat}")
    page.get_by_test_id("chat-actions").click()
    page.get_by_role("menuitem", name="Trace").click()
    expect(page.get_by_test_id("span").first).to_be_visible()
    assert page.url.endswith(f"#trace/{APP}/{stage.chat}")


def test_a_fork_leads_to_its_origin_where_a_filter_leaves_that_out(
    page: Page, stage: Stage
) -> None:
    go(page, stage, "#/")
    fork = page.locator(f'[data-testid="chat-item"][data-chat="{stage.fork}"]')
    expect(fork).to_be_visible()
    expect(page.get_by_test_id("origin-item")).to_have_count(0)
    page.get_by_test_id("filter-status").select_option("completed")
    page.get_by_test_id("origin-item").click()
    page.wait_for_url(re.compile(rf"#/{APP}/Helpdesk/{stage.chat}$"))
    expect(fork).to_be_visible()
    expect(page.get_by_test_id("origin-item")).to_have_attribute("aria-current", "page")


def test_an_edited_copy_of_a_workflow_is_tried_out(page: Page, stage: Stage) -> None:
    go(page, stage, "#workflows/HelloWorld")
    page.get_by_test_id("tab-playground").click()
    manifest = page.get_by_test_id("manifest")
    written = manifest.input_value()
    manifest.fill("{")
    page.get_by_test_id("check-draft").click()
    expect(page.get_by_test_id("draft-problems")).to_contain_text("agents.json")
    manifest.fill(written.replace("You", "You, a pirate,", 1))
    page.get_by_test_id("try-draft").click()
    page.wait_for_url(re.compile(r"#/local-dev/HelloWorld-draft-[0-9a-f]{8}/"))
    workflow, chat = page.url.split("/")[-2:]
    go(page, stage, f"#workflows/{workflow}/{chat}")
    expect(page.locator('[data-testid="speaker"][data-lit]')).to_have_count(1)


def test_a_chat_is_started_with_a_message_and_another_model(page: Page, stage: Stage) -> None:
    go(page, stage, "#workflows/Helpdesk")
    page.get_by_test_id("tab-start").click()
    page.get_by_label("First message").fill("It is broken")
    page.get_by_test_id("model").fill("demo-2")
    page.get_by_test_id("start").click()
    page.wait_for_url(re.compile(r"#/local-dev/Helpdesk-draft-[0-9a-f]{8}/"))


def test_operators_see_processes_chats_and_dead_letters(page: Page, stage: Stage) -> None:
    key = ChatKey(AppId(APP), ChatId("lost"))
    with ThreadPoolExecutor(1) as thread:  # Playwright has a loop in this one
        thread.submit(asyncio.run, bury(stage.product, key)).result()
    go(page, stage, "#operations")
    expect(page.get_by_test_id("processes")).to_contain_text("orchestrator")
    expect(page.get_by_test_id("processes").locator('[data-tone="good"]')).to_have_count(4)
    expect(page.get_by_test_id("chart")).to_have_count(4)
    page.get_by_test_id("tab-chats").click()
    page.get_by_test_id("chat-filter").select_option("waiting")
    row = page.get_by_test_id("chats").locator("tr", has_text=stage.chat[:8])
    row.get_by_test_id("explain").click()
    expect(page.get_by_test_id("why")).to_contain_text("waits for")
    assert faults_of(page) == []
    page.keyboard.press("Escape")
    page.get_by_test_id("tab-letters").click()
    letters = page.get_by_test_id("letters")
    expect(letters).to_contain_text("ValueError")
    assert faults_of(page) == []
    letters.get_by_test_id("redrive").first.click()
    expect(page.get_by_text("is in its queue again")).to_be_visible()


async def bury(product: Product, key: ChatKey) -> None:
    """A dead letter of a command for a chat that does not exist."""
    subject = subjects.command(key, "send_message")
    data = b'{"name":"send_message"}'
    original = Original(subject, subjects.COMMANDS, 7, 5, {}, len(data))
    async with connected_gateway(product.settings) as gateway:
        await gateway.js.publish(
            subjects.dead_letter("orchestrator", subject),
            data,
            headers=to_headers("orchestrator", "ValueError('odd')", original),
        )


def test_the_pages_speak_german(page: Page, stage: Stage) -> None:
    page.goto(stage.page("#operations"))
    page.evaluate("localStorage.setItem('mozaiks.language', 'de')")
    page.reload()
    expect(page.get_by_role("heading", name="Betrieb")).to_be_visible()
    expect(page.get_by_test_id("tab-letters")).to_have_text("Unzustellbar")
