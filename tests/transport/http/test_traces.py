"""The trace of a request: in its command and in the headers of its message, whether it is exported or not."""

from collections.abc import AsyncIterator

import httpx
import pytest

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.commands import COMMAND
from contracts.ids import AppId, ChatId, ChatKey
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.story import WORKFLOW, publish_cards

pytestmark = pytest.mark.broker

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


@pytest.fixture(autouse=True)
async def card(gateway: JetStreamGateway) -> None:
    """A workflow that can be started."""
    await publish_cards(gateway, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"))


async def started(
    http: httpx.AsyncClient, gateway: JetStreamGateway, traceparent: str
) -> tuple[str | None, str | None]:
    """The trace in the command of a start, and the one in the headers of its message."""
    answer = await http.post(
        f"/api/chats/acme/{WORKFLOW}/start",
        json={"user_id": "ann"},
        headers={"traceparent": traceparent},
    )
    assert answer.status_code == 202, answer.text
    key = ChatKey(AppId("acme"), ChatId(answer.json()["chat_id"]))
    subject = subjects.command(key, "start_chat")
    message = await gateway.js.get_last_msg(subjects.COMMANDS, subject)
    assert message.data is not None
    return COMMAND.validate_json(message.data).trace, (message.headers or {}).get("traceparent")


async def test_a_traceparent_is_passed_on_without_an_exporter(
    http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    assert await started(http, gateway, TRACE) == (TRACE, TRACE)


@pytest.mark.parametrize("hostile", ["00-1-2-01", TRACE.upper(), f"{TRACE}-x", "x" * 8000])
async def test_a_hostile_traceparent_is_left_out_and_the_chat_starts(
    http: httpx.AsyncClient, gateway: JetStreamGateway, hostile: str
) -> None:
    assert await started(http, gateway, hostile) == (None, None)
