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
from contracts.lookups import DataRequested
from infra.servers import MongoServer, NatsServer
from services.chassis.bus import Bus
from services.orchestrator import lookups
from services.orchestrator.agents import demo
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.offer import Offer, build_offer, build_performer
from services.orchestrator.lookups import look_up
from services.persistence.app import Settings
from services.persistence.mongo import Client, build_client
from tests.orchestrator.world import Person, bus_to, history, runner, tell, types
from tests.persistence.live import running

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
async def bus(empty_nats: NatsServer) -> AsyncIterator[Bus]:
    async with bus_to(empty_nats.url) as bus:
        yield bus


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


def offer(root: Path, database: str) -> Offer:
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
    models = Models(demo.MODEL, demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
    return build_offer(root, models)


async def played(bus: Bus, offered: Offer) -> list[Fact]:
    person = Person(WorkflowName("Kitchen"), ChatKey(ACME, new_chat_id()))
    told = runner(bus, build_performer(offered, 25), offered.workflows)
    async with asyncio.timeout(40):
        await tell(told, person.starts())
    return await history(bus, person.key)


def of(facts: list[Fact], kind: type[Any]) -> list[Any]:
    return [fact.event for fact in facts if isinstance(fact.event, kind)]


async def test_variables_are_found_before_the_first_turn_and_again_when_a_tool_wants_them(
    bus: Bus, settings: Settings, shop: tuple[Client, str], tmp_path: Path
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
        facts = await played(bus, offer(tmp_path, name))
    first, second = of(facts, VariablesChanged)
    assert (first.turn, first.agent, first.changed) == (0, RUNTIME, {"soup": "leek"})
    assert types(facts).index("turn.variables_changed") < types(facts).index("turn.model_requested")
    assert '- soup: "leek"' in of(facts, ModelRequested)[0].prompt[0]
    assert second.changed == {"stock": 7}
    stock, wrong = sorted(of(facts, ToolReturned), key=lambda one: str(one.name))
    assert stock.parts[0].text == "0 then 7"
    assert wrong.error == (
        "ValueError: name: absent is no variable with data elsewhere (accepted: soup, stock)"
    )


async def test_where_nobody_answers_the_default_is_the_value_and_the_log_says_so(
    bus: Bus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(lookups, "PATIENCE_SECONDS", 0.2)
    facts = await played(bus, offer(tmp_path, "elsewhere"))
    first, *_ = of(facts, VariablesChanged)
    assert first.changed == {"soup": "water"}
    assert types(facts)[-1] == "chat.completed"
    whys = {vars(record)["why"] for record in caplog.records if "was not found" in record.message}
    assert whys == {"no answer within 0.2 s"}


async def test_a_database_that_is_not_allowed_is_refused_at_once_and_by_name(
    bus: Bus, settings: Settings, database: str
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
                found = await look_up(bus, question)
            assert found.problem == (
                f"{forbidden}.chat_events is not among DATA_REFERENCE_DATABASES"
            )


async def test_a_question_that_was_asked_while_nobody_listened_is_answered_within_its_time(
    bus: Bus, settings: Settings, shop: tuple[Client, str]
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
    async with bus.awaiting(question) as answer:
        await bus.ask(question)
        async with running(settings), asyncio.timeout(20):
            assert (await answer).value == "leek"
    letters = await bus.js.stream_info(subjects.DEAD_LETTERS)
    assert letters.state.messages == 0
