"""The built agents of one workflow version, with its functions and hooks, used in every turn."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ag2 import Agent as Ag2Agent

from contracts.ids import AgentName
from services.orchestrator.agents.execution.hooks import Hooks
from services.orchestrator.agents.tools.function_tools import Function
from services.orchestrator.workflows.spec import Tool, Workflow


class LazyAgents(Mapping[AgentName, Ag2Agent]):
    """AG2's agents, each created when it is first used: of 200 workflows, few run on any one day."""

    def __init__(self, factories: Mapping[AgentName, Callable[[], Ag2Agent]]) -> None:
        self._factories = factories
        self._created: dict[AgentName, Ag2Agent] = {}

    def __getitem__(self, name: AgentName) -> Ag2Agent:
        if name not in self._created:
            self._created[name] = self._factories[name]()
        return self._created[name]

    def __iter__(self) -> Iterator[AgentName]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)


@dataclass(frozen=True, slots=True)
class AgentSet:
    """AG2's agents of a workflow, and the functions and hooks that the runtime calls."""

    agents: Mapping[AgentName, Ag2Agent]
    functions: Mapping[Tool, Function] = field(default_factory=dict)
    hooks: Mapping[AgentName, Hooks] = field(default_factory=dict)


class AgentSetSource(Protocol):
    """Where the agents of a workflow are found."""

    def agent_set_of(self, workflow: Workflow, /) -> AgentSet: ...
