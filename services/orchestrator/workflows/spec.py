"""A workflow as the core knows it: agents, tools, who follows whom, and when to stop."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from contracts.catalogue import StartupMode
from contracts.ids import AgentName, WorkflowName
from services.orchestrator.workflows.expressions import Expression

USER = AgentName("user")
"""The speaker that is the person."""
TERMINATE = AgentName("terminate")
"""Whom a rule names to end the conversation."""

Refresh = Literal["once", "per_phase", "on_demand"]
Pattern = Literal["DefaultPattern", "AutoPattern", "RoundRobinPattern", "RandomPattern"]


def transfer_name(target: AgentName) -> str:
    """What a model calls to hand over to an agent: only what providers allow in a tool's name."""
    return f"transfer_to_{re.sub('[^A-Za-z0-9_-]', '_', target)}"


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout_seconds` is for one run, `retries` are further runs, `max_concurrent` is per process."""

    timeout_seconds: float = 600.0
    retries: int = 0
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A Python function of the workflow's folder that its agents may call."""

    name: str
    description: str
    file: Path
    function: str
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server whose tools agents may call: a program that is started (`command`), or an address (`url`).

    `secrets` are environment variables of the program or headers of each request, by the names of
    the variables here that hold their values. `limits` are those of each of its tools.
    """

    name: str
    folder: Path
    command: str | None = None
    args: tuple[str, ...] = ()
    url: str | None = None
    secrets: tuple[tuple[str, str], ...] = ()
    allowed_tools: tuple[str, ...] | None = None
    blocked_tools: tuple[str, ...] = ()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class DataReference:
    """A context variable whose value lies in a database elsewhere.

    `query` compares fields with values, which may hold `{{runtime.app_id}}` and `{{var.path}}`.
    `once` is asked before the first turn, `per_phase` before each, `on_demand` when a tool wants it.
    """

    name: str
    database: str
    collection: str
    query: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    fields: tuple[str, ...] = ()
    default: Any = None
    refresh: Refresh = "once"


@dataclass(frozen=True, slots=True)
class Handoff:
    """A model may hand over to `target` when `condition`, in words, holds."""

    target: AgentName
    condition: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`target` has the word when `condition` holds for the context variables."""

    target: AgentName
    condition: Expression


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """By which model an agent answers; what is left out is the process's own.

    `api_key_env` names the environment variable that holds the key of another provider.
    """

    model: str | None = None
    temperature: float | None = None
    base_url: str | None = None
    api_key_env: str | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """Whose turn it is, and who follows: the first of each kind of rules that holds.

    `before_reply` gives the agent's own turn away before it begins. Where the agent itself hands
    over to nobody, `after_work_if` says who follows, then `after_work`, then the pattern.
    `max_consecutive_auto_reply` is how many turns it may take running, with no word of the person.
    """

    name: AgentName
    prompt: str
    tools: tuple[Tool, ...] = ()
    handoffs: tuple[Handoff, ...] = ()
    before_reply: tuple[Rule, ...] = ()
    after_work_if: tuple[Rule, ...] = ()
    after_work: AgentName | None = None
    max_consecutive_auto_reply: int | None = None
    variables: tuple[str, ...] = ()
    model: ModelChoice = ModelChoice()
    servers: tuple[McpServer, ...] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    """`initial_message` is the hidden seed of an AgentDriven run.

    After the person's words `after_user_if` says who follows, then `after_user`, then the pattern.
    """

    name: WorkflowName
    agents: Mapping[AgentName, Agent]
    initial_agent: AgentName
    description: str = ""
    pattern: Pattern = "DefaultPattern"
    max_turns: int = 50
    human_in_the_loop: bool = False
    startup_mode: StartupMode = "AgentDriven"
    initial_message: str | None = None
    initial_message_to_user: str | None = None
    after_user_if: tuple[Rule, ...] = ()
    after_user: AgentName | None = None
    visual_agents: tuple[AgentName, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    references: tuple[DataReference, ...] = ()
