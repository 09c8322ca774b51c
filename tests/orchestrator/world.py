"""An orchestrator's parts on a real NATS, and a person who gives it orders."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import KeyValueConfig
from nats.js.kv import KeyValue

from contracts import subjects
from contracts.codec import Fact, open_event
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    CancelChat,
    Command,
    SendMessage,
    StartChat,
)
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.ids import (
    AppId,
    ChatId,
    ChatKey,
    QuestionId,
    StreamSeq,
    UserId,
    WorkflowName,
    new_chat_id,
    new_command_id,
    new_runner_id,
)
from services.chassis.bus import Bus
from services.chassis.listening import Delivery
from services.chassis.process import build_broker, connected
from services.chassis.settings import Settings
from services.orchestrator.agents import demo
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.offer import Offer, build_offer
from services.orchestrator.handlers import Handlers
from services.orchestrator.runner import Performer, Runner, Staged
from services.orchestrator.state import ChatState
from services.orchestrator.workflows.spec import Workflow
from tests.story import ANA, NEWSROOM, NOON

SHIPPED = Path(__file__).parents[2] / "workflows"


@asynccontextmanager
async def bus_to(url: str) -> AsyncIterator[Bus]:
    settings = Settings(nats_url=url)
    async with connected(build_broker(settings, "test"), settings) as bus:
        yield bus


def shipped() -> Offer:
    """The workflows of this repository, played by the demo model without a pause."""
    models = Models(demo.MODEL, demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
    return build_offer(SHIPPED, models)


async def leases(bus: Bus, name: str = subjects.LEASES) -> KeyValue:
    """The lease bucket of all, or one of this test's own."""
    if name == subjects.LEASES:
        return await bus.bucket(name)
    return await bus.js.create_key_value(KeyValueConfig(bucket=name))


class OneVersion:
    """A repertoire of workflows that never change."""

    def __init__(self, workflows: Mapping[WorkflowName, Workflow], perform: Performer) -> None:
        self._workflows = workflows
        self._perform = perform

    async def of(self, state: ChatState, asked_for: WorkflowName | None = None) -> Staged | None:
        name = state.workflow or asked_for
        workflow = None if name is None else self._workflows.get(name)
        return None if workflow is None else Staged(workflow, self._perform)


def runner(
    bus: Bus,
    bucket: KeyValue,
    perform: Performer,
    workflows: Mapping[WorkflowName, Workflow] | None = None,
) -> Runner:
    """A runner as another process would have it."""
    known = {NEWSROOM.name: NEWSROOM} if workflows is None else workflows
    return Runner(bus, bucket, OneVersion(known, perform), lambda: NOON, new_runner_id())


async def tell(told: Runner, command: Command, attempt: int = 1) -> None:
    """Deliver a command to a runner past the queue; returns when the chat is quiet."""
    subject = subjects.command(command.key, command.name)
    message = Msg(_client=told._bus.nc, subject=subject, data=command.model_dump_json().encode())
    await Handlers(told).on_command(Delivery(message, attempt))


async def history(bus: Bus, key: ChatKey) -> list[Fact]:
    """What the log holds of a chat, by its own place in it."""
    stored = [one.envelope() async for one in bus.read(key, after=StreamSeq(0))]
    return [Fact(envelope, open_event(envelope)) for envelope in stored]


def types(facts: list[Fact]) -> list[str]:
    return [fact.envelope.type for fact in facts]


@dataclass(frozen=True)
class Person:
    """Someone with one chat."""

    workflow: WorkflowName = NEWSROOM.name
    key: ChatKey = field(default_factory=lambda: ChatKey(AppId("acme.corp"), new_chat_id()))
    user: UserId = ANA

    def _order(self) -> dict[str, Any]:
        return {
            "command_id": new_command_id(),
            "app_id": self.key.app,
            "chat_id": self.key.chat,
            "user_id": self.user,
        }

    def starts(self, message: str | None = None) -> StartChat:
        return StartChat(**self._order(), workflow_name=self.workflow, message=message)

    def says(self, text: str) -> SendMessage:
        return SendMessage(**self._order(), text=text)

    def answers(self, question: QuestionId, text: str) -> AnswerQuestion:
        return AnswerQuestion(**self._order(), question_id=question, text=text)

    def presses(self, question: QuestionId, response: dict[str, Any]) -> AnswerUiTool:
        return AnswerUiTool(**self._order(), question_id=question, response=response)

    def cancels(self) -> CancelChat:
        return CancelChat(**self._order(), reason="enough")


def last_question(facts: list[Fact]) -> QuestionId:
    asked = [fact.event for fact in facts if isinstance(fact.event, HumanAsked)]
    return asked[-1].question_id


def last_component(facts: list[Fact]) -> UiToolRequested:
    return [fact.event for fact in facts if isinstance(fact.event, UiToolRequested)][-1]


def named(chat: str, workflow: str) -> Person:
    """A person whose chat has a name of its own, the same in every run."""
    return Person(WorkflowName(workflow), ChatKey(AppId("acme.corp"), ChatId(chat)))
