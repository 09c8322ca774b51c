import gzip
from typing import Any

import httpx
import pytest

from services.transport.http.conditional import GZIP_BYTES, answer_conditionally
from tests.transport.story import STARTED, Chat, user_message

JSON = b'{"text":"' + b"word " * 1000 + b'"}'


async def got(
    *bodies: bytes, headers: dict[str, str] | None = None, method: str = "GET", **sent: str
) -> httpx.Response:
    """The answer of an app that sends these bodies, to a request with these headers."""
    given = {"content-type": "application/json", **(headers or {})}
    if len(bodies) == 1:
        given["content-length"] = str(len(bodies[0]))

    async def app(_: dict[str, Any], __: Any, send: Any) -> None:
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        for place, body in enumerate(bodies, 1):
            more = place < len(bodies)
            await send({"type": "http.response.body", "body": body, "more_body": more})

    transport = httpx.ASGITransport(app=answer_conditionally(app))
    request = {"accept-encoding": "identity"} | {k.replace("_", "-"): v for k, v in sent.items()}
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as http:
        return await http.request(method, "/", headers=request)


async def test_a_document_that_the_client_has_is_not_sent_again() -> None:
    first = await got(JSON)
    assert (first.status_code, first.content) == (200, JSON)
    assert first.headers["cache-control"] == "private, no-cache"
    again = await got(JSON, if_none_match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    changed = await got(JSON + b" ", if_none_match=first.headers["etag"])
    assert changed.status_code == 200


async def test_a_large_document_is_compressed_for_who_accepts_gzip() -> None:
    answer = await got(JSON, accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < len(JSON) / 10
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.content == JSON
    again = await got(JSON, accept_encoding="gzip", if_none_match=answer.headers["etag"])
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("bodies", "headers"),
    [
        ([b"x" * (GZIP_BYTES - 1)], {}),
        ([JSON], {"content-type": "application/octet-stream"}),
        ([JSON], {"cache-control": "private, no-store"}),
        ([gzip.compress(JSON)], {"content-encoding": "gzip"}),
        ([JSON, JSON], {"content-type": "text/event-stream"}),
    ],
)
async def test_what_is_small_or_a_stream_or_compressed_or_secret_is_sent_as_it_is(
    bodies: list[bytes], headers: dict[str, str]
) -> None:
    answer = await got(*bodies, headers=headers, accept_encoding="gzip")
    assert answer.headers.get("content-encoding") == headers.get("content-encoding")
    assert answer.content == (JSON if "content-encoding" in headers else b"".join(bodies))


async def test_a_file_that_names_its_version_is_not_sent_again() -> None:
    answer = await got(JSON, JSON, headers={"etag": '"v1"'}, if_none_match='"v0", "v1"')
    assert (answer.status_code, answer.content) == (304, b"")


async def test_a_post_is_answered_as_it_is() -> None:
    answer = await got(JSON, method="POST", accept_encoding="gzip")
    assert answer.content == JSON
    assert "etag" not in answer.headers


@pytest.mark.broker
async def test_lists_pages_and_the_console_are_answered_conditionally(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, user_message("hello"))
    events = f"/api/chats/{chat.key.app}/{chat.key.chat}/events?user_id=ana&before=9"
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        for path in ("/api/workflows", events, "/", "/console/icon.svg", "/schema"):
            first = await http.get(path)
            assert "no-cache" in first.headers["cache-control"], path
            again = await http.get(path, headers={"if-none-match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b""), path
        first = await http.get(events)
        assert (await http.get("/schema")).headers["content-encoding"] == "gzip"
        await chat.append(user_message("again"))
        page = await http.get(events, headers={"if-none-match": first.headers["etag"]})
        assert len(page.json()["frames"]) == 3
