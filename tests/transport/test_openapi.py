import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import subjects
from contracts.catalogue import WorkflowCard
from services.chassis.bus import Bus
from services.transport import openapi, routes
from services.transport.openapi import Told
from tests.transport.story import STARTED, WORKFLOW, Chat

DOCUMENT = openapi.document(routes.HANDLERS, "title", "1")
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
KNOWN = {"app_id": "acme", "workflow_name": WORKFLOW, "user_id": "ana", "limit": "3", "after": "0"}
TEXT = st.text(max_size=90) | st.sampled_from(["", ".", "..", "%", "a/b", "\x00", "é", "*", ">"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


def test_every_page_tells_of_itself_but_the_console_and_the_numbers() -> None:
    silent = {page.handler_name for page in routes.HANDLERS if "told" not in page.opt}
    assert silent == {"console", "numbers"}


def test_the_document_is_whole() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    for _, path, operation in OPERATIONS:
        declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert "200" in operation["responses"]
    for ref in re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)):
        assert ref in DOCUMENT["components"]["schemas"]


@pytest.mark.parametrize("page", [p for p in routes.HANDLERS if "told" in p.opt], ids=str)
def test_every_example_of_a_body_is_one(page: Any) -> None:
    own: Told = page.opt["told"]
    if own.body is not None:
        given = own.body.model_validate(own.said)
        assert given.model_dump(by_alias=True, exclude_unset=True) == own.said


@pytest.fixture
async def http(transport: str, bus: Bus) -> AsyncIterator[httpx.AsyncClient]:
    offered = await bus.bucket(subjects.WORKFLOWS)
    card = WorkflowCard(name=WORKFLOW, pattern="DefaultPattern")
    await offered.put(subjects.workflow_key(card.name), card.model_dump_json().encode())
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


@pytest.mark.broker
async def test_the_document_is_served(http: httpx.AsyncClient) -> None:
    assert (await http.get("/schema")).json()["paths"] == DOCUMENT["paths"]


@pytest.mark.broker
@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_no_request_is_answered_with_a_fault_of_ours(
    http: httpx.AsyncClient,
    chat: Chat,
    method: str,
    path: str,
    operation: dict[str, Any],
    data: st.DataObject,
) -> None:
    if not chat.seq:
        await chat.append(STARTED)
    known = {**KNOWN, "chat_id": chat.key.chat}

    def some(name: str) -> str:
        if name == "wait":  # nothing that would really be waited for
            return data.draw(st.sampled_from(["0", "0.1", "x", "-1", "nan", "31", ""]), name)
        return data.draw(st.just(known[name]) | TEXT if name in known else TEXT, name)

    named = re.sub(r"{(\w+)}", lambda found: quote(some(found[1]), safe="", errors="replace"), path)
    query = {
        one["name"]: some(one["name"])
        for one in operation["parameters"]
        if one["in"] == "query" and data.draw(st.booleans(), f"with {one['name']}")
    }
    reply = await http.request(
        method,
        named,
        params={name: text.encode(errors="replace") for name, text in query.items()},
        content=_body(operation, data),
        headers={"accept": "application/json"},
    )
    assert reply.status_code < 500, (named, query, reply.text)


def _body(operation: dict[str, Any], data: st.DataObject) -> bytes:
    if "requestBody" not in operation:
        return b""
    example = operation["requestBody"]["content"]["application/json"]["example"]
    spoilt = {name: data.draw(st.just(value) | JSON, name) for name, value in example.items()}
    left = {name: spoilt[name] for name in spoilt if data.draw(st.integers(0, 9), "kept")}
    whole = httpx.Request("POST", "http://x", json=_finite(left)).content
    return data.draw(st.just(whole) | st.binary(max_size=30), "body")


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {name: _finite(one) for name, one in value.items()}
        case list():
            return [_finite(one) for one in value]
        case float() if value != value or abs(value) == float("inf"):
            return 0.0
        case _:
            return value
