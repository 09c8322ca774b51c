"""An orchestrator's parts on a real NATS, and a person who gives it orders."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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
    ResumeChat,
    SendMessage,
    StartChat,
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
    perform: Performer,
    workflows: Mapping[WorkflowName, Workflow] | None = None,
) -> Runner:
    """A runner as another process would have it."""
    known = {NEWSROOM.name: NEWSROOM} if workflows is None else workflows
    return Runner(bus, OneVersion(known, perform), lambda: NOON, new_process_id())


_SEQUENCES: defaultdict[str, int] = defaultdict(count(1).__next__)


async def tell(
    told: Runner, command: Command, attempt: int = 1, sequence: int | None = None
) -> None:
    """Deliver a command to a runner past the queue; returns when the delivery is done with it.

    A command that is told again is the same message, as the queue would deliver it.
    """
    subject = subjects.command(command.key, command.name)
    message = Msg(_client=told._bus.nc, subject=subject, data=command.model_dump_json().encode())
    delivery = Delivery(message, attempt, sequence or _SEQUENCES[command.command_id])
    await Handlers(told).on_command(delivery)


async def history(bus: Bus, key: ChatKey) -> list[Fact]:
    """What the log holds of a chat, by its own place in it."""
    return [fact async for commit in bus.events.read(key) for fact in commit.facts]


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

    def resumes(self, owner: int) -> ResumeChat:
        return ResumeChat(**self._order(), owner=owner)

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
