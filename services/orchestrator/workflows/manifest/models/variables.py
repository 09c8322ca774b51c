"""The model of the `context_variables` section."""

from typing import Annotated, Any, Literal

from pydantic import Field

from services.orchestrator.workflows.manifest.models.base import (
    Section,
    aliases,
    named_entries,
    normalise_word,
    not_executed,
)
from services.orchestrator.workflows.spec import Refresh

RUNTIME_VALUES = ("app_id", "chat_id", "user_id")
_REFRESHES = {normalise_word(word): word for word in ("once", "per_phase", "on_demand")}


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
    """A trigger sets the variable to true, or to the user's answer; a transition sets it to `to`."""

    type: Literal["state", "derived"]
    default: Any = None
    triggers: list[Trigger] = []
    transitions: list[Transition] = []
    persist: Any = not_executed()


class ConfigSource(Section):
    """The value of an environment variable, read when the workflow is loaded."""

    type: Literal["config", "environment"]
    env_var: str = Field(min_length=1)
    default: Any = None
    required: bool = False


class FileSource(Section):
    """The content of a file of the workflow's folder, read when the workflow is loaded."""

    type: Literal["file"]
    path: str = Field(min_length=1)
    format: Literal["json", "yaml", "text"] = "text"
    encoding: str = "utf-8"
    default: Any = None
    required: bool = False


class ComputedSource(Section):
    """Tools set the variable. `computation`, `inputs` and `output_type` are documentation only."""

    type: Literal["computed"]
    computation: str | None = None
    inputs: list[Any] = []
    output_type: str | None = None
    persist_to: Any = not_executed()
    default: Any = None


class ReferenceSource(Section):
    """The newest document of a collection whose fields are equal to `query_template`.

    Values may contain `{{runtime.app_id}}`, `{{runtime.chat_id}}`, `{{runtime.user_id}}` and
    `{{var.name}}`. With several `fields` the variable is an object, with one field its value,
    without `fields` the document. It is `default` if no document is found.
    """

    type: Literal["data_reference"]
    database_name: str = Field(min_length=1)
    collection: str = Field(min_length=1)
    query_template: dict[str, Any] = {}
    fields: list[str] = Field(default=[], max_length=100)
    default: Any = None
    refresh_strategy: Annotated[Refresh, aliases(_REFRESHES)] = "once"
    db_type: Literal["mongodb"] = "mongodb"

    @property
    def query(self) -> dict[str, Any]:
        return self.query_template


class DatabaseSource(Section):
    """A `data_reference` in the older syntax: `search_by` is `app_id`, `chat_id`, `user_id` or a variable."""

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


class UnsupportedSource(Section):
    """A source that this release does not read: the variable keeps its default."""

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
    | UnsupportedSource,
    Field(discriminator="type"),
]


class VariableManifest(Section):
    name: str = Field(min_length=1)
    type: str | None = None
    description: str = ""
    settable_by: Literal["user"] | None = None
    """Without it, only the workflow and its tools set the variable."""
    settable_from: list[str] = Field(default=[], max_length=100)
    """The components that may set it; empty: any client of the chat's user."""
    source: VariableSource


class AgentVariables(Section):
    agent: str
    variables: list[str] = []


class VariablesManifest(Section):
    """`context_variables`: the variables of a chat, and which agents have them in their prompt."""

    definitions: Annotated[
        list[VariableManifest], named_entries(VariableManifest, alternatives=("key",))
    ] = []
    agents: Annotated[
        list[AgentVariables],
        named_entries(AgentVariables, "agent", alternatives=("agent_name", "name")),
    ] = []
