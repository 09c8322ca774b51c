"""Turn: what the processor does for one agent's turn, in this process, beside a bare `Agent.ask`."""

import gc
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from time import process_time

from ag2 import Agent as Ag2Agent
from ag2 import tool
from ag2.config import ModelConfig
from ag2.events import ToolCallEvent
from ag2.testing import TestConfig
from nats.aio.msg import Msg

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from contracts import subjects
from contracts.commands import StartChat
from contracts.ids import ChatKey, WorkflowName, new_command_id
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.listening import Delivery
from services.orchestrator.agents.build import Cast
from services.orchestrator.agents.demo import DemoConfig
from services.orchestrator.agents.offer import Edition, build_performer
from services.orchestrator.chatlog import ChatLog
from services.orchestrator.decisions import decide
from services.orchestrator.handlers import Handlers
from services.orchestrator.runner import Runner, Staged
from services.orchestrator.state import ChatState
from services.orchestrator.workflows.demo import DemoLine, DemoScripts, Script
from services.orchestrator.workflows.loading import Loaded
from services.orchestrator.workflows.spec import USER, Agent, Workflow

REPETITIONS = 7
TURNS = 12
CALL_LIMIT = 10
AIM = Aim(ratio=2)
PROMPT = "You are a helpful planner."
QUESTION = "What would it cost?"
ANSWER = "About nine days, give or take one, for the four steps of the plan."
WORDS = 40
_SEQUENCES = count(1)


class WrongTurnError(Exception):
    """The turn did not end as it was meant to: the figure would mean nothing."""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of turn: what the model says, and the events that the whole chat then has."""

    name: str
    config: ModelConfig
    events: int
    tools: tuple[Callable[..., object], ...] = ()

    @property
    def workflow(self) -> WorkflowName:
        return WorkflowName(self.name.replace(" ", "-"))

    def agent(self) -> Ag2Agent:
        tools = [tool(function) for function in self.tools]
        return Ag2Agent(str(chats.AGENT), PROMPT, config=self.config, tools=tools)


def estimate_effort(steps: list[str]) -> str:
    """Estimate the effort, in days, of each step of a plan."""
    return f"{len(steps)} steps, {2 * len(steps)} days"


def _cases() -> list[Case]:
    asked = ToolCallEvent("estimate_effort", id="call_1", arguments='{"steps": ["a", "b"]}')
    words = Script(lines=[DemoLine(say="blueprint " * WORDS)], loop=True)
    return [
        Case("text", TestConfig(ANSWER), 8),
        Case("one tool", TestConfig(asked, ANSWER), 12, (estimate_effort,)),
        Case(f"{WORDS} words streamed", DemoConfig(words, pause=0), 8),
    ]


async def measure(server: NatsServer) -> list[Figure]:
    cases = _cases()
    async with stage.bus(server) as bus:
        runner = _runner(bus, cases)
        return [figure for case in cases for figure in await _compare(case, bus, runner)]


async def _compare(case: Case, bus: Bus, runner: Runner) -> list[Figure]:
    bare: list[float] = []
    runs: list[float] = []
    whole: list[float] = []
    agent = case.agent()
    for _ in range(REPETITIONS):
        bare.append(await _cost([_ask(agent)] * TURNS))
        opened = [await _opened(case, runner) for _ in range(TURNS)]
        runs.append(await _cost([_run(runner, chat) for chat in opened]))
        _check(case, opened)
        handled = [_handled(case, bus, runner) for _ in range(TURNS)]
        whole.append(await _cost(handled))
    name = f"turn, {case.name}"
    return [
        Figure(f"{name}: CPU", "ms", runs, bare, AIM),
        Figure(f"{name}: CPU with its command", "ms", whole, bare),
    ]


Deed = Callable[[], Awaitable[object]]


async def _cost(deeds: Sequence[Deed]) -> float:
    """Milliseconds of this process's CPU for each, the mean."""
    gc.collect()
    began = process_time()
    for deed in deeds:
        await deed()
    return 1000 * (process_time() - began) / len(deeds)


def _ask(agent: Ag2Agent) -> Deed:
    return lambda: agent.ask(QUESTION)


def _run(runner: Runner, chat: ChatLog) -> Deed:
    return lambda: runner.run(chat, takeover=False)


def _handled(case: Case, bus: Bus, runner: Runner) -> Deed:
    command = _start(case, chats.new_chat())
    message = Msg(
        bus.nc,
        subject=subjects.command(command.key, command.name),
        data=command.model_dump_json().encode(),
    )
    return lambda: Handlers(runner).on_command(
        Delivery(message, attempt=1, sequence=next(_SEQUENCES))
    )


async def _opened(case: Case, runner: Runner) -> ChatLog:
    """A chat that waits for its agent."""
    command = _start(case, chats.new_chat())
    chat = runner.open(command.key, command.command_id, next(_SEQUENCES), attempt=1)
    workflow = await runner.workflow(chat.state, case.workflow)
    await chat.append(lambda state: decide(command, state, workflow), workflow=case.workflow)
    return chat


def _start(case: Case, key: ChatKey) -> StartChat:
    return StartChat(
        command_id=new_command_id(),
        app_id=key.app,
        chat_id=key.chat,
        user_id=chats.PERSON,
        workflow_name=case.workflow,
        message=QUESTION,
    )


def _check(case: Case, ran: Sequence[ChatLog]) -> None:
    for chat in ran:
        if chat.state.seq != case.events or not chat.state.waits_for_user:
            raise WrongTurnError(f"{case.name}: {chat.state.seq} events, {_spoke(chat.state)}")


def _spoke(state: ChatState) -> str:
    return f"ended {state.ended}, open {state.open and state.open.agent}"


@dataclass(frozen=True, slots=True)
class Stages:
    """The cases as a repertoire."""

    staged: Mapping[WorkflowName, Staged]

    async def of(self, state: ChatState, asked_for: WorkflowName | None = None) -> Staged | None:
        name = state.workflow or asked_for
        return None if name is None else self.staged.get(name)


def _staged(case: Case) -> Staged:
    agent = Agent(chats.AGENT, PROMPT, after_work=USER)
    workflow = Workflow(name=case.workflow, agents={chats.AGENT: agent}, initial_agent=chats.AGENT)
    edition = Edition(Loaded(case.name, workflow, DemoScripts()), Cast({chats.AGENT: case.agent()}))
    return Staged(workflow, build_performer(edition, CALL_LIMIT))


def _runner(bus: Bus, cases: Sequence[Case]) -> Runner:
    return Runner(
        bus=bus,
        repertoire=Stages({case.workflow: _staged(case) for case in cases}),
        clock=chats.clock,
        process="bench",
    )
