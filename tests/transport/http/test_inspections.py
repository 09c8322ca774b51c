"""Model calls as sent, prompts of workflows and drafts over HTTP, shown by a real orchestrator's parts."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from contracts.catalogue import WorkflowCard
from contracts.ids import WorkflowName
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.inspection.inspector import Inspector
from services.orchestrator.agents.registry.publisher import publish
from services.orchestrator.agents.registry.version_registry import VersionRegistry
from services.orchestrator.settings import Settings
from services.transport.http.inspections import without_labels
from tests.orchestrator.agent_sets import DEMO_MODELS
from tests.orchestrator.workflow_folder import SHOP, create_workflow_folder, version_registry
from tests.transport.story import GENERAL_CARD, REQUESTED, SELECTED, STARTED, Chat, publish_cards

pytestmark = pytest.mark.broker


@asynccontextmanager
async def inspecting(
    gateway: JetStreamGateway, root: Path, environment: str = "development"
) -> AsyncIterator[VersionRegistry]:
    """An orchestrator that shows the workflows below a folder, until the end of the block."""
    registry = version_registry(gateway, root)
    await registry.load()
    settings = Settings(environment=environment)
    inspector = Inspector(gateway, registry, settings, DEMO_MODELS)
    async with inspector.answering("orchestrator"):
        await gateway.nc.flush()
        yield registry


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=50) as http:
        yield http


@pytest.fixture
async def shop(gateway: JetStreamGateway, tmp_path: Path) -> AsyncIterator[VersionRegistry]:
    create_workflow_folder(tmp_path)
    async with inspecting(gateway, tmp_path) as registry:
        await publish(gateway.key_values, registry.catalogue)
        yield registry
    await publish_cards(gateway, GENERAL_CARD)


async def test_a_model_call_is_shown_as_it_was_sent(
    http: httpx.AsyncClient, chat: Chat, shop: VersionRegistry
) -> None:
    del shop
    await chat.append(STARTED, SELECTED, REQUESTED)
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/model-calls"
    found = await http.get(f"{path}/3", params={"user_id": "ana"})
    assert found.status_code == 200, found.text
    call = found.json()["model_call"]
    assert (call["agent"], call["prompt"], call["response"]) == ("PlannerAgent", ["plan"], None)
    assert call["is_exact"] is False  # the digest of the test's event is none
    none = await http.get(f"{path}/2", params={"user_id": "ana"})
    assert (none.status_code, none.json()["detail"]) == (404, "seq: event 2 is no model request")
    theirs = await http.get(f"{path}/3", params={"user_id": "bob"})
    assert theirs.status_code == 404


async def test_a_workflow_has_a_graph_and_prompts(
    http: httpx.AsyncClient, shop: VersionRegistry
) -> None:
    del shop
    graph = (await http.get(f"/api/workflows/{SHOP}/graph")).json()["graph"]
    assert [node["kind"] for node in graph["nodes"]] == ["user", "agent"]
    source = (await http.get(f"/api/workflows/{SHOP}/source")).json()
    assert source["agents"][0]["prompt"] == "You sell bread."
    assert source["drafts"] is True
    assert sorted(source["files"]) == [
        "agents.json",
        "demo.json",
        "handoffs.json",
        "workflow.json",
    ]


async def test_a_draft_is_a_workflow_of_its_own_in_no_list(
    http: httpx.AsyncClient, shop: VersionRegistry
) -> None:
    edited = json.dumps({"agents": [{"name": "Clerk", "system_message": "You sell cakes."}]})
    path = f"/api/workflows/{SHOP}/draft"
    draft = (await http.post(path, json={"files": {"agents.json": edited}, "model": "m-2"})).json()
    assert draft["problems"] == []
    again = (await http.post(path, json={"files": {"agents.json": edited}, "model": "m-2"})).json()
    assert again == draft
    name = WorkflowName(draft["workflow_name"])
    version = shop.newest(name)
    assert version is not None
    (clerk,) = version.workflow.agents.values()
    assert (clerk.prompt, clerk.model.model) == ("You sell cakes.", "m-2")
    assert name not in (await http.get("/api/workflows")).json()
    assert (await http.get(f"/api/workflows/{name}/graph")).status_code == 200
    first = shop.newest(SHOP)
    assert first is not None
    assert first.workflow.agents[clerk.name].prompt == "You sell bread."


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"files": {"tools.json": "{}"}}, "tools.json: is no manifest that a draft may change"),
        ({"files": {"agents.json": "{"}}, "agents.json: "),
        ({"variables": {"price": 1}}, "variables: price is no variable of the workflow"),
        (
            {
                "files": {
                    "agents.json": json.dumps(
                        {
                            "agents": [
                                {
                                    "name": "Clerk",
                                    "system_message": "x",
                                    "llm_config": {"base_url": "https://elsewhere.example"},
                                }
                            ]
                        }
                    )
                }
            },
            "agents: Clerk: base_url, api_key_env and provider stay as they are",
        ),
    ],
)
async def test_what_is_wrong_in_a_draft_is_said(
    http: httpx.AsyncClient, shop: VersionRegistry, body: dict[str, object], problem: str
) -> None:
    del shop
    answer = (await http.post(f"/api/workflows/{SHOP}/draft", json=body)).json()
    assert answer["workflow_name"] is None
    assert any(line.startswith(problem) for line in answer["problems"]), answer


async def test_there_are_no_drafts_but_in_development(
    http: httpx.AsyncClient, gateway: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path)
    async with inspecting(gateway, tmp_path, "staging") as registry:
        await publish(gateway.key_values, registry.catalogue)
        answer = await http.post(f"/api/workflows/{SHOP}/draft", json={})
        source = (await http.get(f"/api/workflows/{SHOP}/source")).json()
    await publish_cards(gateway, GENERAL_CARD)
    assert answer.status_code == 409
    assert "ENVIRONMENT is not development" in answer.json()["detail"]
    assert (source["drafts"], source["files"]) == (False, {})


async def test_without_an_orchestrator_nothing_is_shown(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await publish_cards(gateway, WorkflowCard(name=SHOP, agents=[]))
    await chat.append(STARTED)
    for path in (
        f"/api/chats/{chat.key.app}/{chat.key.chat}/model-calls/1?user_id=ana",
        f"/api/workflows/{SHOP}/source",
    ):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (
            503,
            "orchestrator: no orchestrator is running",
        )


def test_users_see_who_follows_whom_and_no_conditions() -> None:
    card = WorkflowCard.model_validate(
        {
            "name": "Shop",
            "graph": {
                "nodes": [{"id": "a", "name": "a", "kind": "agent"}],
                "edges": [{"source": "a", "target": "a", "label": "if rich", "is_choice": True}],
            },
        }
    )
    assert [edge.label for edge in without_labels(card.graph).edges] == [""]
