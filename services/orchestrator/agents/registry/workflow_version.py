"""One version of a workflow that can run: its manifests and code, and the agents built from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from services.orchestrator.agents.execution.agent_factory import build_agent_set
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.tools.mcp_tools import ServerToolkit
from services.orchestrator.workflows.loading import (
    BrokenWorkflow,
    LoadedWorkflow,
    ManifestError,
    display_name,
    load_if_workflow,
)
from services.orchestrator.workflows.manifest.diagnostics import Problem
from services.orchestrator.workflows.spec import Hook, Tool, Version, Workflow

P = TypeVar("P", Tool, Hook)


@dataclass(frozen=True, slots=True)
class WorkflowVersion:
    """One version of a workflow with its agents, used in any number of turns."""

    loaded: LoadedWorkflow
    agent_set: AgentSet

    @property
    def workflow(self) -> Workflow:
        return self.loaded.workflow

    @property
    def digests(self) -> Version:
        """The digests of its manifests and code."""
        version = self.workflow.version
        assert version is not None  # noqa: S101  every workflow read from a folder has one
        return version

    def agent_set_of(self, workflow: Workflow) -> AgentSet:
        del workflow  # it is always this one
        return self.agent_set


def load_folder(
    folder: Path, models: ModelFactory, environment: Mapping[str, str]
) -> WorkflowVersion | BrokenWorkflow | None:
    """The workflow of a folder; none if the folder contains no workflow."""
    found = load_if_workflow(folder, environment)
    return build_version(found, models, environment) if isinstance(found, LoadedWorkflow) else found


def build_version(
    loaded: LoadedWorkflow,
    models: ModelFactory,
    environment: Mapping[str, str],
    server_toolkit: Callable[..., ServerToolkit] = ServerToolkit,
) -> WorkflowVersion | BrokenWorkflow:
    """Broken if a tool or a model of the workflow cannot be used.

    `server_toolkit` makes the tools of an MCP server.

    In a workflow that is read leniently, tools and hooks that do not load are left out, as the
    predecessor left them out.
    """
    try:
        return WorkflowVersion(loaded, build_agent_set(loaded, models, environment, server_toolkit))
    except ManifestError as error:
        if loaded.lenient and error.unloadable:
            rest = _without(loaded, error.unloadable)
            return build_version(rest, models, environment, server_toolkit)
        name = display_name(loaded.folder)
        return BrokenWorkflow(name, error.problems, loaded.diagnostics, loaded.folder)


def _without(loaded: LoadedWorkflow, unloadable: Mapping[Tool | Hook, str]) -> LoadedWorkflow:
    """The workflow without these tools and hooks, with a warning for each."""

    def kept(parts: tuple[P, ...]) -> tuple[P, ...]:
        return tuple(one for one in parts if one not in unloadable)

    workflow = loaded.workflow
    agents = {
        name: replace(
            agent,
            tools=kept(agent.tools),
            before_tools=kept(agent.before_tools),
            after_tools=kept(agent.after_tools),
            hooks=kept(agent.hooks),
        )
        for name, agent in workflow.agents.items()
    }
    rest = replace(
        workflow,
        agents=agents,
        before_chat=kept(workflow.before_chat),
        after_chat=kept(workflow.after_chat),
    )
    warnings = [_left_out(line) for line in dict.fromkeys(unloadable.values())]
    return replace(loaded, workflow=rest, diagnostics=(*loaded.diagnostics, *warnings))


def _left_out(line: str) -> Problem:
    file, _, message = line.partition(": ")
    return Problem(file, "", f"is left out: {message}", severity="warning")
