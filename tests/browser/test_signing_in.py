"""The console where one has to sign in: nothing without a token, one's own with one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.test_console import FLAGS, PATIENCE
from tests.system.product import Product, running
from tests.transport.auth.issuer import Issuer, issuing

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.page,
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("signin"), AUTH_ISSUER=issuer.url) as started:
        yield started


@pytest.fixture(scope="module")
def browser(browser_path: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        yield launched
        launched.close()


def test_a_person_signs_in_and_talks_and_sees_no_prompts(
    browser: Browser, product: Product, issuer: Issuer
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(product.address)
    expect(page.locator("#chats-note")).to_contain_text("#access_token=", timeout=PATIENCE)

    page.goto("about:blank")
    page.goto(f"{product.address}/#access_token={issuer.token()}")
    page.get_by_test_id("settings").click()
    expect(page.get_by_test_id("user")).to_have_value("ana", timeout=PATIENCE)
    expect(page.get_by_test_id("app")).to_have_value("acme")
    page.keyboard.press("Escape")
    assert "access_token" not in page.url
    page.get_by_test_id("new-chat-HelloWorld").click()
    page.get_by_test_id("composer").fill("Good morning")
    page.get_by_test_id("send").click()
    heard = page.get_by_text("You said: “Good morning”").first
    expect(heard).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("event-count")).to_have_text("0")

    page.evaluate("token => localStorage.setItem('chatui_token', token)", _operator(issuer))
    page.reload()
    expect(heard).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("event-count")).not_to_have_text("0", timeout=PATIENCE)
    context.close()


def test_another_user_with_the_address_of_a_chat_sees_nothing_of_it(
    browser: Browser, product: Product, issuer: Issuer
) -> None:
    context = browser.new_context()
    token = json.dumps(issuer.token(sub="bob"))
    context.add_init_script(f"localStorage.setItem('chatui_token', {token})")
    page = context.new_page()
    begun = context.request.post(
        f"{product.address}/api/chats/acme/HelloWorld/start",
        headers={"authorization": f"Bearer {issuer.token()}"},
        data={"user_id": "ana"},
    ).json()
    page.goto(f"{product.address}/#/acme/HelloWorld/{begun['chat_id']}")
    expect(page.get_by_test_id("refused")).to_contain_text(
        "There is no such chat", timeout=PATIENCE
    )
    expect(page.get_by_test_id("bubble")).to_have_count(0)
    context.close()


def test_an_operator_of_several_apps_sees_these_and_no_others(
    browser: Browser, product: Product, issuer: Issuer
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    token = json.dumps(_operator(issuer, app_id=["acme", "bakery"]))
    context.add_init_script(f"localStorage.setItem('chatui_token', {token})")
    page = context.new_page()
    for app in ("acme", "bakery", "elsewhere"):
        context.request.post(
            f"{product.address}/api/chats/{app}/HelloWorld/start",
            headers={"authorization": f"Bearer {issuer.token(app_id=app)}"},
            data={"user_id": "ana"},
        )
    page.goto(f"{product.address}/#operations/apps")
    apps = page.get_by_test_id("tenants").locator("tbody td:first-child")
    expect(apps.filter(has_text="acme")).to_be_visible(timeout=PATIENCE)
    expect(apps.filter(has_text="bakery")).to_be_visible(timeout=PATIENCE)
    expect(apps.filter(has_text="elsewhere")).to_have_count(0)
    page.get_by_test_id("tab-chats").click()
    page.get_by_test_id("chat-filter").select_option("all")
    chats = page.get_by_test_id("chats").locator("tbody")
    expect(chats).to_contain_text("bakery", timeout=PATIENCE)
    expect(chats).to_contain_text("acme")
    expect(chats).not_to_contain_text("elsewhere")
    for part, ready in (("overview", "chart"), ("letters", "no-letters")):
        page.get_by_test_id(f"tab-{part}").click()
        expect(page.get_by_test_id(ready).first).to_be_visible(timeout=PATIENCE)
        expect(page.locator(".fault:not(:empty)")).to_have_count(0)

    page.get_by_test_id("settings").click()
    page.get_by_test_id("app").select_option("bakery")
    expect(page.get_by_test_id("chat-item")).to_have_count(1, timeout=PATIENCE)
    page.keyboard.press("Escape")
    page.goto(f"{product.address}/#workflows/HelloWorld")
    expect(page.get_by_test_id("tab-start")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("tab-prompts")).to_have_count(0)  # workflows belong to all apps
    expect(page.locator(".fault:not(:empty)")).to_have_count(0)
    context.close()


def _operator(issuer: Issuer, **claims: Any) -> str:
    return issuer.token(scope="access_as_user mozaiks.operator", **claims)
