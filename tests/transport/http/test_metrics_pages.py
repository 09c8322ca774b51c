"""The pages of metrics on the transport's port: the same bytes, and the same token."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from contracts.ids import AppId, ChatId, UserId
from contracts.metrics_pages import MetricsPage, MetricsPageRequested
from contracts.prices import PRICES
from services.chassis.jetstream.gateway import JetStreamGateway
from services.metrics import page_responder
from services.metrics.metrics_state import MetricsState
from services.metrics.page_responder import PageResponder
from services.metrics.pages import Pages
from services.metrics.prometheus import MetricsCollector
from services.transport.auth.principal import UNRESTRICTED, Principal
from services.transport.errors import ApiError
from services.transport.http import metrics_pages
from tests.metrics.story import BEGAN, KEY, chat, decisions_of, log_of

pytestmark = pytest.mark.broker

LATER = BEGAN + timedelta(minutes=1)
SECRET = "open sesame"


def pages() -> Pages:
    state = MetricsState(PRICES)
    chats = (decisions_of(chat()), decisions_of(chat()[:3], OPEN), decisions_of(chat()[:3], OTHER))
    for message in log_of(*chats):
        state.record(message)
    registry = CollectorRegistry()
    registry.register(MetricsCollector(state, lambda: LATER, 30))
    return Pages(state, registry, lambda: LATER, 30)


OPEN = KEY._replace(chat=ChatId("open/1"))
OTHER = KEY._replace(app=AppId("bakery"), chat=ChatId("other"))
ROUTES = {
    "/metrics/perf/aggregate": MetricsPageRequested(page="aggregate"),
    "/metrics/perf/chats": MetricsPageRequested(page="chats"),
    "/metrics/perf/stalled?app_id=acme": MetricsPageRequested(page="stalled", app_id=KEY.app),
    "/metrics/perf/chats/chat%201": MetricsPageRequested(page="chat", chat_id=KEY.chat),
    "/metrics/perf/chats/open%2F1": MetricsPageRequested(page="chat", chat_id=OPEN.chat),
    "/metrics/perf/chats/unknown": MetricsPageRequested(page="chat", chat_id=ChatId("unknown")),
    "/metrics/prometheus": MetricsPageRequested(page="prometheus"),
}


@asynccontextmanager
async def answering(
    gateway: JetStreamGateway, token: str | None = None
) -> AsyncIterator[PageResponder]:
    responder = PageResponder(gateway.nc, pages(), SecretStr(token) if token else None)
    async with responder.answering():
        await gateway.nc.flush()
        yield responder


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


async def test_each_page_comes_with_its_body_and_status(
    http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    async with answering(gateway):
        for path, request in ROUTES.items():
            expected, reply = pages().render(request), await http.get(path)
            assert reply.content == expected.body, path
            assert reply.status_code == expected.status
            assert reply.headers["content-type"] == expected.content_type
            assert len(reply.content) > 10


async def test_without_metrics_a_page_is_refused_at_once(http: httpx.AsyncClient) -> None:
    reply = await http.get("/metrics/prometheus")
    assert reply.status_code == 503
    assert reply.json()["detail"] == "metrics: metrics are not running"
    assert reply.headers["retry-after"]


async def test_without_sign_in_the_token_of_metrics_is_needed_here_too(
    http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    async with answering(gateway, SECRET):
        for path in ROUTES:
            for given in (None, "", "Bearer", "Bearer open", f"Basic {SECRET}"):
                headers = {} if given is None else {"authorization": given}
                reply = await http.get(path, headers=headers)
                assert reply.status_code == 401, (path, given)
                assert b"acme" not in reply.content
            bearing = {"authorization": f"Bearer {SECRET}"}
            assert (await http.get(path, headers=bearing)).status_code in (200, 404)


async def test_a_page_that_no_message_can_carry_says_so(
    http: httpx.AsyncClient, gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_responder, "HEADER_BYTES", gateway.nc.max_payload - 50)
    async with answering(gateway):
        reply = await http.get("/metrics/prometheus")
    assert reply.status_code == 413


async def test_junk_on_the_subject_is_answered_and_hurts_nobody(gateway: JetStreamGateway) -> None:
    async with answering(gateway, SECRET) as responder:
        assert responder.answer(b"\x00").status == 400
        assert responder.answer(b'{"page":"passwords"}').status == 400
        operator = MetricsPageRequested(page="aggregate", operator=True)
        assert responder.answer(operator.model_dump_json().encode()).status == 200


def principal(*apps: str) -> Principal:
    return Principal(
        user=UserId("op"),
        apps=frozenset(AppId(app) for app in apps),
        scopes=frozenset({"operator"}),
        expires_at=LATER,
    )


def test_an_operator_of_an_app_gets_its_numbers_and_no_others() -> None:
    apps_of = metrics_pages._apps_of
    assert apps_of(UNRESTRICTED, "aggregate", None) == [None]
    assert apps_of(principal(), "prometheus", None) == [None]
    assert apps_of(principal("acme"), "aggregate", None) == ["acme"]
    assert apps_of(principal("acme", "b"), "chats", KEY.app) == ["acme"]
    assert apps_of(principal("b", "a"), "chats", None) == ["a", "b"]
    assert apps_of(principal("a", "b"), "streams", None) == [None]
    with pytest.raises(ApiError, match="not an app of this token"):
        apps_of(principal("b"), "chats", KEY.app)
    with pytest.raises(ApiError, match="app_id: required"):
        apps_of(principal("a", "b"), "aggregate", None)
    with pytest.raises(ApiError):
        apps_of(principal("acme"), "prometheus", None)


@pytest.mark.parametrize("page", ["chats", "stalled", "tenants"])
async def test_an_operator_of_several_apps_gets_one_list_in_the_order_of_the_page(
    gateway: JetStreamGateway, page: MetricsPage
) -> None:
    asked = MetricsPageRequested(page=page, operator=True)
    apps = [AppId(f"nobody{number}") for number in range(metrics_pages.APPS_AT_ONCE)]
    async with answering(gateway):
        answers = await metrics_pages._ask_in_turn(gateway.nc, asked, [*apps, OTHER.app, KEY.app])
    merged = metrics_pages._merged(page, answers)
    found, whole = json.loads(merged.content), json.loads(pages().render(asked).body)
    assert {entry["app_id"] for entry in whole} == {KEY.app, OTHER.app}
    assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, whole))
    order = [metrics_pages._LISTS[page](entry) for entry in found]
    assert order == sorted(order, reverse=True)
    assert merged.headers["content-type"] == "application/json"
