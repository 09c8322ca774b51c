"""The OpenAPI document: complete, correct, with valid examples; no request that it allows fails."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from contracts.catalogue import WorkflowCard
from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.http import routes
from services.transport.http.api_document import ERRORS, build_document
from tests.thorough import tries
from tests.transport.conftest import Open
from tests.transport.http.test_inspections import inspecting
from tests.transport.http.test_metrics_pages import answering as metrics_answering
from tests.transport.persistence import answering
from tests.transport.story import STARTED, WORKFLOW, Chat, publish_cards

DOCUMENT = build_document(routes.HANDLERS)
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
AUTH_ERRORS = {"401", "403", "429", "503"}
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]
KNOWN = {"app_id": "acme", "workflow_name": WORKFLOW, "user_id": "ana", "limit": 3, "after": 0}
"""Ids of existing data, used instead of generated ones."""
EXAMPLES = tries(3, 10)
"""Number of generated requests per operation, of valid and of invalid ones."""
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]


def test_every_route_is_described_but_pages_and_files() -> None:
    left_out = {one.handler_name for one in routes.HANDLERS if not one.resolve_include_in_schema()}
    assert left_out == {"console", "reference_page", "reference_asset"}


def test_the_document_is_complete() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["servers"]
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    for _, path, operation in OPERATIONS:
        parameters = operation.get("parameters", [])
        declared = {one["name"] for one in parameters if one["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert all(one["description"] for one in parameters)
        assert operation["summary"]
        assert operation["tags"]
    for ref in re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)):
        assert ref in DOCUMENT["components"]["schemas"]


def test_every_response_has_a_schema_and_every_error_the_same_one() -> None:
    for _, path, operation in OPERATIONS:
        answers = operation["responses"]
        assert {"200", "202"} & set(answers), path
        for status, answer in answers.items():
            contents = answer.get("content", {}).values()
            if status in ("204", "304"):
                assert not contents
            elif int(status) in ERRORS:
                (content,) = contents
                names_effects = status == "409" and path.endswith(("/retry", "/edit", "/rewind"))
                model = "RewindRefusedAnswer" if names_effects else "ErrorAnswer"
                assert content["schema"] == {"$ref": f"#/components/schemas/{model}"}
                assert content["examples"]
            else:
                assert contents, (path, status)
                assert all(
                    content["schema"] not in ({}, {"type": "object"}) for content in contents
                )


def test_every_operation_names_the_scopes_it_needs() -> None:
    assert DOCUMENT["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for _, path, operation in OPERATIONS:
        needs = operation["security"]
        if needs == [{}]:
            assert not AUTH_ERRORS - {"503"} & set(operation["responses"]), path
        else:
            assert all(one["bearer"] for one in needs), path
            assert set(operation["responses"]) >= AUTH_ERRORS, path


def examples(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example in the document with its schema: of schemas, parameters, bodies and answers."""
    if isinstance(node, list):
        for place, one in enumerate(node):
            yield from examples(one, f"{path}/{place}")
    if not isinstance(node, dict):
        return
    listed = node.get("examples")
    if isinstance(listed, dict) and "schema" in node:
        yield from ((path, node["schema"], one["value"]) for one in listed.values())
    elif isinstance(listed, list):
        yield from ((path, node, one) for one in listed)
    for name, one in node.items():
        if name != "examples":
            yield from examples(one, f"{path}/{name}")


def test_every_example_is_valid() -> None:
    found = list(examples(DOCUMENT))
    assert len(found) > 400
    for path, schema, example in found:
        whole = {**schema, "components": DOCUMENT["components"]}
        problems = [one.message for one in Draft202012Validator(whole).iter_errors(example)]
        assert not problems, (path, example, problems)


def test_every_integer_is_safe_in_javascript() -> None:
    for path, schema in integers(DOCUMENT):
        limit = schema.get("maximum", schema.get("exclusiveMaximum"))
        assert limit is not None or {"enum", "const"} & set(schema), path
        assert limit is None or limit <= MAX_SAFE_INTEGER, path


def integers(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if node.get("type") == "integer":
            yield path, node
        for name, one in node.items():
            yield from integers(one, f"{path}/{name}")
    if isinstance(node, list):
        for place, one in enumerate(node):
            yield from integers(one, f"{path}/{place}")


def test_every_process_has_the_paths_in_the_same_order() -> None:
    assert list(DOCUMENT["paths"]) == sorted(DOCUMENT["paths"])


@pytest.mark.broker
async def test_the_document_is_served_once_to_each_client(transport: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{transport}") as http:
        first = await http.get("/schema")
        assert first.headers["content-type"].startswith("application/json")
        assert first.json() == DOCUMENT
        again = await http.get("/schema", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = await http.get("/schema", headers={"if-none-match": '"another"'})
        assert other.status_code == 200


@pytest.mark.broker
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
async def test_every_request_is_answered_as_documented(
    open_transport: Open,
    chat: Chat,
    gateway: JetStreamGateway,
    mode: GenerationMode,
    tmp_path: Path,
) -> None:
    await publish_cards(gateway, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"))
    await chat.append(STARTED)
    # No orchestrator starts a chat here: a request to start one waits shortly.
    address = await open_transport(start_wait_seconds=0.01)
    schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"http://{address}/schema")
    known = {**KNOWN, "chat_id": chat.key.chat}
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    paths = {path for _, path, _ in OPERATIONS}
    assert paths - {one.path for one in operations} == {"/schema"}  # schemathesis leaves it out
    async with (
        answering(gateway) as persistence,
        metrics_answering(gateway),
        inspecting(gateway, tmp_path),
    ):
        await persistence.project(chat)
        for operation in operations:
            if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
                continue  # nothing that could be invalid
            await asyncio.to_thread(_check, operation, mode, known)


def is_stream(reply: Any) -> bool:
    return bool(reply.headers["content-type"][0].startswith("text/event-stream"))


def _check(operation: Operation, mode: GenerationMode, known: dict[str, Any]) -> None:
    """Send what the document allows, or forbids; the same requests in every run."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def check(case: Case, data: st.DataObject) -> None:
        for given_ in (case.path_parameters, case.query):
            for name in known.keys() & given_.keys():
                if data.draw(st.booleans(), f"{name} that exists"):
                    given_[name] = known[name]
        case.query.pop("wait", None)  # nothing that would really be waited for
        reply = case.call(headers={"accept": "application/json"}, timeout=10)
        # Of a stream, schemathesis compares each event with the schema of the whole.
        left_out = CHECKS[-1:] if is_stream(reply) else []
        case.validate_response(reply, checks=CHECKS, excluded_checks=left_out)

    check()
