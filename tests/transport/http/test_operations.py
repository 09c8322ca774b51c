"""What operators see of the installation over HTTP: processes, limits and dead letters."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from contracts import subjects
from contracts.ids import AppId, UserId
from services.chassis.dead_letters import queue
from services.chassis.dead_letters.letter import DeadLetter, Original, to_headers
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.auth.principal import UNRESTRICTED, Principal
from services.transport.http.dead_letters import may_see
from tests.transport.story import Chat

pytestmark = pytest.mark.broker


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


async def bury(gateway: JetStreamGateway, subject: str, stream: str, data: bytes) -> int:
    """A dead letter of a message; returns its number."""
    original = Original(subject, stream, 7, 5, {}, len(data))
    stored = await gateway.js.publish(
        subjects.dead_letter("orchestrator", subject),
        data,
        headers=to_headers("orchestrator", "ValueError('odd')", original),
    )
    return stored.seq


async def test_every_process_says_whether_it_is_ready(http: httpx.AsyncClient) -> None:
    page = (await http.get("/api/operations/processes")).json()
    assert {one["service"] for one in page["processes"]} == {"transport"}
    assert all(one["is_ready"] == (not one["waiting_for"]) for one in page["processes"])
    assert page["missing"] == ["metrics", "orchestrator", "persistence"]


async def test_the_apps_with_limits_are_listed(http: httpx.AsyncClient) -> None:
    limit = {"unit": "tokens", "hard": 1000}
    await http.put("/api/budgets/limited-app", json=limit)
    assert "limited-app" in (await http.get("/api/operations/apps")).json()["apps"]
    await http.delete("/api/budgets/limited-app")


async def test_a_command_is_redriven_once(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    data = b'{"text": "secret"}'
    seq = await bury(gateway, subjects.command(chat.key, "send_message"), subjects.COMMANDS, data)
    listed = (await http.get("/api/dead-letters")).json()["letters"]
    (letter,) = [one for one in listed if one["seq"] == seq]
    assert (letter["app_id"], letter["can_redrive"]) == (chat.key.app, True)
    details = await http.get(f"/api/dead-letters/{seq}")
    assert details.json()["payload"] == {"text": "string, 6 bytes"}
    assert "secret" not in details.text
    assert (await http.post(f"/api/dead-letters/{seq}/redrive")).json() == {"seq": seq}
    stored = await gateway.js.get_last_msg(
        subjects.COMMANDS, subjects.command(chat.key, "send_message")
    )
    assert stored.data == data
    assert (await http.post(f"/api/dead-letters/{seq}/redrive")).status_code == 404


async def test_an_event_is_not_redriven_but_may_be_dropped(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    seq = await bury(gateway, subjects.event(chat.key, "runtime"), subjects.EVENTS, b"{}")
    refused = await http.post(f"/api/dead-letters/{seq}/redrive")
    assert refused.status_code == 409
    assert (await http.delete(f"/api/dead-letters/{seq}")).status_code == 200
    assert (await http.get(f"/api/dead-letters/{seq}")).status_code == 404


async def test_letters_are_paged_the_newest_first(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    subject = subjects.command(chat.key, "send_message")
    seqs = [await bury(gateway, subject, subjects.COMMANDS, b"{}") for _ in range(3)]
    first = (await http.get("/api/dead-letters", params={"limit": 2})).json()
    assert [one["seq"] for one in first["letters"]] == seqs[:0:-1]
    rest = (await http.get("/api/dead-letters", params={"before": first["earlier"]})).json()
    assert rest["letters"][0]["seq"] == seqs[0]
    for seq in seqs:
        await http.delete(f"/api/dead-letters/{seq}")


async def test_letters_behind_many_of_others_are_on_later_pages(
    chat: Chat, gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MOST_LISTED", 2)
    subject = subjects.command(chat.key, "send_message")
    ours = await bury(gateway, subject, subjects.COMMANDS, b"{}")
    others = [await bury(gateway, "mozaiks.other", "OTHER", b"{}") for _ in range(3)]

    def wanted(letter: DeadLetter) -> bool:
        return letter.original.subject == subject

    found, earlier = await queue.newest_letters(gateway, wanted, 50)
    assert (found, earlier) == ([], others[1])
    found, _ = await queue.newest_letters(gateway, wanted, 50, earlier)
    assert [one.seq for one in found] == [ours]
    for seq in (ours, *others):
        await queue.drop(gateway, seq)


def test_operators_of_single_apps_see_the_letters_of_these(chat_letter: DeadLetter) -> None:
    operator = Principal(
        user=UserId("op"),
        apps=frozenset({AppId("acme")}),
        scopes=frozenset({"operator"}),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    other = operator.model_copy(update={"apps": frozenset({AppId("other")})})
    assert may_see(UNRESTRICTED, chat_letter)
    assert may_see(operator, chat_letter)
    assert not may_see(other, chat_letter)


@pytest.fixture
def chat_letter() -> DeadLetter:
    from tests.transport.story import KEY

    original = Original(subjects.command(KEY, "send_message"), subjects.COMMANDS, 7, 5)
    now = datetime.now(UTC)
    return DeadLetter(1, now, "orchestrator", "odd", original, b"{}", is_complete=True)
