"""Builds the agents of a workflow: AG2 agents with their models, tools, MCP servers and handoffs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ag2 import Agent as Ag2Agent
from ag2.response import ResponseProto, ResponseSchema
from ag2.tools.types import FunctionTool

from contracts.events.turn import SELECTOR
from contracts.ids import AgentName
from services.orchestrator.agents.execution.agent_set import AgentSet, LazyAgents
from services.orchestrator.agents.execution.hooks import Hooks, build_hooks
from services.orchestrator.agents.models.providers import ModelFactory, ModelNotConfiguredError
from services.orchestrator.agents.sandbox.thread_runner import ThreadRunner
from services.orchestrator.agents.tools.function_tools import (
    Function,
    build_function,
    build_handoff,
    build_tool,
    on_human_input,
)
from services.orchestrator.agents.tools.limits import CallLimiter
from services.orchestrator.agents.tools.mcp_tools import ServerToolkit
from services.orchestrator.domain.speaker_selection import candidates
from services.orchestrator.workflows.code.loader import ToolCode, ToolLoadError
from services.orchestrator.workflows.loading import NO_ENVIRONMENT, LoadedWorkflow, ManifestError
from services.orchestrator.workflows.spec import (
    Agent,
    Hook,
    HookKind,
    McpServer,
    ModelChoice,
    Tool,
    Workflow,
)


def build_agent_set(
    loaded: LoadedWorkflow,
    models: ModelFactory,
    environment: Mapping[str, str] = NO_ENVIRONMENT,
    server_toolkit: Callable[..., ServerToolkit] = ServerToolkit,
) -> AgentSet:
    """Raises ManifestError with every tool that does not load and every model that cannot be used."""
    problems = _Problems(loaded)
    thread_runner = ThreadRunner()  # one per workflow: a tool that blocks delays no other workflow
    functions = _functions(loaded, thread_runner, problems)
    hooks = _hooks(loaded, thread_runner, problems)
    servers = _McpServers(environment, loaded.code, server_toolkit)
    agents: dict[AgentName, Callable[[], Ag2Agent]] = {}
    for name, agent in loaded.workflow.agents.items():
        with problems.collect("tools", f"{name}: "):
            tools = _model_tools(agent, functions, problems, hides_keywords=loaded.lenient)
            agents[name] = _agent_factory(loaded, agent, tools, servers, models)
    problems.raise_any()
    if loaded.workflow.pattern == "AutoPattern":
        agents[SELECTOR] = partial(_selector, loaded, models)
    return AgentSet(LazyAgents(agents), functions, hooks)


class _Problems:
    """What is wrong with the manifests, collected to be reported together."""

    def __init__(self, loaded: LoadedWorkflow) -> None:
        self._loaded = loaded
        self._lines: list[str] = []
        self._unloadable: dict[Tool | Hook, str] = {}

    @contextmanager
    def collect(
        self, section: str, agent: str = "", *, part: Tool | Hook | None = None
    ) -> Iterator[None]:
        """Turn an error of a section's code, or of an agent's model, into a line with its file."""
        try:
            yield
        except ToolLoadError as error:
            self._lines.append(line := f"{self._loaded.file_of(section)}: {error}")
            if part is not None:
                self._unloadable[part] = line
        except ModelNotConfiguredError as error:
            self._lines.append(f"{self._loaded.file_of('agents')}: {agent}{error}")

    def raise_any(self) -> None:
        """Raises ManifestError if there is a problem."""
        if self._lines:
            raise ManifestError(*dict.fromkeys(self._lines), unloadable=self._unloadable)


def _functions(
    loaded: LoadedWorkflow, thread_runner: ThreadRunner, problems: _Problems
) -> Mapping[Tool, Function]:
    built: dict[Tool, Function] = {}
    for tool in tools_of(loaded.workflow):
        with problems.collect("tools", part=tool):
            built[tool] = build_function(
                tool, loaded.code, thread_runner, loaded.workflow.references
            )
    return built


def tools_of(workflow: Workflow) -> Iterable[Tool]:
    """Every tool that models or the runtime may call, each once."""
    agents = workflow.agents.values()
    tools = [tool for one in agents for tool in (*one.tools, *one.before_tools, *one.after_tools)]
    return dict.fromkeys([*tools, *workflow.before_chat, *workflow.after_chat])


def _hooks(
    loaded: LoadedWorkflow, thread_runner: ThreadRunner, problems: _Problems
) -> Mapping[AgentName, Hooks]:
    built: dict[AgentName, Hooks] = {}
    for name, agent in loaded.workflow.agents.items():
        functions: list[tuple[HookKind, Callable[..., Any]]] = []
        for hook in agent.hooks:
            with problems.collect("hooks", part=hook):
                functions += build_hooks([hook], loaded.code, thread_runner).functions
        built[name] = Hooks(functions, thread_runner)
    return built


def _model_tools(
    agent: Agent,
    functions: Mapping[Tool, Function],
    problems: _Problems,
    *,
    hides_keywords: bool,
) -> list[FunctionTool]:
    """What the agent's model may call; nothing in `auto_tool_mode`."""
    declared = () if agent.auto_tool_mode else agent.tools
    built: list[FunctionTool] = []
    for tool in declared:
        if tool in functions:
            with problems.collect("tools", part=tool):
                built.append(build_tool(functions[tool], hides_keywords=hides_keywords))
    return [*built, *(build_handoff(handoff) for handoff in agent.handoffs)]


