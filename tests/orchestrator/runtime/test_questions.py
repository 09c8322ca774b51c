"""Questions of real tools on a real log: escalation by a timer, links in business events, approvals."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.commands import COMMAND, AnswerQuestion, Command
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.human import Audience, HumanAnswered, HumanAsked, QuestionEscalated
from contracts.events.turn import ToolReturned
from contracts.ids import UserId, WorkflowName, new_process_id
from services.chassis.answer_links import AnswerLinks
from services.chassis.consumers.queue_consumer import Delivery
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.catalogue import build_catalogue
from services.orchestrator.runtime.command_handler import CommandHandler
from services.orchestrator.runtime.question_notices import QuestionNotices
from services.orchestrator.runtime.runner import Runner
from tests.orchestrator.agent_sets import DEMO_MODELS
from tests.orchestrator.chat_harness import ChatUser, FixedWorkflows, deliver, history
from tests.orchestrator.runtime.test_runner import listening, until
from tests.orchestrator.workflow_folder import write_manifest
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

LINKS = AnswerLinks(b"s" * 32, "https://chat.example.com", timedelta(days=1))
NAME = WorkflowName("Payments")
TOOLS = """
def pay(euros: int) -> str:
    return f"paid {euros}"
"""
PAY = {"agent": "Cashier", "file": "payments.py", "function": "pay"}


def worker(
    gateway: JetStreamGateway, root: Path, approval: dict[str, Any], calls: int = 1
) -> Runner:
    """A runner of a workflow whose agent pays, with an approval for each call, and then ends."""
    folder = root / NAME
    folder.mkdir(exist_ok=True)
    (folder / "payments.py").write_text(TOOLS)
    lines: list[Any] = [
        {"calls": [{"tool": "pay", "arguments": {"euros": 12}}]} for _ in range(calls)
    ]
    write_manifest(folder, "workflow.json", {"workflow_name": NAME})
    write_manifest(folder, "agents.json", {"agents": [{"name": "Cashier"}]})
    write_manifest(folder, "tools.json", {"tools": [{**PAY, "approval": approval}]})
    write_manifest(
        folder, "demo.json", {"agents": {"Cashier": {"lines": [*lines, {"say": "Done."}]}}}
    )
    catalogue = build_catalogue(root, DEMO_MODELS)
    assert NAME in catalogue.workflows, catalogue
    return Runner(
        gateway,
        FixedWorkflows(catalogue.workflows, AgentExecutor(catalogue, 25)),
        lambda: datetime.now(UTC),
        new_process_id(),
        QuestionNotices(LINKS),
    )


async def events(gateway: JetStreamGateway, user: ChatUser) -> list[Event]:
    return [fact.event for fact in await history(gateway, user.key)]


async def of(gateway: JetStreamGateway, user: ChatUser, kind: type[Event]) -> list[Any]:
    return [event for event in await events(gateway, user) if isinstance(event, kind)]


async def timed_command(gateway: JetStreamGateway, user: ChatUser, name: str) -> Command:
    """The command of a timer, once JetStream has sent it: no orchestrator takes it here."""
    subject = subjects.command(user.key, name)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                found = await gateway.reader.last(subjects.COMMANDS, subject)
            except NatsUnavailableError:
                found = None
            if found is not None:
                return COMMAND.validate_json(found.data)
            await asyncio.sleep(0.05)


def answer(user: ChatUser, asked: HumanAsked, text: str, **fields: Any) -> AnswerQuestion:
    return user.answer_question(asked.question_id, text).model_copy(update=fields)


MANAGER = {"after_seconds": 1, "roles": ["manager"]}


async def test_an_escalation_fires_once_though_no_orchestrator_ran_at_its_time(
    queue: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(workflow=NAME)
    approval = {"escalation": MANAGER, "send_links": True}
    first = worker(queue, tmp_path, approval)
    await deliver(first, user.start_chat())
    (asked,) = await of(queue, user, HumanAsked)
    assert asked.escalation is not None
    assert await of(queue, user, QuestionEscalated) == []

    command = await timed_command(queue, user, "escalate_question")  # while nobody takes commands
    later = worker(queue, tmp_path, approval)
    await deliver(later, command)
    await deliver(later, command, attempt=2)
    await deliver(first, command.model_copy(update={"command_id": "another"}))
    (escalated,) = await of(queue, user, QuestionEscalated)
    assert escalated.to == Audience(roles=["manager"])
    notices = await of(queue, user, BusinessLogged)
    assert [one.metadata["escalated"] for one in notices] == [False, True]

    by_manager = answer(user, asked, "yes", user_id=UserId("zoe"), role="manager")
    await deliver(later, by_manager)
    (returned,) = await of(queue, user, ToolReturned)
    assert returned.status == "ok"
    (given,) = await of(queue, user, HumanAnswered)
    assert (given.user_id, given.role, given.approved) == ("zoe", "manager", True)


class KillerError(Exception):
    """Stands for the end of a process at this point."""


async def test_an_escalation_whose_process_dies_between_its_events_is_completed_once(
    queue: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(workflow=NAME)
    runner = worker(queue, tmp_path, {"escalation": MANAGER, "send_links": True})
    await deliver(runner, user.start_chat())
    command = await timed_command(queue, user, "escalate_question")

    class Dying(CommandHandler):
        async def _append(self, *_: Any) -> bool:
            raise KillerError

    subject = subjects.command(command.key, command.name)
    message = Msg(_client=queue.nc, subject=subject, data=command.model_dump_json().encode())
    with pytest.raises(KillerError):
        await Dying(runner).on_command(Delivery(message, 1, 77))
    assert len(await of(queue, user, BusinessLogged)) == 2  # the notice is there, the event is not
    assert await of(queue, user, QuestionEscalated) == []
    again = worker(queue, tmp_path, {"escalation": MANAGER, "send_links": True})
    await CommandHandler(again).on_command(Delivery(message, 2, 77))
    assert len(await of(queue, user, BusinessLogged)) == 2
    assert len(await of(queue, user, QuestionEscalated)) == 1


async def test_the_timer_of_a_question_that_is_answered_escalates_nothing(
    queue: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(workflow=NAME)
    runner = worker(queue, tmp_path, {"escalation": MANAGER, "send_links": True})
    await deliver(runner, user.start_chat())
    (asked,) = await of(queue, user, HumanAsked)
    await deliver(runner, answer(user, asked, "no"))
    await deliver(runner, await timed_command(queue, user, "escalate_question"))
    assert await of(queue, user, QuestionEscalated) == []
    assert len(await of(queue, user, BusinessLogged)) == 1


async def test_an_approval_that_nobody_gives_in_time_is_refused_and_the_chat_goes_on(
    queue: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(workflow=NAME)
    approval = {"expires_after_seconds": 1, "approvers": {"roles": ["finance"]}}
    runner = worker(queue, tmp_path, approval)
    async with asyncio.timeout(40), listening(runner, queue):
        await queue.commands.send(user.start_chat())

        async def ended() -> bool:
            return bool(await of(queue, user, ToolReturned))

        await until(ended)
    (given,) = await of(queue, user, HumanAnswered)
    assert (given.by_default, given.approved) == (True, False)
    (returned,) = await of(queue, user, ToolReturned)
    assert returned.status == "refused"


async def test_the_links_of_a_question_are_in_a_business_event_for_each_who_may_answer(
    queue: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(workflow=NAME)
    approvers = {"users": ["bob"], "roles": ["finance"]}
    runner = worker(queue, tmp_path, {"approvers": approvers, "send_links": True})
    start = user.start_chat()
    await deliver(runner, start)
    await deliver(runner, start, attempt=2)  # as if its process had ended: nothing is sent twice
    (asked,) = await of(queue, user, HumanAsked)
    (notice,) = await of(queue, user, BusinessLogged)
    assert notice.log_event_type == "question.waiting"
    facts = notice.metadata
    assert (facts["question_id"], facts["tool"]) == (asked.question_id, "pay")
    assert facts["prompt"] == asked.prompt
    assert [(one["user"], one["role"]) for one in facts["links"]] == [
        ("bob", None),
        (None, "finance"),
    ]
    for one in facts["links"]:
        token = one["url"].removeprefix("https://chat.example.com/answer/")
        link = LINKS.read(token, datetime.now(UTC))
        assert (link.question_id, link.user, link.role) == (
            asked.question_id,
            one["user"],
            one["role"],
        )
        assert asked.approval is not None
        assert link.digest == asked.approval.digest
    assert json.dumps(facts)  # as every value of an event


async def test_an_answer_of_somebody_else_changes_nothing_in_the_log(
    queue: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(workflow=NAME)
    runner = worker(queue, tmp_path, {"approvers": {"roles": ["finance"]}})
    await deliver(runner, user.start_chat())
    (asked,) = await of(queue, user, HumanAsked)
    before = await events(queue, user)
    await deliver(runner, answer(user, asked, "yes"))
    await deliver(runner, answer(user, asked, "yes", user_id=UserId("zoe"), role="sales"))
    other = answer(user, asked, "yes", user_id=UserId("zoe"), role="finance", digest="e" * 64)
    await deliver(runner, other)
    assert await events(queue, user) == before


async def test_always_holds_in_another_process_and_for_later_turns(
    queue: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(workflow=NAME)
    first = worker(queue, tmp_path, {"allow_always": True}, calls=2)
    await deliver(first, user.start_chat())
    (asked,) = await of(queue, user, HumanAsked)
    again = worker(queue, tmp_path, {"allow_always": True}, calls=2)
    await deliver(again, answer(user, asked, "Always for this chat"))
    assert [one.status for one in await of(queue, user, ToolReturned)] == ["ok", "ok"]
    assert len(await of(queue, user, HumanAsked)) == 1
