"""A workflow as the core knows it: agents, tools, who follows whom, and when to stop."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Literal

from contracts.catalogue import StartupMode
from contracts.events.human import Display
from contracts.ids import AgentName, WorkflowName
from services.orchestrator.workflows.expressions import Expression
from services.orchestrator.workflows.providers import ProviderName

USER = AgentName("user")
"""The speaker that is the person."""
TERMINATE = AgentName("terminate")
"""Whom a rule names to end the conversation."""

MATCHED_CHARS = 20_000
"""How much of a reply a regular expression is asked about: manifests may write slow ones."""

Refresh = Literal["once", "per_phase", "on_demand"]
Pattern = Literal["DefaultPattern", "AutoPattern", "RoundRobinPattern", "RandomPattern"]


def transfer_name(target: AgentName) -> str:
    """What a model calls to hand over to an agent: only what providers allow in a tool's name."""
    return f"transfer_to_{re.sub('[^A-Za-z0-9_-]', '_', target)}"


@dataclass(frozen=True, slots=True)
class Version:
    """SHA-256 in hex: of a workflow's manifests, and of the tool code beside them."""

    manifests: str
    tools: str

    @property
    def shown(self) -> str:
        return f"{self.manifests[:12]}+{self.tools[:12]}"


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout_seconds` is for one run, `retries` are further runs, `max_concurrent` is per process."""

    timeout_seconds: float = 600.0
    retries: int = 0
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """How a tool is shown where its function does not say."""

    component: str | None = None
    display: Display = "inline"


@dataclass(frozen=True, slots=True)
class Tool:
    """A Python function of the workflow's folder, for agents to call or for the runtime.

    `file` lies below the folder. With `auto_invoke` the runtime calls it with the structured output
    of an agent that is in `auto_tool_mode`. With `requires_approval` a person must say yes to each
    call of a model.
    """

    name: str
    description: str
    file: PurePath
    function: str
    limits: Limits = Limits()
    interface: Interface | None = None
    auto_invoke: bool = False
    requires_approval: bool = False


HookKind = Literal[
    "process_message_before_send",
    "update_agent_state",
    "process_last_received_message",
    "process_all_messages_before_reply",
]


@dataclass(frozen=True, slots=True)
class Hook:
    """A Python function of the workflow's folder that sees what an agent reads or says first."""

    kind: HookKind
    file: PurePath
    function: str


class OutputInvalidError(ValueError):
    """A reply that is not what its agent's model says: which field, and why."""


@dataclass(frozen=True, slots=True)
class Output:
    """The model that an agent answers in.

    `schema` is its JSON Schema; `parse` gives the data of a reply, or raises OutputInvalidError.
    """

    name: str
    schema: Mapping[str, Any]
    parse: Callable[[str], dict[str, Any]]

    @property
    def schema_name(self) -> str:
        """What a provider is told it is called: only what providers allow in such a name."""
        return re.sub("[^A-Za-z0-9_-]", "_", self.name)[:64]


@dataclass(frozen=True, slots=True)
class TextTrigger:
    """When `agent` says so, `variable` becomes `value`; one of the three ways to match is set.

    `equals` and `contains` mind the case; `regex` is searched for. What `is_hidden` catches is for
    the runtime alone.
    """

    variable: str
    agent: AgentName
    value: Any = True
    equals: str | None = None
    contains: str | None = None
    regex: str | None = None
    ui_hidden: bool = False

    def matches(self, text: str) -> bool:
        said = text.strip()
        if self.equals is not None:
            return said == self.equals.strip()
        if self.contains is not None:
            return self.contains in said
        return self.regex is not None and re.search(self.regex, said[:MATCHED_CHARS]) is not None


@dataclass(frozen=True, slots=True)
class AnswerTrigger:
    """What the person answers to a UI tool under `key`, a dotted path, becomes `variable`.

    With a `value` the variable becomes that, once there is anything under the key.
    """

    variable: str
    tool: str
    key: str
    value: Any = None


Trigger = TextTrigger | AnswerTrigger


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
    requires_approval: bool = False


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

    `api_key_env` names the environment variable that holds the key, where it is not the provider's
    usual one.
    """

    model: str | None = None
    temperature: float | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    provider: ProviderName | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """Whose turn it is, and who follows: the first of each kind of rules that holds.

    `before_reply` gives the agent's own turn away before it begins. Where the agent itself hands
    over to nobody, `after_work_if` says who follows, then `after_work`, then the pattern.
    `max_consecutive_auto_reply` is how many turns it may take running, with no word of the person.

    A reply must meet `output` where it is required, and is captured where it merely does. `before`
    and `after` are called around each of its turns. `hidden` are replies that nobody is shown.
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
    output: Output | None = None
    output_required: bool = False
    auto_tool_mode: bool = False
    before: tuple[Tool, ...] = ()
    after: tuple[Tool, ...] = ()
    hooks: tuple[Hook, ...] = ()
    hidden: frozenset[str] = frozenset()

    @property
    def auto_tool(self) -> Tool | None:
        """What the runtime calls with the agent's output."""
        if not self.auto_tool_mode:
            return None
        return next((tool for tool in self.tools if tool.auto_invoke), None)

    @property
    def reshapes(self) -> bool:
        """Whether a hook sees the conversation before the agent does."""
        return any(hook.kind != "process_message_before_send" for hook in self.hooks)

    def hides(self, text: str) -> bool:
        """Whether a text of this agent is for the runtime alone."""
        return self.auto_tool_mode or text.strip() in self.hidden

    def may_hide(self, beginning: str) -> bool:
        """Whether a text that begins so may yet turn out to be for the runtime alone."""
        so_far = beginning.strip()
        return self.auto_tool_mode or any(whole.startswith(so_far) for whole in self.hidden)


@dataclass(frozen=True, slots=True)
class Workflow:
    """`initial_message` is the hidden seed of an AgentDriven run.

    After the person's words `after_user_if` says who follows, then `after_user`, then the pattern.
    `version` is none only where it was not read from a folder.
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
    triggers: tuple[Trigger, ...] = ()
    before_chat: tuple[Tool, ...] = ()
    after_chat: tuple[Tool, ...] = ()
    version: Version | None = field(default=None, compare=False)
