"""One trace through all services of the whole product, as a real receiver of OTLP gets it."""

import asyncio
import json
from collections.abc import Callable
from secrets import token_hex

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.system.product import Product
from tests.system.trace_receiver import ReceivedSpan, TraceReceiver

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(120),
]

READ = "process EVENTS"
RUN = {
    ("transport", "send COMMANDS"),
    ("orchestrator", "process COMMANDS"),
    ("orchestrator", "invoke_workflow HelloWorld"),
}


def traceparent(trace: str) -> str:
    return f"00-{trace}-00f067aa0ba902b7-01"


def chain(spans: list[ReceivedSpan], trace: str, leaf: str) -> list[str]:
    """The names from a span up to the first of its trace."""
    by_id = {one.id: one for one in spans if one.trace == trace}
    now = next((one for one in by_id.values() if one.name.startswith(leaf)), None)
    names: list[str] = []
    while now is not None:
        names.append(now.name)
        now = by_id.get(now.parent)
    return names


def is_whole(trace: str) -> Callable[[list[ReceivedSpan]], bool]:
    """Whether the trace has a run that is over, and persistence and metrics have read its events."""

    def holds(spans: list[ReceivedSpan]) -> bool:
        own = {(one.service, one.name) for one in spans if one.trace == trace}
        readers = {one.service for one in spans if trace in one.links and one.name == READ}
        return own >= RUN and readers >= {"persistence", "metrics"}

    return holds


async def test_a_request_and_a_message_of_a_socket_are_one_trace_each_through_all_services(
    demo_product: Product, trace_receiver: TraceReceiver
) -> None:
    request, message = token_hex(16), token_hex(16)
    async with httpx.AsyncClient(base_url=demo_product.address) as client:
        answer = await client.post(
            "/api/chats/acme/HelloWorld/start",
            json={"user_id": "ann", "message": "Hello"},
            headers={"traceparent": traceparent(request)},
        )
    started = answer.raise_for_status().json()
    await asyncio.to_thread(trace_receiver.wait_until, is_whole(request))
    url = demo_product.address.replace("http", "ws") + started["websocket_url"]
    async with connect(f"{url}?after=0") as socket:
        frame = {
            "type": "user.input.submit",
            "chat_id": started["chat_id"],
            "text": "And again",
            "traceparent": traceparent(message),
        }
        await socket.send(json.dumps(frame))
        spans = await asyncio.to_thread(trace_receiver.wait_until, is_whole(message))
    run = ["invoke_workflow HelloWorld", "process COMMANDS", "send COMMANDS"]
    start = "POST /api/chats/{app_id}/{workflow_name}/start"
    assert chain(spans, request, "invoke_workflow") == [*run, start]
    assert chain(spans, message, "invoke_workflow") == [*run, "receive user.input.submit"]
    [continued] = [
        one for one in spans if one.trace == message and one.name.startswith("invoke_workflow")
    ]
    assert continued.links == (request,)
    assert demo_product.violations == []
