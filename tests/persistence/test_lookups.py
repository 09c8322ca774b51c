"""A workflow's variables from a database: asked over a real log, answered from a real MongoDB."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts import subjects
from contracts.codec import Fact
from contracts.events.turn import RUNTIME, ModelRequested, ToolReturned, VariablesChanged
from contracts.ids import AppId, ChatKey, WorkflowName, new_chat_id
from contracts.lookups import DataFound, DataRequested
from infra.servers import MongoServer, NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import Catalogue, build_catalogue
from services.orchestrator.runtime import data_lookup
from services.orchestrator.runtime.data_lookup import look_up
from services.persistence.settings import Settings
from services.persistence.store.mongo.client import Client, build_client
from tests.gateway import connected_gateway
from tests.orchestrator.chat_harness import ChatUser, deliver, event_types, history, runner
from tests.patience import PATIENCE_SECONDS
from tests.persistence.live import running
from tests.strict_model_calls import strict_model_calls

__all__ = ["strict_model_calls"]

pytestmark = [pytest.mark.broker, pytest.mark.mongo]

ACME = AppId("acme")
TOOL = '''
"""Looks at the stock."""


async def stock(runtime) -> str:
    before = runtime.context_variables["stock"]
    return f"{before} then {await runtime.refresh('stock')}"


async def wrong(runtime) -> str:
    return str(await runtime.refresh("absent"))
'''


@pytest.fixture
async def gateway(empty_nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    async with connected_gateway(empty_nats.url) as gateway:
        yield gateway


@pytest.fixture
async def shop(mongo: MongoServer, database: str) -> AsyncIterator[tuple[Client, str]]:
    """A client and the name of a database that workflows may read."""
    client, name = build_client(mongo.uri), f"{database}_shop"
    yield client, name
    await client.drop_database(name)
    await client.drop_database(database)
    await client.close()


@pytest.fixture
def settings(
    empty_nats: NatsServer, mongo: MongoServer, database: str, shop: tuple[Client, str]
) -> Settings:
    return Settings(
        nats_url=empty_nats.url,
        mongodb_uri=mongo.uri,
        mongodb_database=database,
        data_reference_databases=shop[1],
        drain_seconds=2,
    )


def load_catalogue(root: Path, database: str) -> Catalogue:
    place = root / "Kitchen"
    place.mkdir()
    (place / "stock.py").write_text(TOOL)
    reference = {"type": "data_reference", "database_name": database}
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Kitchen", "orchestration_pattern": "DefaultPattern"},
        "agents": {"agents": [{"name": "Cook"}]},
        "tools": {
            "tools": [
                {"agent": "Cook", "file": "stock.py", "function": name}
                for name in ("stock", "wrong")
            ]
        },
        "context_variables": {
            "definitions": {
                "day": {"source": {"type": "static", "value": "monday"}},
                "soup": {
                    "source": {
                        **reference,
                        "collection": "menus",
                        "query_template": {"day": "{{var.day}}"},
                        "fields": ["soup"],
                        "default": "water",
                    }
                },
                "stock": {
                    "source": {
                        **reference,
                        "collection": "stocks",
                        "fields": ["left"],
                        "default": 0,
                        "refresh_strategy": "on_demand",
                    }
                },
            },
            "agents": {"Cook": {"variables": ["soup"]}},
        },
        "demo": {
            "agents": {
                "Cook": {
                    "lines": [
                        {"calls": [{"tool": "stock"}, {"tool": "wrong"}]},
                        {"say": "Served."},
                    ]
                }
            }
        },
    }
    for name, section in sections.items():
        (place / f"{name}.json").write_text(json.dumps(section))
    models = ModelFactory(
        demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
    )
    return build_catalogue(root, models)


async def run_chat(gateway: JetStreamGateway, catalogue: Catalogue) -> list[Fact]:
    user = ChatUser(WorkflowName("Kitchen"), ChatKey(ACME, new_chat_id()))
    worker = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    async with asyncio.timeout(40):
        await deliver(worker, user.start_chat())
    return await history(gateway, user.key)


def of(facts: list[Fact], kind: type[Any]) -> list[Any]:
    return [fact.event for fact in facts if isinstance(fact.event, kind)]


async def test_variables_are_found_before_the_first_turn_and_again_when_a_tool_wants_them(
    gateway: JetStreamGateway, settings: Settings, shop: tuple[Client, str], tmp_path: Path
) -> None:
    client, name = shop
    await client[name]["menus"].insert_many(
        [
            {"app_id": "acme", "day": "monday", "soup": "leek"},
            {"app_id": "acme", "day": "tuesday", "soup": "fish"},
            {"app_id": "other", "day": "monday", "soup": "secret"},
        ]
    )
    await client[name]["stocks"].insert_one({"app_id": "acme", "left": 7})
    async with running(settings):
        facts = await run_chat(gateway, load_catalogue(tmp_path, name))
    first, second = of(facts, VariablesChanged)
    assert (first.turn, first.agent, first.changed) == (0, RUNTIME, {"soup": "leek"})
    assert event_types(facts).index("turn.variables_changed") < event_types(facts).index(
        "turn.model_requested"
    )
    assert '- soup: "leek"' in of(facts, ModelRequested)[0].prompt[0]
    assert second.changed == {"stock": 7}
    stock, wrong = sorted(of(facts, ToolReturned), key=lambda one: str(one.name))
    assert stock.parts[0].text == "0 then 7"
    assert wrong.error == (
        "ValueError: name: absent is no variable with a data_reference (accepted: soup, stock)"
    )


async def test_without_an_answer_the_default_is_the_value_and_it_is_logged(
    gateway: JetStreamGateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(data_lookup, "TIMEOUT_SECONDS", 0.2)
    facts = await run_chat(gateway, load_catalogue(tmp_path, "elsewhere"))
    first, *_ = of(facts, VariablesChanged)
    assert first.changed == {"soup": "water"}
    assert event_types(facts)[-1] == "chat.completed"
    whys = {vars(record)["why"] for record in caplog.records if "lookup failed" in record.message}
    assert whys == {"no response within 0.2 s"}


async def test_a_database_that_is_not_allowed_is_rejected_at_once_and_by_name(
    gateway: JetStreamGateway, settings: Settings, database: str
) -> None:
    async with running(settings):
        for forbidden in ("elsewhere", database):
            question = DataRequested(
                request_id="r1",
                app_id=ACME,
                chat_id=new_chat_id(),
                database=forbidden,
                collection="chat_events",
            )
            async with asyncio.timeout(4):
                found = await look_up(gateway.lookups, question)
            assert found.problem == (
                f"{forbidden}.chat_events is not among DATA_REFERENCE_DATABASES"
            )


async def test_a_request_that_was_sent_before_persistence_started_is_answered_in_time(
    gateway: JetStreamGateway, settings: Settings, shop: tuple[Client, str]
) -> None:
    client, name = shop
    await client[name]["menus"].insert_one({"app_id": "acme", "soup": "leek"})
    question = DataRequested(
        request_id="r1",
        app_id=ACME,
        chat_id=new_chat_id(),
        database=name,
        collection="menus",
        fields=["soup"],
    )
    async with gateway.lookups.response(question, DataFound) as answer:
        await gateway.lookups.request(question)
        async with running(settings), asyncio.timeout(PATIENCE_SECONDS):
            assert (await answer).value == "leek"
    letters = await gateway.js.stream_info(subjects.DEAD_LETTERS)
    assert letters.state.messages == 0
