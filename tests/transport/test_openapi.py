import asyncio
import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from contracts.catalogue import WorkflowCard
from services.chassis.bus import Bus
from services.transport import openapi, routes
from services.transport.openapi import Told
from tests.transport.conftest import Open
from tests.transport.story import STARTED, WORKFLOW, Chat, offer

DOCUMENT = openapi.document(routes.HANDLERS, "title", "1")
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]
KNOWN = {"app_id": "acme", "workflow_name": WORKFLOW, "user_id": "ana", "limit": 3, "after": 0}
"""What is there to be found, put in the place of what was made up."""
EXAMPLES = 10
"""Of requests, for each page and each of what it takes and what it should refuse."""


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


def test_every_operation_needs_a_token_unless_it_is_open_to_everyone() -> None:
    assert DOCUMENT["security"] == [{"bearer": []}]
    assert DOCUMENT["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for _, path, operation in OPERATIONS:
        refused = {"401", "403", "429"} & set(operation["responses"])
        assert refused == (set() if operation.get("security") == [] else {"401", "403", "429"}), (
            path
        )


@pytest.mark.parametrize("page", [p for p in routes.HANDLERS if "told" in p.opt], ids=str)
def test_every_example_of_a_body_is_one(page: Any) -> None:
    own: Told = page.opt["told"]
    if own.body is not None:
        given = own.body.model_validate(own.said)
        assert given.model_dump(by_alias=True, exclude_unset=True) == own.said


@pytest.mark.broker
async def test_the_document_is_served(transport: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{transport}") as http:
        assert (await http.get("/schema")).json()["paths"] == DOCUMENT["paths"]


@pytest.mark.broker
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
async def test_no_request_is_answered_with_a_fault_of_ours(
    open_transport: Open, chat: Chat, bus: Bus, mode: GenerationMode
) -> None:
    await offer(bus, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"))
    await chat.append(STARTED)
    # A start whose chat nobody states is waited for: shortly, here.
    address = await open_transport(start_wait_seconds=0.01)
    schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"http://{address}/schema")
    known = {**KNOWN, "chat_id": chat.key.chat}
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    paths = {path for _, path, _ in OPERATIONS}
    assert paths - {one.path for one in operations} == {"/schema"}  # it was asked already
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
            continue  # nothing that could be spoilt
        await asyncio.to_thread(_answered, operation, mode, known)


def _answered(operation: Operation, mode: GenerationMode, known: dict[str, Any]) -> None:
    """Ask one page for whatever its document allows, or forbids; the same in every run."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def ask(case: Case, data: st.DataObject) -> None:
        for given_ in (case.path_parameters, case.query):
            for name in known.keys() & given_.keys():
                if data.draw(st.booleans(), f"{name} that is there"):
                    given_[name] = known[name]
        case.query.pop("wait", None)  # nothing that would really be waited for
        reply = case.call(headers={"accept": "application/json"}, timeout=10)
        assert reply.status_code < 500, (case.as_curl_command(), reply.text)

    ask()
