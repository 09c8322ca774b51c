"""The manifests of a workflow's folder, one frozen model per section: what an author may write."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from contracts.catalogue import StartupMode
from contracts.subjects import token
from services.orchestrator.workflows.providers import ProviderName

IDLE = "x-not-executed"
"""Marks, in the model and in its JSON Schema, a key whose syntax is accepted but has no effect."""


class Section(BaseModel):
    """A key that is null is a key that is not there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {
            key: value for key, value in data.items() if value is not None or _strange(cls, key)
        }


def _strange(model: type[BaseModel], key: str) -> bool:
    """Whether null is no way to leave this key out: nobody knows it, or it must be there."""
    field = model.model_fields.get(key)
    return field is None or field.is_required()


def idle(default: Any = None, **more: Any) -> Any:
    return Field(default=default, json_schema_extra={IDLE: True}, **more)


def plain(text: str) -> str:
    """A word without case and separators, so that RoundRobin, round_robin and round-robin agree."""
    return re.sub("[^a-z0-9]", "", text.casefold())


def spelled(canonical: Mapping[str, str]) -> BeforeValidator:
    """Accepts every spelling of a word; what is none of them is left for the validator behind."""
    return BeforeValidator(
        lambda value: canonical.get(plain(value), value) if isinstance(value, str) else value
    )


def named(
    model: type[Section], key: str = "name", *, alternatives: tuple[str, ...] = ()
) -> BeforeValidator:
    """A list of entries that hold their name, or a map from name to entry."""

    def listed(value: Any) -> Any:
        if isinstance(value, dict):
            return [_entry(key, name, entry) for name, entry in value.items()]
        if isinstance(value, list) and alternatives:
            return [_renamed(key, alternatives, entry) for entry in value]
        return value

    forms: Any = list[model] | dict[str, Any]  # type: ignore[valid-type]
    return BeforeValidator(listed, json_schema_input_type=forms)


def _entry(key: str, name: str, entry: Any) -> Any:
    if entry is None:  # `Counter:` and no more, in YAML
        return {key: name}
    return {key: name, **entry} if isinstance(entry, dict) else entry


def _renamed(key: str, alternatives: tuple[str, ...], entry: Any) -> Any:
    if isinstance(entry, dict) and key not in entry:
        return {key if name in alternatives else name: value for name, value in entry.items()}
    return entry


# -- workflow -----------------------------------------------------------------------------------

PatternName = Literal["DefaultPattern", "AutoPattern", "RoundRobinPattern", "RandomPattern"]

_PATTERNS = {
    spelling: name
    for name, stem in {
        "DefaultPattern": "default",
        "AutoPattern": "auto",
        "RoundRobinPattern": "roundrobin",
        "RandomPattern": "random",
    }.items()
    for spelling in (stem, f"{stem}pattern")
}
_MODES = {mode.casefold(): mode for mode in ("AgentDriven", "UserDriven", "BackendOnly")}


def _names_a_key(name: str) -> str:
    token(name, "workflow_name")  # raises where no bucket key could hold it
    return name


class WorkflowManifest(Section):
    """`workflow.json` or `orchestrator.yaml`: how the conversation begins, goes on and ends."""

    workflow_name: Annotated[str, AfterValidator(_names_a_key)]
    description: str = ""
    orchestration_pattern: Annotated[PatternName, spelled(_PATTERNS)] = "AutoPattern"
    initial_agent: str | None = Field(
        default=None, validation_alias=AliasChoices("initial_agent", "recipient")
    )
    max_turns: int = Field(default=50, ge=1, le=10_000)
    human_in_the_loop: bool = False
    startup_mode: Annotated[StartupMode, spelled(_MODES)] = "AgentDriven"
    initial_message: str | None = None
    initial_message_to_user: str | None = None
    visual_agents: list[str] = []
    runtime_extensions: list[dict[str, Any]] = idle([])
    entry_point: bool = idle(default=False)
    metadata: Any = idle()
    triggers: Any = idle()
    inputs: Any = idle()
    outputs: Any = idle()


