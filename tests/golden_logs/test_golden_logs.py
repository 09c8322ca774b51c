"""The gate: what earlier releases have written is read, folded, exported and replayed as they did it."""

from pathlib import Path

import pytest

from contracts.events import EVENT_TYPES
from contracts.ids import new_chat_id
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.replay import report
from services.orchestrator.agents.replay.log_replay import replay_log
from services.orchestrator.cli.replay_sources import loaded_workflow
from tests.golden_logs import chats
from tests.golden_logs.__main__ import write_log
from tests.golden_logs.golden import GoldenLog, golden_logs, what_is_known
from tests.orchestrator.conftest import gateway

__all__ = ["gateway"]

LOGS = list(golden_logs())


of_each_log = pytest.mark.parametrize("log", LOGS, ids=lambda log: log.id)


def test_each_kind_of_chat_is_among_the_logs() -> None:
    assert {log.name for log in LOGS} >= {*chats.CHATS, "sale_earlier_versions"}


def test_the_logs_have_earlier_versions_of_every_event_that_has_one() -> None:
    versions = {
        (fact.envelope.type, fact.envelope.version) for log in LOGS for fact in log.read().facts
    }
    earlier = {(one.type, 1) for one in EVENT_TYPES.values() if one.version > 1}
    assert earlier <= versions


@of_each_log
def test_a_log_is_folded_and_exported_as_the_release_did_that_wrote_it(log: GoldenLog) -> None:
    found = what_is_known(log.read().facts)
    for name, known in log.known.items():  # a later release may know more
        assert found[name] == known, name


@of_each_log
async def test_a_log_is_replayed_without_a_difference(log: GoldenLog) -> None:
    recorded = log.read()
    workflow = loaded_workflow(recorded.facts[0].envelope.workflow_name, log.workflows, {})
    replayed = await replay_log(recorded, workflow, patience=20)
    assert replayed.divergence is None, "\n".join(report.as_lines(replayed, recorded.facts))
    assert replayed.events == len(recorded.facts)


@pytest.mark.broker
async def test_this_release_writes_a_log_that_it_replays(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    await write_log(tmp_path / "release", "hello", gateway, new_chat_id())
    (log,) = golden_logs(tmp_path)
    recorded = log.read()
    assert what_is_known(recorded.facts) == log.known
    workflow = loaded_workflow(recorded.facts[0].envelope.workflow_name, log.workflows, {})
    assert (await replay_log(recorded, workflow)).divergence is None
