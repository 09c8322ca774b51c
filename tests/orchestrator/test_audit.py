"""The audit finds chats that nobody will ever run, has them run again, and leaves all others alone."""

import json

import pytest

from contracts import subjects
from contracts.ids import AppId, new_chat_id
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.settings import Settings
from services.orchestrator import audit
from services.orchestrator.audit import audited, repair
from services.orchestrator.state import Owner, pending
from tests.orchestrator.test_runner import Gate, has, listening, patience, speak, until
from tests.orchestrator.world import Person, history, runner, types
from tests.story import NEWSROOM

pytestmark = pytest.mark.broker


async def stalled(queue: Bus) -> Person:
    """A chat in mid-turn whose process died, and whose message was purged."""
    person, gate = Person(), Gate()
    async with listening(runner(queue, gate, {NEWSROOM.name: NEWSROOM}), queue) as consumer:
        await queue.order(person.starts())
        await gate.reached.wait()
        await queue.js.purge_stream(subjects.COMMANDS)
        for task in list(consumer._open):
            task.cancel()
    return person


async def test_a_chat_whose_owners_message_is_gone_is_found_and_resumed(queue: Bus) -> None:
    async with patience():
        person = await stalled(queue)
        found = await audited(queue, person.key)
        assert [finding.kind for finding in found.findings] == ["stalled"]
        assert "RunTurn(turn=1)" in found.findings[0].detail
        assert await repair(queue, found)
        assert await repair(queue, found), "the same command, which the queue holds once"
        assert await queue.commands_open(person.key.app) == 1
        async with listening(runner(queue, speak, {NEWSROOM.name: NEWSROOM}), queue):
            await until(lambda: has(queue, person, "chat.completed"))
    assert types(await history(queue, person.key)).count("run.claimed") == 1


async def test_a_chat_in_hand_or_at_rest_is_well(queue: Bus) -> None:
    person, gate = Person(), Gate()
    async with patience(), listening(runner(queue, gate, {NEWSROOM.name: NEWSROOM}), queue):
        await queue.order(person.starts())
        await gate.reached.wait()
        found = await audited(queue, person.key)
        assert pending(found.state) is not None
        assert found.findings == ()
        assert not await repair(queue, found)
        gate.opened.set()
        await until(lambda: has(queue, person, "chat.completed"))
        assert (await audited(queue, person.key)).findings == ()


async def test_what_does_not_count_is_listed_with_its_place_and_reason(queue: Bus) -> None:
    person = Person()
    async with patience(), listening(runner(queue, speak, {NEWSROOM.name: NEWSROOM}), queue):
        await queue.order(person.starts())
        await until(lambda: has(queue, person, "chat.completed"))
    subject = subjects.event(person.key, "runtime")
    placed = await queue.js.publish(subject, b"\xffgarbage")
    found = await audited(queue, person.key)
    (finding,) = found.findings
    assert (finding.kind, finding.position) == ("rejected", placed.seq)
    assert "no event envelope" in finding.detail


async def test_the_audit_s_command_tells_and_repairs_by_app(
    queue: Bus, nats: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(nats_url=nats.url)
    async with patience():
        person = await stalled(queue)
        app = ["--app", person.key.app, "--json"]
        assert await audit.run(settings, app) == 1
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert person.key.chat in {line.get("chat_id") for line in lines}
        assert lines[-1]["stalled"] >= 1
        assert await audit.run(settings, ["--app", new_chat_id()]) == 0
        assert "0 chats" in capsys.readouterr().out
        assert await audit.run(settings, [*app, "--repair"]) == 0
        async with listening(runner(queue, speak, {NEWSROOM.name: NEWSROOM}), queue):
            await until(lambda: has(queue, person, "chat.completed"))


async def test_every_chat_is_walked_whatever_its_slot(queue: Bus) -> None:
    app = AppId(f"walked {new_chat_id()}")
    people = [Person() for _ in range(12)]
    keys = {person.key._replace(app=app) for person in people}
    for key in keys:
        await queue.js.publish(subjects.event(key, "runtime"), b"{}")
    walked = [key async for key in queue.events.chats(app)]
    assert set(walked) == keys
    assert len(walked) == len(keys)


def test_only_the_same_command_of_the_same_chat_is_the_owners() -> None:
    person = Person()
    start = person.starts()
    owner = Owner(start.command_id, 7)
    assert audit.is_owners(owner, person.key, start)
    assert not audit.is_owners(owner, person.key, None)
    assert not audit.is_owners(owner, Person().key, start)
    assert not audit.is_owners(owner, person.key, person.cancels())
