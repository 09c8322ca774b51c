"""The command on budgets: what it prints, and its exit codes."""

import asyncio
import json

import pytest

from contracts.ids import new_message_id
from infra.servers import NatsServer
from services.chassis.budgets.__main__ import UNREACHABLE, WRONG, main
from services.chassis.budgets.limits import BudgetSettings
from services.chassis.jetstream.gateway import JetStreamGateway

pytestmark = pytest.mark.broker


async def test_what_was_set_is_listed_and_shown_until_it_is_removed(
    nats: NatsServer,
    gateway: JetStreamGateway,  # noqa: ARG001  streams exist
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = BudgetSettings(nats_url=nats.url)
    app = new_message_id()

    async def run(line: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, line.split(), settings)
        return code, capsys.readouterr().out

    limit = f"set {app} --scope user --name ana --unit tokens --per day --soft 8 --hard 10"
    assert (await run(limit))[0] == 0
    assert (await run(f"set {app} --unit cost --hard 0.25"))[0] == 0
    code, shown = await run(f"show {app}")
    assert code == 0
    assert "app: cost per total: 0 used; hard 0.25" in shown
    assert "user ana: tokens per day: 0 used; soft 8 hard 10" in shown
    listed = json.loads((await run("list --json"))[1])
    assert len(listed[app]) == 2
    assert len(json.loads((await run(f"show {app} --json"))[1])) == 2
    assert (await run(f"{limit} --remove"))[0] == 0
    assert "user" not in (await run(f"show {app}"))[1]
    assert (await run(f"count {app}")) == (0, "upload_bytes: 0\nvalue_bytes: 0\n")
    assert (await run(f"set {app} --unit tokens --soft 5 --hard 4"))[0] == WRONG


def test_a_server_that_does_not_answer_is_named() -> None:
    assert main(["list"], BudgetSettings(nats_url="nats://127.0.0.1:1")) == UNREACHABLE
