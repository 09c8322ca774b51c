"""The audit finds chats that nobody will ever run, has them run again, and leaves all others alone."""

import json

import pytest

from contracts import subjects
from contracts.ids import AppId, new_chat_id
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.settings import Settings
from services.orchestrator import audit
from services.orchestrator.audit import audit_chat, repair
from services.orchestrator.domain.state import Owner, pending
from tests.chassis.jetstream.test_forks import forked, started
from tests.orchestrator.chat_harness import ChatUser, event_types, history, runner
from tests.orchestrator.runtime.test_runner import Gate, has, listening, speak, time_limit, until
from tests.story import NEWSROOM

pytestmark = pytest.mark.broker


async def stalled(queue: JetStreamGateway) -> ChatUser:
    """A chat in mid-turn whose process died, and whose message was purged."""
    user, gate = ChatUser(), Gate()
    async with listening(runner(queue, gate, {NEWSROOM.name: NEWSROOM}), queue) as consumer:
        await queue.commands.send(user.start_chat())
        await gate.reached.wait()
        await queue.js.purge_stream(subjects.COMMANDS)
        for task in list(consumer._tasks):
            task.cancel()
    return user


async def test_a_chat_whose_owners_message_is_gone_is_found_and_resumed(
    queue: JetStreamGateway,
) -> None:
    async with time_limit():
        user = await stalled(queue)
        found = await audit_chat(queue, user.key)
        assert [finding.kind for finding in found.findings] == ["stalled"]
        assert "RunTurn(turn=1)" in found.findings[0].detail
        assert await repair(queue, found)
        assert await repair(queue, found), "the same command, which the queue holds once"
        assert await queue.commands.count_open(user.key.app) == 1
        async with listening(runner(queue, speak, {NEWSROOM.name: NEWSROOM}), queue):
            await until(lambda: has(queue, user, "chat.completed"))
    assert event_types(await history(queue, user.key)).count("run.claimed") == 1


async def test_a_running_or_quiet_chat_has_no_finding(queue: JetStreamGateway) -> None:
    user, gate = ChatUser(), Gate()
    async with time_limit(), listening(runner(queue, gate, {NEWSROOM.name: NEWSROOM}), queue):
        await queue.commands.send(user.start_chat())
        await gate.reached.wait()
        found = await audit_chat(queue, user.key)
        assert pending(found.state) is not None
        assert found.findings == ()
        assert not await repair(queue, found)
        gate.opened.set()
        await until(lambda: has(queue, user, "chat.completed"))
        assert (await audit_chat(queue, user.key)).findings == ()


async def test_a_rejected_message_is_listed_with_position_and_reason(
    queue: JetStreamGateway,
) -> None:
    user = ChatUser()
    async with time_limit(), listening(runner(queue, speak, {NEWSROOM.name: NEWSROOM}), queue):
        await queue.commands.send(user.start_chat())
        await until(lambda: has(queue, user, "chat.completed"))
    subject = subjects.event(user.key, "runtime")
    placed = await queue.js.publish(subject, b"\xffgarbage")
    found = await audit_chat(queue, user.key)
    (finding,) = found.findings
    assert (finding.kind, finding.position) == ("rejected", placed.seq)
    assert "no event envelope" in finding.detail


async def test_the_audit_command_reports_and_repairs_by_app(
    queue: JetStreamGateway, nats: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(nats_url=nats.url)
    async with time_limit():
        user = await stalled(queue)
        app = ["--app", user.key.app, "--json"]
        assert await audit.run(settings, app) == 1
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert user.key.chat in {line.get("chat_id") for line in lines}
        assert lines[-1]["stalled"] >= 1
        assert await audit.run(settings, ["--app", new_chat_id()]) == 0
        assert "0 chats" in capsys.readouterr().out
        assert await audit.run(settings, [*app, "--repair"]) == 0
        async with listening(runner(queue, speak, {NEWSROOM.name: NEWSROOM}), queue):
            await until(lambda: has(queue, user, "chat.completed"))


async def test_a_fork_that_has_lost_its_origin_is_a_finding(queue: JetStreamGateway) -> None:
    origin = await started(queue)
    fork = await forked(queue, origin, 10)
    await queue.js.purge_stream(subjects.EVENTS, subject=subjects.events_of(origin.key))
    found = await audit_chat(queue, fork.key)
    assert [finding.kind for finding in found.findings] == ["origin_lost"]


async def test_every_chat_of_every_slot_is_audited(queue: JetStreamGateway) -> None:
    app = AppId(f"walked {new_chat_id()}")
    users = [ChatUser() for _ in range(12)]
    keys = {user.key._replace(app=app) for user in users}
    for key in keys:
        await queue.js.publish(subjects.event(key, "runtime"), b"{}")
    walked = [key async for key in queue.events.chats(app)]
    assert set(walked) == keys
    assert len(walked) == len(keys)


def test_only_the_same_command_of_the_same_chat_is_the_owners() -> None:
    user = ChatUser()
    start = user.start_chat()
    owner = Owner(start.command_id, 7)
    assert audit.is_owner_message(owner, user.key, start)
    assert not audit.is_owner_message(owner, user.key, None)
    assert not audit.is_owner_message(owner, ChatUser().key, start)
    assert not audit.is_owner_message(owner, user.key, user.cancel_chat())
