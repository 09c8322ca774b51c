"""The specification of a workflow: agents, tools, handoff rules, variables and limits."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Literal

from contracts.catalogue import StartupMode
from contracts.events.chat import WhileRunning
from contracts.events.human import Display
from contracts.events.turn import USER as USER
from contracts.events.turn import ToolEffect
from contracts.ids import AgentName, WorkflowName
from services.orchestrator.workflows.effect_policy import (
    DEFAULT_POLICY,
    NOTHING_DECLARED,
    DeclaredEffect,
    EffectPolicy,
)
from services.orchestrator.workflows.expressions import Expression
from services.orchestrator.workflows.known_providers import ProviderName, Thinking
from services.orchestrator.workflows.patterns import is_found

TERMINATE = AgentName("terminate")
"""The target of a rule that ends the conversation."""

MAX_MATCHED_CHARS = 20_000
"""How much of a reply is searched with a regular expression."""

Refresh = Literal["once", "per_phase", "on_demand"]
OnFailure = Literal["wait", "end"]
"""What becomes of a chat when a turn fails: it waits for the user, or it has ended."""
Pattern = Literal["DefaultPattern", "AutoPattern", "RoundRobinPattern", "RandomPattern"]


def transfer_name(target: AgentName) -> str:
    """The tool name that hands over to an agent, with the characters that providers allow."""
    return f"transfer_to_{re.sub('[^A-Za-z0-9_-]', '_', target)}"


@dataclass(frozen=True, slots=True)
class Version:
    """SHA-256 in hex of a workflow's manifests and of its tool code."""

    manifests: str
    tools: str

    @property
    def short_form(self) -> str:
        return f"{self.manifests[:12]}+{self.tools[:12]}"


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout_seconds` limits one attempt; `retries` are further attempts after a failed one.

    `max_concurrent` limits the calls that run at the same time in a process.
    """

    timeout_seconds: float = 600.0
    retries: int = 0
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class ToolUi:
    """The UI component of a tool whose function does not choose one itself."""

    component: str | None = None
    display: Display = "inline"


@dataclass(frozen=True, slots=True)
class Recipients:
    """Users, and roles of tokens, that a question is for."""

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionRouting:
    """Who is asked: `to`, None for the chat's user, and after `escalate_after` seconds `escalate_to`, too.

    With `send_links`, business events hold links that answer the question.
    """

    to: Recipients | None = None
    escalate_after: float | None = None
    escalate_to: Recipients = Recipients()
    send_links: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """How the calls of a tool are approved.

    Unanswered for `expires_after_seconds`, a call is refused. With `allow_always`, the answer may
    approve all further calls of the tool by the same agent in the chat.
    """

    expires_after_seconds: float | None = None
    allow_always: bool = False
    routing: QuestionRouting = QuestionRouting()


@dataclass(frozen=True, slots=True)
class Tool:
    """A Python function of the workflow's folder that a model or the runtime calls.

    `file` is relative to the folder. With `auto_invoke` the runtime calls the function with the
    structured output of an agent in `auto_tool_mode`. With an `approval`, each call of a model must
    be approved. `check` is the function of the same file that finds out whether a call in doubt was
    done.
    """

    name: str
    description: str
    file: PurePath
    function: str
    limits: Limits = Limits()
    ui: ToolUi | None = None
    auto_invoke: bool = False
    approval: ApprovalPolicy | None = None
    effects: EffectPolicy = DEFAULT_POLICY
    check: str | None = None


HookKind = Literal[
    "process_message_before_send",
    "update_agent_state",
    "process_last_received_message",
    "process_all_messages_before_reply",
]


@dataclass(frozen=True, slots=True)
class Hook:
    """A Python function of the workflow's folder that may change what an agent reads or sends."""

    kind: HookKind
    file: PurePath
    function: str


class OutputInvalidError(ValueError):
    """A reply that does not match the output model of its agent: which field, and why."""


@dataclass(frozen=True, slots=True)
class Output:
    """The model of an agent's structured output.

    `schema` is its JSON Schema; `parse` returns the data of a reply or raises OutputInvalidError.
    """

    name: str
    schema: Mapping[str, Any]
    parse: Callable[[str], dict[str, Any]]

    @property
    def schema_name(self) -> str:
        """The schema's name in requests, with the characters that providers allow."""
        return re.sub("[^A-Za-z0-9_-]", "_", self.name)[:64]


@dataclass(frozen=True, slots=True)
class TextTrigger:
    """Sets `variable` to `value` when a reply of `agent` matches.

    Exactly one of `equals`, `contains` (both case-sensitive) and `regex` (searched for) is set.
    With `ui_hidden`, a reply that is equal to the text is not shown to users.
    """

    variable: str
    agent: AgentName
    value: Any = True
    equals: str | None = None
    contains: str | None = None
    regex: str | None = None
    ui_hidden: bool = False

    def matches(self, text: str) -> bool:
        reply = text.strip()
        if self.equals is not None:
            return reply == self.equals.strip()
        if self.contains is not None:
            return self.contains in reply
        if self.regex is None:
            return False
        return is_found(self.regex, reply[:MAX_MATCHED_CHARS])


@dataclass(frozen=True, slots=True)
class AnswerTrigger:
    """Sets `variable` to the value at `key`, a dotted path, of the user's answer to a UI tool.

    With a `value`, the variable is set to that instead, if the answer has anything at `key`.
    """

    variable: str
    tool: str
    key: str
    value: Any = None


Trigger = TextTrigger | AnswerTrigger


@dataclass(frozen=True, slots=True)
class McpServer:
    """An MCP server whose tools agents may call: a program (`command`) or an HTTP address (`url`).

    `secrets` are pairs: the name of an environment variable of the program, or of a header of each
    request, and the name of this process's environment variable with its value. `limits` apply to
    each of the server's tools. `declared_effect` is what the manifest says of all its tools,
    `tool_effects` of single ones, by the server's own names for them. `check` is a file and a
    function in it, which finds out whether a call in doubt was done.
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
    approval: ApprovalPolicy | None = None
    declared_effect: DeclaredEffect = NOTHING_DECLARED
    tool_effects: tuple[tuple[str, ToolEffect], ...] = ()
    check: tuple[PurePath, str] | None = None


@dataclass(frozen=True, slots=True)
class DataReference:
    """A context variable whose value is looked up in another service's database.

    `query` compares fields with values, which may contain `{{runtime.app_id}}` and `{{var.path}}`.
    `refresh` says when: `once` before the first turn, `per_phase` before each turn, `on_demand`
    when a tool asks for it.
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
    """A handoff that the model may choose; `condition` is its description, in natural language."""

    target: AgentName
    condition: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`target` is next when `condition` is true for the context variables."""

    target: AgentName
    condition: Expression


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model of an agent; None stands for the default of the process.

    `max_tokens` is the limit of one answer, None for that of the provider.
    `api_key_env` names the environment variable with the key, None for the provider's usual one.
    """

    model: str | None = None
    temperature: float | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    provider: ProviderName | None = None
    max_tokens: int | None = None
    thinking: Thinking | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent: its prompt, model and tools, and the rules for who follows it.

    `before_reply` redirects the agent's turn before it starts. If the agent itself hands over to
    nobody, `after_work_if` decides who follows, then `after_work`, then the pattern; of several
    rules, the first that holds applies. `max_consecutive_auto_reply` is the number of turns in a
    row that the agent may have without a message of the user.

    If `output_required`, a reply must match `output`; otherwise its data is recorded if it does.
    `before_tools` and `after_tools` are called before and after each turn of the agent. `hidden`
    are replies that are not shown to users.
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
    mcp_servers: tuple[McpServer, ...] = ()
    output: Output | None = None
    output_required: bool = False
    auto_tool_mode: bool = False
    before_tools: tuple[Tool, ...] = ()
    after_tools: tuple[Tool, ...] = ()
    hooks: tuple[Hook, ...] = ()
    hidden: frozenset[str] = frozenset()

    @property
    def auto_tool(self) -> Tool | None:
        """The tool that the runtime calls with the agent's structured output."""
        if not self.auto_tool_mode:
            return None
        return next((tool for tool in self.tools if tool.auto_invoke), None)

    @property
    def has_input_hooks(self) -> bool:
        """Whether a hook may change the conversation before the agent reads it."""
        return any(hook.kind != "process_message_before_send" for hook in self.hooks)

    def hides(self, text: str) -> bool:
        """Whether a reply of this agent is not shown to users."""
        return self.auto_tool_mode or text.strip() in self.hidden

    def may_hide(self, beginning: str) -> bool:
        """Whether a reply that begins so may turn out to be one that is not shown to users."""
        prefix = beginning.strip()
        return self.auto_tool_mode or any(text.startswith(prefix) for text in self.hidden)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow as the runtime executes it.

    `initial_message` is the first message that agents read; users do not see it. After a user's
    message, `after_user_if` decides who follows, then `after_user`, then the pattern. `while_running`
    is what becomes of a message that the user sends while an answer is running, `on_failure` whether a
    chat waits for the user when a turn fails, or ends. `settable` are the
    variables that users may set, with the components that may do so; none: any. `version` is
    None only if the workflow was not read from a folder.
    """

    name: WorkflowName
    agents: Mapping[AgentName, Agent]
    initial_agent: AgentName
    description: str = ""
    pattern: Pattern = "DefaultPattern"
    max_turns: int = 50
    human_in_the_loop: bool = False
    startup_mode: StartupMode = "AgentDriven"
    while_running: WhileRunning = "queue"
    on_failure: OnFailure = "wait"
    initial_message: str | None = None
    initial_message_to_user: str | None = None
    after_user_if: tuple[Rule, ...] = ()
    after_user: AgentName | None = None
    visual_agents: tuple[AgentName, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    settable: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    references: tuple[DataReference, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    before_chat: tuple[Tool, ...] = ()
    after_chat: tuple[Tool, ...] = ()
    version: Version | None = field(default=None, compare=False)