def _agent_factory(
    loaded: LoadedWorkflow,
    agent: Agent,
    tools: Sequence[FunctionTool],
    servers: "_McpServers",
    models: ModelFactory,
) -> Callable[[], Ag2Agent]:
    """Creates the agent when it is called; what may be wrong with it is raised here."""
    output = agent.output if agent.output_required else None
    return partial(
        Ag2Agent,
        str(agent.name),
        config=models.config_for(loaded.demo.script(agent.name), agent.model),
        tools=[*tools, *servers.toolkits(agent, [tool.name for tool in tools])],
        hitl_hook=on_human_input,
        response_schema=None if output is None else _schema(output.schema_name, output.schema),
    )


class _McpServers:
    """A workflow's MCP servers: the limits of each are shared by all agents that call its tools."""

    def __init__(
        self,
        environment: Mapping[str, str],
        code: ToolCode,
        server_toolkit: Callable[..., ServerToolkit],
    ) -> None:
        self._environment = environment
        self._code = code
        self._server_toolkit = server_toolkit
        self._limiters: dict[McpServer, CallLimiter] = {}

    def toolkits(self, agent: Agent, other_names: Sequence[str]) -> list[ServerToolkit]:
        """The tools of the agent's servers; `other_names` are those of its other tools.

        Raises ToolLoadError for a check that cannot be loaded.
        """
        built: list[ServerToolkit] = []
        for server in agent.mcp_servers:
            limiter = self._limiters.setdefault(server, CallLimiter(server.limits))
            check = None if server.check is None else self._code.function(*server.check)
            built.append(
                self._server_toolkit(
                    server, self._environment, limiter, other_names, tuple(built), check
                )
            )
        return built


def _schema(name: str, schema: Mapping[str, Any]) -> ResponseProto[str]:
    return ResponseSchema.from_schema(dict(schema), name=name)


def _selector(loaded: LoadedWorkflow, models: ModelFactory) -> Ag2Agent:
    """The agent that chooses the next speaker; its response schema allows only the candidates."""
    names = {"type": "string", "enum": list(candidates(loaded.workflow))}
    answer = {
        "type": "object",
        "properties": {"next": names},
        "required": ["next"],
        "additionalProperties": False,
    }
    return Ag2Agent(
        str(SELECTOR),
        config=models.config_for(loaded.demo.script(SELECTOR), ModelChoice()),
        response_schema=_schema("next_speaker", answer),
    )
