"""The line of each request, of an application without a server."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from services.chassis.logs.context import current_context
from services.chassis.process.request_log import log_requests

TRACE = "0af7651916cd43dd8448eb211c80319c"


def scope(path: str = "/api/chats/acme/c-1", **more: Any) -> dict[str, Any]:
    traceparent = f"00-{TRACE}-b7ad6b7169203331-01".encode()
    headers = [(b"host", b"x"), (b"traceparent", traceparent)]
    return {"type": "http", "method": "GET", "path": path, "headers": headers, **more}


async def never() -> dict[str, Any]:
    raise AssertionError("nothing is read")


async def ignore(_: Any) -> None:
    pass


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Any, Any, Any, Any]]:
    caplog.set_level(logging.DEBUG)
    found: list[Any] = [r for r in caplog.records if r.name.endswith("request_log")]
    return [(r.getMessage(), r.method, r.route, r.status, r.bytes) for r in found]


def answering(*messages: dict[str, Any]) -> Callable[..., Any]:
    async def app(_: Any, __: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


START = {"type": "http.response.start", "status": 404}
BODY = {"type": "http.response.body", "body": b"12345"}


async def test_a_request_is_one_line_with_its_route_and_without_its_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    asked = scope(path_template="/api/chats/{app_id}/{chat_id}", query_string=b"token=secret")
    await log_requests(answering(START, BODY, BODY))(asked, never, ignore)
    assert lines(caplog) == [("request", "GET", "/api/chats/{app_id}/{chat_id}", 404, 10)]
    assert "secret" not in caplog.text


async def test_a_path_without_a_route_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await log_requests(answering(START))(scope("/" + "x" * 10_000), never, ignore)
    [(_, _, route, _, _)] = lines(caplog)
    assert len(route) == 200


async def test_a_socket_is_one_line_when_it_ends_with_the_code_that_ended_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    async def left() -> dict[str, Any]:
        return {"type": "websocket.disconnect", "code": 1001}

    async def app(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "abc"})
        await receive()

    await log_requests(app)(scope(type="websocket"), left, ignore)
    assert lines(caplog) == [("socket", "WS", "/api/chats/acme/c-1", 1001, 3)]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_request_that_fails_or_is_cancelled_is_a_line_too(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    caplog.set_level(logging.INFO)

    async def app(*_: Any) -> None:
        raise error

    with pytest.raises(error):
        await log_requests(app)(scope(), never, ignore)
    assert lines(caplog) == [("request", "GET", "/api/chats/acme/c-1", None, 0)]


async def test_what_machines_ask_all_the_time_is_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for path in ("/health", "/ready", "/metrics"):
        await log_requests(answering(START))(scope(path), never, ignore)
    assert lines(caplog) == []


async def test_lines_of_a_request_belong_to_its_trace() -> None:
    found = []

    async def app(*_: Any) -> None:
        found.append(dict(current_context()))

    await log_requests(app)(scope(), never, ignore)
    assert found == [{"trace": TRACE}]
    assert dict(current_context()) == {}
