"""`mozaiks lag`: how far consumers are behind, and what of it is an error."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from nats.js.api import ConsumerConfig, ConsumerInfo, SequenceInfo
from typer.testing import CliRunner, Result

from contracts import subjects
from infra.servers import NatsServer
from services.chassis.jetstream import command_line_connection
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.cli.__main__ import app
from services.orchestrator.cli.lag_command import Lag, lags_of, problems_of
from tests.transport.conftest import chat as chat
from tests.transport.conftest import gateway as gateway
from tests.transport.story import SELECTED, STARTED, Chat


def info(delivered: int, pending: int, unacknowledged: int, **config: str) -> ConsumerInfo:
    return ConsumerInfo(
        name="x1",
        stream_name="EVENTS",
        config=ConsumerConfig(**config),  # type: ignore[arg-type]
        delivered=SequenceInfo(consumer_seq=1, stream_seq=delivered),
        num_pending=pending,
        num_ack_pending=unacknowledged,
        num_redelivered=0,
        created=datetime(2026, 11, 23, tzinfo=UTC),
    )


def test_what_is_delivered_but_not_acknowledged_is_behind_too() -> None:
    persistence = info(7, 3, 2, durable_name="persistence-events")
    metrics = info(10, 0, 0, description="metrics")
    found = lags_of("EVENTS", 10, [persistence, metrics])
    assert found == [
        Lag("EVENTS", "metrics", 10, 10, 0, 0, 0),
        Lag("EVENTS", "persistence-events", 10, 7, 5, 2, 0),
    ]
    assert list(problems_of(found, None)) == []
    assert list(problems_of(found, 5)) == []
    (problem,) = problems_of(found, 4)
    assert problem == "persistence-events is 5 messages of EVENTS behind, more than 4"


def test_a_reader_that_is_missing_is_a_problem() -> None:
    found = lags_of("EVENTS", 10, [info(10, 0, 0, description="metrics")])
    assert [(one.consumer, one.behind) for one in found] == [
        ("metrics", 0),
        ("persistence-events", None),
    ]
    (problem,) = problems_of(found, None)
    assert problem.startswith("persistence-events does not read EVENTS")


@pytest.mark.broker
async def test_lag_is_read_from_nats(
    gateway: JetStreamGateway, chat: Chat, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await chat.append(STARTED, SELECTED)
    name = f"reader-{chat.key.chat}"
    mine = ConsumerConfig(durable_name=name, filter_subject=subjects.ALL_EVENTS)
    await gateway.js.add_consumer(subjects.EVENTS, mine)
    monkeypatch.setenv("NATS_URL", nats.url)
    monkeypatch.setattr(command_line_connection, "CONNECT_SECONDS", 30)  # of a busy machine
    found: Result = await asyncio.to_thread(
        CliRunner().invoke, app, ["lag", "--json", "--max", "0"]
    )
    await gateway.js.delete_consumer(subjects.EVENTS, name)
    assert found.exit_code == 1
    (mine_found,) = [one for one in json.loads(found.stdout) if one["consumer"] == name]
    assert mine_found["behind"] >= 1
    assert f"{name} is " in found.stderr


def test_without_nats_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setattr(command_line_connection, "CONNECT_SECONDS", 0.1)
    found = CliRunner().invoke(app, ["lag"])
    assert found.exit_code == 3
    assert "NATS_URL" in found.stderr
