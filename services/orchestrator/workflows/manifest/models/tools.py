"""The model of the `tools` section: functions, MCP servers and lifecycle tools."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field

from contracts.events.turn import ToolEffect
from services.orchestrator.workflows.effect_policy import InDoubt
from services.orchestrator.workflows.manifest.models.base import (
    Section,
    aliases,
    normalise_word,
    not_executed,
)

TOOL_TYPES = {"agenttool": "Agent_Tool", "uitool": "UI_Tool"}
LIFECYCLE_TRIGGERS = {
    normalise_word(trigger): trigger
    for trigger in ("before_chat", "after_chat", "before_agent", "after_agent")
}


class ToolUi(Section):
    component: str | None = None
    mode: Literal["inline", "artifact"] | None = None


MAX_SECONDS = 366 * 86_400.0
"""A year: of the expiry and the escalation of a question."""

_ENVIRONMENT_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
EnvironmentVariable = Annotated[str, Field(pattern=_ENVIRONMENT_VARIABLE)]


class McpManifest(Section):
    """An MCP server: a program (`command`) that is started on demand, or an HTTP address (`url`).

    `python` as a command is the interpreter that runs the product. Secrets stay in the environment:
    `env_from` and `headers_from` map the names that the server expects to environment variables.
    `allowed_tools` are the tools that agents may call, by default all except `blocked_tools`.
    `effects` is the `effect` of single tools, by the server's names for them.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    command: str | None = Field(default=None, min_length=1)
    args: list[str] = []
    env_from: dict[EnvironmentVariable, EnvironmentVariable] = {}
    url: str | None = Field(default=None, pattern="^https?://")
    headers_from: dict[str, EnvironmentVariable] = {}
    allowed_tools: list[str] | None = Field(default=None, min_length=1)
    blocked_tools: list[str] = []
    effects: dict[str, ToolEffect] = {}


class FunctionManifest(Section):
    """A function of a Python file in the workflow's folder or its `tools/`.

    A call may take `timeout_seconds`, not counting the time until a user answers. A failed call is
    repeated up to `retries` times with growing delays. At most `max_concurrent` calls run at the
    same time in a process.

    `effect` says what a repeated call does: nothing (`read`), nothing more under the same
    idempotency key (`idempotent`), or the effect again (`once`). A call is in doubt if its process
    ended or its time was over before the result was known: then `check`, a function of the same file,
    is asked whether the call was done; if that is still unknown, `in_doubt` says what happens: the
    user is asked (`ask`), the model gets the status `unknown` (`tell`), or the turn fails (`fail`).
    """

    file: str
    function: str
    name: str | None = None
    description: str = ""
    tool_type: Annotated[Literal["Agent_Tool", "UI_Tool"], aliases(TOOL_TYPES)] = Field(
        default="Agent_Tool", validation_alias=AliasChoices("tool_type", "type")
    )
    timeout_seconds: float = Field(default=600.0, gt=0, le=86_400)
    retries: int = Field(default=0, ge=0, le=10)
    max_concurrent: int | None = Field(default=None, ge=1)
    effect: ToolEffect | None = None
    in_doubt: InDoubt | None = None
    check: str | None = Field(default=None, min_length=1)
    auto_invoke: bool | None = None
    ui: ToolUi | None = None
    constraints: Any = not_executed()
    integration: Any = not_executed()


class RecipientsManifest(Section):
    """Who may answer: users by their ids, and everyone whose token has one of the roles."""

    users: list[str] = []
    roles: list[str] = []


class EscalationManifest(RecipientsManifest):
    """Who may answer, too, once a question is open for `after_seconds`."""

    after_seconds: float = Field(gt=0, le=MAX_SECONDS)


class ApprovalManifest(Section):
    """How each call is approved; by default the chat's user is asked, for as long as it takes.

    After `expires_after_seconds` without an answer the call is refused. `approvers` answer instead of
    the chat's user. With `allow_always` an answer may approve all further calls of the tool by this
    agent in this chat. With `send_links` business events hold links that answer the question.
    """

    expires_after_seconds: float | None = Field(default=None, gt=0, le=MAX_SECONDS)
    approvers: RecipientsManifest | None = None
    allow_always: bool = False
    escalation: EscalationManifest | None = None
    send_links: bool = False


class ToolManifest(FunctionManifest):
    """What an agent's model may call: a function, or with `mcp` the tools of an MCP server.

    With `auto_invoke` (the default for a UI_Tool) the runtime calls the function with the
    structured output of an agent in `auto_tool_mode`. `ui` is the component that shows it, unless
    the function chooses one. With `requires_approval`, the user must approve each call of a model;
    `approval` says how, and requires one, too.
    """

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["file", "function"]}, {"required": ["mcp"]}]}
    )

    agent: str | list[str] = Field(validation_alias=AliasChoices("agent", "caller"))
    file: str = ""
    function: str = ""
    mcp: McpManifest | None = None
    requires_approval: bool | None = None
    approval: ApprovalManifest | None = None

    @property
    def agents(self) -> list[str]:
        return [self.agent] if isinstance(self.agent, str) else self.agent

    @property
    def needs_approval(self) -> bool:
        if self.requires_approval is None:
            return self.approval is not None
        return self.requires_approval

    @property
    def is_auto_invoked(self) -> bool:
        return self.tool_type == "UI_Tool" if self.auto_invoke is None else self.auto_invoke


class LifecycleToolManifest(FunctionManifest):
    """What the runtime calls before or after a chat, or each turn of `agent` (default: all agents)."""

    trigger: Annotated[
        Literal["before_chat", "after_chat", "before_agent", "after_agent"],
        aliases(LIFECYCLE_TRIGGERS),
    ]
    agent: str | None = None


class ToolsManifest(Section):
    """`tools`: what agents may call, and what the runtime calls before and after chats and turns."""

    tools: list[ToolManifest] = []
    lifecycle_tools: list[LifecycleToolManifest] = []
