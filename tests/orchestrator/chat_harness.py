"""A runner on a real NATS, and a user who sends it commands."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from contracts import subjects
from contracts.codec import Fact
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    CancelChat,
    Command,
    ExpireQuestion,
    ResumeChat,
    SendMessage,
    StartChat,
    StopAnswer,
)
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.ids import (
    AppId,
    ChatId,
    ChatKey,
    QuestionId,
    UserId,
    WorkflowName,
    new_chat_id,
    new_command_id,
    new_process_id,
)
from services.chassis.consumers.queue_consumer import Delivery
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.catalogue import Catalogue, build_catalogue
from services.orchestrator.domain.question_decisions import timer_id
from services.orchestrator.domain.state import ChatState
from services.orchestrator.runtime.chat_budget import Budgets
from services.orchestrator.runtime.command_handler import CommandHandler
from services.orchestrator.runtime.runner import (
    EffectExecutor,
    RunnableWorkflow,
    Runner,
    open_nothing,
)
from services.orchestrator.workflows.spec import Workflow
from tests.orchestrator.agent_sets import DEMO_MODELS
from tests.story import ANA, NEWSROOM, NOON

SHIPPED = Path(__file__).parents[2] / "workflows"


def shipped_catalogue() -> Catalogue:
    """The workflows of this repository, with the demo model."""
    return build_catalogue(SHIPPED, DEMO_MODELS)


class FixedWorkflows:
    """A WorkflowSource whose workflows never change."""

    def __init__(self, workflows: Mapping[WorkflowName, Workflow], execute: EffectExecutor) -> None:
        self._workflows = workflows
        self._execute = execute

    async def find(
        self, state: ChatState, asked_for: WorkflowName | None = None
    ) -> RunnableWorkflow | None:
        name = state.workflow or asked_for
        workflow = None if name is None else self._workflows.get(name)
        if workflow is None:
            return None
        execute = self._execute
        opener = execute.open_turn if isinstance(execute, AgentExecutor) else open_nothing
        return RunnableWorkflow(workflow, execute, opener)


def runner(
    gateway: JetStreamGateway,
    execute: EffectExecutor,
    workflows: Mapping[WorkflowName, Workflow] | None = None,
    budgets: Budgets | None = None,
) -> Runner:
    """A runner with a process id of its own."""
    known = {NEWSROOM.name: NEWSROOM} if workflows is None else workflows
    source = FixedWorkflows(known, execute)
    return Runner(gateway, source, lambda: NOON, new_process_id(), budgets=budgets)


_SEQUENCES: defaultdict[str, int] = defaultdict(count(1).__next__)


async def deliver(
    to: Runner, command: Command, attempt: int = 1, sequence: int | None = None
) -> None:
    """Deliver a command to a runner without the queue; returns when it is handled.

    A command that is delivered again has the same sequence, as a redelivery of the queue has.
    """
    await CommandHandler(to).on_command(_delivery(to, command, attempt, sequence))


async def give_up(to: Runner, command: Command, attempt: int) -> None:
    """Let a runner record that a command is not delivered any more."""
    await CommandHandler(to).on_given_up(_delivery(to, command, attempt, None), "too many tries")


def _delivery(to: Runner, command: Command, attempt: int, sequence: int | None) -> Delivery:
    subject = subjects.command(command.key, command.name)
    message = Msg(_client=to._gateway.nc, subject=subject, data=command.model_dump_json().encode())
    return Delivery(message, attempt, sequence or _SEQUENCES[command.command_id])


async def history(gateway: JetStreamGateway, key: ChatKey) -> list[Fact]:
    """The events of a chat in the log, in order."""
    return [fact async for commit in gateway.events.read(key) for fact in commit.facts]


async def whole_history(gateway: JetStreamGateway, key: ChatKey) -> list[Fact]:
    """The events of a chat with their whole values."""
    return [
        fact
        async for commit in gateway.events.read(key)
        for stored in commit.events
        if (fact := (await gateway.values.whole(stored)).fact) is not None
    ]


def event_types(facts: list[Fact]) -> list[str]:
    return [fact.envelope.type for fact in facts]


@dataclass(frozen=True)
class ChatUser:
    """A user with one chat; builds the commands."""

    workflow: WorkflowName = NEWSROOM.name
    key: ChatKey = field(default_factory=lambda: ChatKey(AppId("acme.corp"), new_chat_id()))
    user: UserId = ANA

    def _command_fields(self) -> dict[str, Any]:
        return {
            "command_id": new_command_id(),
            "app_id": self.key.app,
            "chat_id": self.key.chat,
            "user_id": self.user,
        }

    def start_chat(self, message: str | None = None) -> StartChat:
        return StartChat(**self._command_fields(), workflow_name=self.workflow, message=message)

    def send_message(self, text: str) -> SendMessage:
        return SendMessage(**self._command_fields(), text=text)

    def answer_question(self, question: QuestionId, text: str) -> AnswerQuestion:
        return AnswerQuestion(**self._command_fields(), question_id=question, text=text)

    def answer_ui_tool(self, question: QuestionId, response: dict[str, Any]) -> AnswerUiTool:
        return AnswerUiTool(**self._command_fields(), question_id=question, response=response)

    def expire_question(self, question: QuestionId, time: datetime) -> ExpireQuestion:
        """What the timer that is set for `time` sends."""
        fields = {**self._command_fields(), "command_id": timer_id("expire", question, time)}
        return ExpireQuestion(**fields, question_id=question)

    def resume_chat(self, owner: int) -> ResumeChat:
        return ResumeChat(**self._command_fields(), owner=owner)

    def stop_answer(self, turn: int | None = None) -> StopAnswer:
        return StopAnswer(**self._command_fields(), turn=turn)

    def cancel_chat(self) -> CancelChat:
        return CancelChat(**self._command_fields(), reason="enough")


def last_question(facts: list[Fact]) -> QuestionId:
    questions = [fact.event for fact in facts if isinstance(fact.event, HumanAsked)]
    return questions[-1].question_id


def last_ui_tool(facts: list[Fact]) -> UiToolRequested:
    return [fact.event for fact in facts if isinstance(fact.event, UiToolRequested)][-1]


def user_with_chat(chat: str, workflow: str) -> ChatUser:
    """A user whose chat id is the same in every run."""
    return ChatUser(WorkflowName(workflow), ChatKey(AppId("acme.corp"), ChatId(chat)))
