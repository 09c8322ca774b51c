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
from services.chassis.consumers.queue_consumer import Delivery
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models.demo import DemoConfig
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.decisions import decide
from services.orchestrator.domain.state import ChatState
from services.orchestrator.runtime.chat_log import ChatLog
from services.orchestrator.runtime.command_handler import CommandHandler
from services.orchestrator.runtime.runner import RunnableWorkflow, Runner
from services.orchestrator.workflows.demo import DemoReply, DemoScript, DemoScripts
from services.orchestrator.workflows.loading import LoadedWorkflow
from services.orchestrator.workflows.spec import USER, Agent, Workflow

REPETITIONS = 7
TURNS = 12
CALL_LIMIT = 10
MAX_TURNS = 100_000
AIM = Aim(ratio=2)
PROMPT = "You are a helpful planner."
QUESTION = "What would it cost?"
ANSWER = "About nine days, give or take one, for the four steps of the plan."
WORDS = 40
_SEQUENCES = count(1)


def next_sequence() -> int:
    """The position of a command's message that nothing else has."""
    return next(_SEQUENCES)


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


def one_tool(name: str) -> Case:
    """A turn in which the model calls a tool and answers with its result."""
    asked = ToolCallEvent("estimate_effort", id="call_1", arguments='{"steps": ["a", "b"]}')
    return Case(name, TestConfig(asked, ANSWER), 12, (estimate_effort,))


def cases_of_turns() -> list[Case]:
    words = DemoScript(lines=[DemoReply(say="blueprint " * WORDS)], loop=True)
    return [
        Case("text", TestConfig(ANSWER), 8),
        one_tool("one tool"),
        Case(f"{WORDS} words streamed", DemoConfig(words, pause=0), 8),
    ]


async def measure(server: NatsServer) -> list[Figure]:
    cases = cases_of_turns()
    async with stage.gateway(server) as gateway:
        runner = build_runner(gateway, cases)
        return [figure for case in cases for figure in await _compare(case, gateway, runner)]


async def _compare(case: Case, gateway: JetStreamGateway, runner: Runner) -> list[Figure]:
    bare: list[float] = []
    runs: list[float] = []
    whole: list[float] = []
    agent = case.agent()
    for _ in range(REPETITIONS):
        bare.append(await cost([_ask(agent)] * TURNS))
        waiting = [await opened(case, runner) for _ in range(TURNS)]
        runs.append(await cost([run(runner, chat) for chat in waiting]))
        _check(case, waiting)
        handled = [handled(case, gateway, runner) for _ in range(TURNS)]
        whole.append(await cost(handled))
    name = f"turn, {case.name}"
    return [
        Figure(f"{name}: CPU", "ms", runs, bare, AIM),
        Figure(f"{name}: CPU with its command", "ms", whole, bare),
    ]


Deed = Callable[[], Awaitable[object]]


async def cost(deeds: Sequence[Deed]) -> float:
    """Milliseconds of this process's CPU for each, the mean."""
    gc.collect()
    began = process_time()
    for deed in deeds:
        await deed()
    return 1000 * (process_time() - began) / len(deeds)


def _ask(agent: Ag2Agent) -> Deed:
    return lambda: agent.ask(QUESTION)


def run(runner: Runner, chat: ChatLog) -> Deed:
    return lambda: runner.run(chat, takeover=False)


def handled(case: Case, gateway: JetStreamGateway, runner: Runner) -> Deed:
    """A whole chat of one turn, from its command on."""
    command = _start(case, chats.new_chat())
    message = Msg(
        gateway.nc,
        subject=subjects.command(command.key, command.name),
        data=command.model_dump_json().encode(),
    )
    return lambda: CommandHandler(runner).on_command(
        Delivery(message, attempt=1, sequence=next_sequence())
    )


async def opened(case: Case, runner: Runner) -> ChatLog:
    """A chat that waits for its agent."""
    command = _start(case, chats.new_chat())
    chat = runner.open(command.key, command.command_id, next_sequence(), attempt=1)
    runnable = await runner.find(chat.state, case.workflow)
    assert runnable is not None
    await chat.append(
        lambda state: decide(command, state, runnable.workflow),
        then=runnable.opening(chat),
        workflow=case.workflow,
    )
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
    return f"ended {state.ended}, open {state.open_turn and state.open_turn.agent}"


@dataclass(frozen=True, slots=True)
class FixedWorkflows:
    """The cases as a workflow source."""

    runnable: Mapping[WorkflowName, RunnableWorkflow]

    async def find(
        self, state: ChatState, asked_for: WorkflowName | None = None
    ) -> RunnableWorkflow | None:
        name = state.workflow or asked_for
        return None if name is None else self.runnable.get(name)


def runnable(case: Case) -> RunnableWorkflow:
    agent = Agent(chats.AGENT, PROMPT, after_work=USER)
    workflow = Workflow(
        name=case.workflow,
        agents={chats.AGENT: agent},
        initial_agent=chats.AGENT,
        max_turns=MAX_TURNS,
    )
    version = WorkflowVersion(
        LoadedWorkflow(case.name, workflow, DemoScripts()), AgentSet({chats.AGENT: case.agent()})
    )
    executor = AgentExecutor(version, CALL_LIMIT)
    return RunnableWorkflow(workflow, executor, executor.open_turn)


def build_runner(gateway: JetStreamGateway, cases: Sequence[Case]) -> Runner:
    return Runner(
        gateway=gateway,
        workflows=FixedWorkflows({case.workflow: runnable(case) for case in cases}),
        clock=chats.clock,
        process="bench",
    )