# -- agents -------------------------------------------------------------------------------------

_HEADINGS = (
    "role",
    "objective",
    "context",
    "runtime_integrations",
    "guidelines",
    "instructions",
    "examples",
    "json_output_compliance",
    "output_format",
)

DEFAULT_PROMPT = "You are a helpful assistant."


class PromptSection(Section):
    id: str = ""
    heading: str = ""
    content: str = ""

    @property
    def text(self) -> str:
        return "\n".join(part for part in (self.heading, self.content) if part)


def _sections(value: Any) -> Any:
    """The map of fixed keys as a list; a section may be its text alone, headed by its key."""
    if not isinstance(value, dict):
        return value
    unknown = [key for key in value if key not in _HEADINGS]
    if unknown:
        raise ValueError(f"{unknown[0]} is no section of a prompt, only {', '.join(_HEADINGS)}")
    return [_section(key, entry) for key, entry in value.items() if entry is not None]


def _section(key: str, entry: Any) -> Any:
    heading = f"[{key.replace('_', ' ').upper()}]"
    if isinstance(entry, str):
        return {"id": key, "heading": heading, "content": entry}
    return {"id": key, "heading": heading, **entry} if isinstance(entry, dict) else entry


class LlmConfig(Section):
    """An agent's own model, of a provider or any compatible server; the key stays in the environment."""

    provider: ProviderName | None = None
    model: str | None = Field(default=None, min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    base_url: str | None = Field(default=None, pattern="^https?://")
    api_key_env: str | None = Field(default=None, min_length=1)


class AgentManifest(Section):
    """A prompt is `system_message`, then the sections: heading, newline, content, blank lines between.

    With `structured_outputs_required` every reply must meet the agent's model of
    `structured_outputs`, and is asked for again where it does not; in `auto_tool_mode` the runtime
    then calls the agent's auto-invoked tool with it, and shows the reply to nobody.
    """

    name: str = Field(min_length=1)
    system_message: str | None = None
    prompt_sections: Annotated[
        list[PromptSection],
        BeforeValidator(_sections, json_schema_input_type=list[PromptSection] | dict[str, Any]),
    ] = []
    prompt_sections_custom: list[PromptSection] = []
    max_consecutive_auto_reply: int | None = Field(default=None, ge=1)
    llm_config: LlmConfig = LlmConfig()
    auto_tool_mode: bool = False
    structured_outputs_required: bool = False
    image_generation_enabled: bool = idle(default=False)
    display_name: str | None = idle()
    human_input_mode: str | None = idle()

    @property
    def prompt(self) -> str:
        parts = [self.system_message or ""]
        parts += [section.text for section in self.prompt_sections + self.prompt_sections_custom]
        return "\n\n".join(part for part in parts if part) or DEFAULT_PROMPT


class AgentsManifest(Section):
    """`agents`: a list, or a map from name to agent."""

    agents: Annotated[list[AgentManifest], named(AgentManifest)] = Field(min_length=1)


# -- tools --------------------------------------------------------------------------------------

_TOOL_TYPES = {"agenttool": "Agent_Tool", "uitool": "UI_Tool"}
_MOMENTS = {
    plain(moment): moment for moment in ("before_chat", "after_chat", "before_agent", "after_agent")
}


class ToolUi(Section):
    component: str | None = None
    mode: Literal["inline", "artifact"] | None = None


_VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
VariableName = Annotated[str, Field(pattern=_VARIABLE_NAME)]


class McpManifest(Section):
    """An MCP server: a program (`command`) that is started when an agent needs it, or an address (`url`).

    `python` as a command is the interpreter that runs the product. Secrets stay in the environment:
    `env_from` and `headers_from` name the variables that hold them. `allowed_tools` are the tools
    that agents may call, all but `blocked_tools` where it is left out.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    command: str | None = Field(default=None, min_length=1)
    args: list[str] = []
    env_from: dict[VariableName, VariableName] = {}
    url: str | None = Field(default=None, pattern="^https?://")
    headers_from: dict[str, VariableName] = {}
    allowed_tools: list[str] | None = Field(default=None, min_length=1)
    blocked_tools: list[str] = []


class CalledManifest(Section):
    """A function of a Python file in the workflow's folder or its `tools/`.

    One run may take `timeout_seconds`, the person's answers aside; a failed one is repeated
    `retries` times with growing pauses; `max_concurrent` calls run side by side in a process.
    """

    file: str
    function: str
    name: str | None = None
    description: str = ""
    tool_type: Annotated[Literal["Agent_Tool", "UI_Tool"], spelled(_TOOL_TYPES)] = Field(
        default="Agent_Tool", validation_alias=AliasChoices("tool_type", "type")
    )
    timeout_seconds: float = Field(default=600.0, gt=0, le=86_400)
    retries: int = Field(default=0, ge=0, le=10)
    max_concurrent: int | None = Field(default=None, ge=1)
    auto_invoke: bool | None = None
    ui: ToolUi | None = None
    constraints: Any = idle()
    integration: Any = idle()


class ToolManifest(CalledManifest):
    """What an agent's model may call, by `name`: a function, or by `mcp` the tools of an MCP server.

    With `auto_invoke` (the default for a UI_Tool) the runtime itself calls it, with the structured
    output of an agent in `auto_tool_mode`. `ui` says how it is shown where its function does not.
    With `requires_approval` a person is asked before each call, which is made on a yes only.
    """

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["file", "function"]}, {"required": ["mcp"]}]}
    )

    agent: str | list[str] = Field(validation_alias=AliasChoices("agent", "caller"))
    file: str = ""
    function: str = ""
    mcp: McpManifest | None = None
    requires_approval: bool = False

    @property
    def agents(self) -> list[str]:
        return [self.agent] if isinstance(self.agent, str) else self.agent

    @property
    def is_auto_invoked(self) -> bool:
        return self.tool_type == "UI_Tool" if self.auto_invoke is None else self.auto_invoke


class LifecycleToolManifest(CalledManifest):
    """What the runtime calls before and after a chat, or each turn of `agent` (of all without one)."""

    trigger: Annotated[
        Literal["before_chat", "after_chat", "before_agent", "after_agent"], spelled(_MOMENTS)
    ]
    agent: str | None = None


class ToolsManifest(Section):
    """`tools`: what agents may call, and what is called at the ends of chats and turns."""

    tools: list[ToolManifest] = []
    lifecycle_tools: list[LifecycleToolManifest] = []


# -- handoffs -----------------------------------------------------------------------------------

_HANDOFF_TYPES = {"afterwork": "after_work", "condition": "condition"}
_CONDITION_TYPES = {
    **dict.fromkeys(("expression", "contextexpression", "context"), "expression"),
    **dict.fromkeys(("llm", "stringllm", "stringllmcondition"), "llm"),
}
_SCOPES = dict.fromkeys(("pre", "beforereply", "immediate", "contextpre"), "pre")
_TRANSITIONS = {plain(t): t for t in ("AgentTarget", "RevertToUserTarget", "TerminateTarget")}


class HandoffManifest(Section):
    """One rule: after its work, or when a condition is met, an agent hands over."""

    source_agent: str
    target_agent: str
    handoff_type: Annotated[Literal["after_work", "condition"], spelled(_HANDOFF_TYPES)] = (
        "after_work"
    )
    condition: str | None = None
    condition_type: Annotated[Literal["expression", "llm"] | None, spelled(_CONDITION_TYPES)] = None
    condition_scope: Annotated[Literal["pre"] | None, spelled(_SCOPES)] = Field(
        default=None, validation_alias=AliasChoices("condition_scope", "scope")
    )
    transition_target: Annotated[
        Literal["AgentTarget", "RevertToUserTarget", "TerminateTarget"] | None,
        spelled(_TRANSITIONS),
    ] = None
    description: str | None = None

    @property
    def kind(self) -> Literal["after_work", "expression", "llm"]:
        if self.handoff_type == "after_work":
            return "after_work"
        return self.condition_type or ("expression" if "${" in (self.condition or "") else "llm")


class HandoffsManifest(Section):
    """`handoffs`: who follows whom."""

    handoff_rules: list[HandoffManifest] = []


# -- context variables --------------------------------------------------------------------------


Refresh = Literal["once", "per_phase", "on_demand"]
RUNTIME_VALUES = ("app_id", "chat_id", "user_id")
_REFRESHES = {plain(word): word for word in ("once", "per_phase", "on_demand")}


class TextMatch(Section):
    equals: str | None = None
    contains: str | None = None
    regex: str | None = None


class AgentTextTrigger(Section):
    type: Literal["agent_text"]
    agent: str
    match: TextMatch | None = None
    equals: str | None = None
    contains: str | None = None
    regex: str | None = None
    ui_hidden: bool = False

    @property
    def matching(self) -> TextMatch:
        return self.match or TextMatch(equals=self.equals, contains=self.contains, regex=self.regex)


class UiResponseTrigger(Section):
    type: Literal["ui_response"]
    tool: str
    response_key: str


Trigger = Annotated[AgentTextTrigger | UiResponseTrigger, Field(discriminator="type")]


class Transition(Section):
    to: Any
    trigger: Trigger


class StaticSource(Section):
    type: Literal["static"]
    value: Any = None
    default: Any = None


class StateSource(Section):
    """What happens sets it: a trigger makes it true, or what was answered; a transition, `to`."""

    type: Literal["state", "derived"]
    default: Any = None
    triggers: list[Trigger] = []
    transitions: list[Transition] = []
    persist: Any = idle()


class ConfigSource(Section):
    """An environment variable, read when the workflow is loaded."""

    type: Literal["config", "environment"]
    env_var: str = Field(min_length=1)
    default: Any = None
    required: bool = False


class FileSource(Section):
    """A file of the workflow's folder, read when the workflow is loaded."""

    type: Literal["file"]
    path: str = Field(min_length=1)
    format: Literal["json", "yaml", "text"] = "text"
    encoding: str = "utf-8"
    default: Any = None
    required: bool = False


class ComputedSource(Section):
    """Tools fill it; `computation`, `inputs` and `output_type` tell their authors how."""

    type: Literal["computed"]
    computation: str | None = None
    inputs: list[Any] = []
    output_type: str | None = None
    persist_to: Any = idle()
    default: Any = None


class ReferenceSource(Section):
    """The newest document of a collection whose fields are equal to `query_template`.

    Values may hold `{{runtime.app_id}}`, `{{runtime.chat_id}}`, `{{runtime.user_id}}` and
    `{{var.name}}`. Of several `fields` the variable is an object, of one its value, of none the
    document. It is `default` where nothing is found.
    """

    type: Literal["data_reference"]
    database_name: str = Field(min_length=1)
    collection: str = Field(min_length=1)
    query_template: dict[str, Any] = {}
    fields: list[str] = Field(default=[], max_length=100)
    default: Any = None
    refresh_strategy: Annotated[Refresh, spelled(_REFRESHES)] = "once"
    db_type: Literal["mongodb"] = "mongodb"

    @property
    def query(self) -> dict[str, Any]:
        return self.query_template


class DatabaseSource(Section):
    """The same in its older spelling: `search_by` is `app_id`, `chat_id`, `user_id` or a variable."""

    type: Literal["database"]
    database_name: str = Field(min_length=1)
    collection: str = Field(min_length=1)
    search_by: str | None = None
    field: str | None = None
    default: Any = None

    @property
    def query(self) -> dict[str, Any]:
        if self.search_by is None:
            return {}
        kind = "runtime" if self.search_by in RUNTIME_VALUES else "var"
        return {self.search_by: f"{{{{{kind}.{self.search_by}}}}}"}

    @property
    def fields(self) -> list[str]:
        return [] if self.field is None else [self.field]

    @property
    def refresh_strategy(self) -> Refresh:
        return "once"


class DistantSource(Section):
    """Data elsewhere, which this release does not read: the variable keeps its default."""

    type: Literal["data_entity", "external"]
    default: Any = None
    db_type: str | None = None
    database_name: str | None = None
    collection: str | None = None
    search_by: Any = None
    schema_: Any = Field(default=None, alias="schema")
    indexes: Any = None
    write_strategy: str | None = None
    service: str | None = None
    operation: str | None = None
    params: Any = None
    auth: Any = None
    cache: Any = None
    retry: Any = None


VariableSource = Annotated[
    StaticSource
    | StateSource
    | ConfigSource
    | FileSource
    | ComputedSource
    | ReferenceSource
    | DatabaseSource
    | DistantSource,
    Field(discriminator="type"),
]


class VariableManifest(Section):
    name: str = Field(min_length=1)
    type: str | None = None
    description: str = ""
    source: VariableSource


class AgentVariables(Section):
    agent: str
    variables: list[str] = []


class VariablesManifest(Section):
    """`context_variables`: what is known beforehand, and which agents are told."""

    definitions: Annotated[
        list[VariableManifest], named(VariableManifest, alternatives=("key",))
    ] = []
    agents: Annotated[
        list[AgentVariables], named(AgentVariables, "agent", alternatives=("agent_name", "name"))
    ] = []


# -- structured outputs, page and hooks -----------------------------------------------------------


class OutputField(Section):
    type: str
    description: str = ""
    default: Any = None
    items: Any = None
    values: list[Any] | None = None
    variants: list[Any] | None = None


class OutputModel(Section):
    name: str = Field(min_length=1)
    type: Literal["model"] = "model"
    description: str = ""
    fields: dict[str, OutputField] = {}

    @model_validator(mode="before")
    @classmethod
    def _fields_by_name(cls, data: Any) -> Any:
        match data:
            case {"fields": [*listed]} if all(isinstance(f, dict) and "name" in f for f in listed):
                fields = {
                    str(field["name"]): {k: v for k, v in field.items() if k != "name"}
                    for field in listed
                }
                return {**data, "fields": fields}
        return data


class OutputOf(Section):
    agent: str
    agent_definition: str | None = None


def _registered(value: Any) -> Any:
    if isinstance(value, dict):
        return [{"agent": agent, "agent_definition": model} for agent, model in value.items()]
    return value


class OutputsManifest(Section):
    """`structured_outputs`: models, and which agent answers in which."""

    models: Annotated[list[OutputModel], named(OutputModel)] = []
    registry: Annotated[
        list[OutputOf],
        BeforeValidator(_registered, json_schema_input_type=list[OutputOf] | dict[str, str | None]),
    ] = []


class PageManifest(Section):
    """`ui_config`: only `visual_agents` has an effect."""

    visual_agents: list[str] = []
    display_name: str | None = idle()
    icon: Any = idle()
    dashboard: Any = idle()
    chat_pane_agents: Any = idle()
    artifact_agents: Any = idle()
    components: Any = idle()


class HookManifest(Section):
    """A function that sees what an agent, or `all` of them, is about to read or has just said."""

    hook_type: Literal[
        "process_message_before_send",
        "update_agent_state",
        "process_last_received_message",
        "process_all_messages_before_reply",
    ]
    hook_agent: str = "all"
    filename: str
    function: str


class HooksManifest(Section):
    """`hooks`."""

    hooks: list[HookManifest] = []
