"""Budgets and quotas over HTTP: operators set limits, users see their own, uploads keep to a quota."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.budget_ledger import Held, Settled
from contracts.budgets import Account
from contracts.ids import AppId, ChatKey, new_chat_id
from services.chassis.budgets.account import Decided
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.story import NOON
from tests.transport.story import STARTED, Chat

pytestmark = pytest.mark.broker


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


@pytest.fixture
def app() -> AppId:
    return AppId(f"app-{new_chat_id()}")


async def limits(http: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    answer = await http.get(f"/api/budgets/{path}", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["limits"]
    return found


async def set_limit(http: httpx.AsyncClient, app: AppId, **limit: Any) -> httpx.Response:
    return await http.put(f"/api/budgets/{app}", json=limit)


async def use(gateway: JetStreamGateway, account: Account, tokens: int) -> None:
    ledgers = BudgetLedgers(gateway)
    held = Held(time=NOON, holder="c", call="0", runner="r", amounts={"tokens": tokens})
    settled = Settled(time=NOON, holder="c", call="0", used={"tokens": tokens})
    await ledgers.decide(account, lambda _: Decided([held, settled], None))
    await ledgers.aclose()


async def test_what_is_set_is_shown_with_what_is_used_and_left(
    http: httpx.AsyncClient, gateway: JetStreamGateway, app: AppId
) -> None:
    assert await limits(http, app) == []
    assert (await set_limit(http, app, unit="tokens", soft=80, hard=100)).status_code == 200
    assert (await set_limit(http, app, unit="tokens", scope="user", hard=50)).status_code == 200
    await use(gateway, Account(app, "app"), 30)
    await use(gateway, Account(app, "user", "ana"), 20)
    whole, each = await limits(http, app)
    assert (whole["used"], whole["left"], whole["calls"]) == (30, 70, 1)
    assert (each["scope"], each["name"], each["used"]) == ("user", None, None)
    own = (await limits(http, app, user_id="ana"))[1]
    assert (own["name"], own["used"], own["left"]) == ("ana", 20, 30)
    assert [one["left"] for one in await limits(http, f"{app}/ana")] == [30]
    assert [one["left"] for one in await limits(http, f"{app}/bob")] == [50]


async def test_a_limit_is_replaced_lifted_and_removed(http: httpx.AsyncClient, app: AppId) -> None:
    await set_limit(http, app, unit="cost", period="month", hard=5)
    await set_limit(http, app, unit="cost", period="month", hard=7.5)
    assert [one["hard"] for one in await limits(http, app)] == [7.5]
    await set_limit(http, app, unit="cost", period="month")
    assert await limits(http, app) == []
    await set_limit(http, app, unit="tokens", hard=5)
    assert (await http.delete(f"/api/budgets/{app}")).json() == {"limits": []}


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"unit": "tokens", "hard": 1.5}, "whole numbers"),
        ({"unit": "euros", "hard": 1}, "unit"),
        ({"unit": "tokens", "soft": 3, "hard": 2}, "soft"),
        ({"unit": "tokens", "hard": "much"}, "hard"),
    ],
)
async def test_a_limit_that_makes_no_sense_is_refused(
    http: httpx.AsyncClient, app: AppId, limit: dict[str, Any], said: str
) -> None:
    refused = await set_limit(http, app, **limit)
    assert refused.status_code == 400
    assert said in refused.json()["detail"]


async def upload(http: httpx.AsyncClient, chat: Chat, data: bytes) -> httpx.Response:
    form = {"appId": chat.key.app, "userId": "ana", "chatId": chat.key.chat}
    return await http.post("/api/chat/upload", data=form, files={"file": ("a.txt", data)})


async def test_uploads_keep_to_the_quota_of_the_app(
    http: httpx.AsyncClient, gateway: JetStreamGateway, app: AppId
) -> None:
    chat = Chat(gateway, ChatKey(app, new_chat_id()))
    await chat.append(STARTED)
    assert (await upload(http, chat, b"before")).status_code == 200  # no quota: not counted
    await set_limit(http, app, unit="upload_bytes", hard=20)
    counted = (await http.post(f"/api/budgets/{app}/count")).json()["limits"]
    assert [one["used"] for one in counted] == [6]
    assert (await upload(http, chat, b"0123456789")).status_code == 200
    assert (await upload(http, chat, b"0123456789")).status_code == 200  # the same object
    refused = await upload(http, chat, b"too much")
    assert refused.status_code == 507
    assert "4 bytes are left" in refused.json()["detail"]
    assert (await upload(http, chat, b"fits")).status_code == 200
    (quota,) = await limits(http, app)
    assert (quota["used"], quota["held"], quota["left"]) == (20, 0, 0)
    recounted = (await http.post(f"/api/budgets/{app}/count")).json()["limits"]
    assert [one["used"] for one in recounted] == [20]
