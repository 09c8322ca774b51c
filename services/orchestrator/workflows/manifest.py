"""The manifests of a workflow's folder, one frozen model per file: what an author may write."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from contracts.catalogue import StartupMode
from contracts.subjects import token


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _names_a_key(name: str) -> str:
    token(name, "workflow_name")  # raises where no bucket key could hold it
    return name


class WorkflowManifest(_Section):
    """`workflow.json`: how the conversation begins, goes on and ends."""

    workflow_name: Annotated[str, AfterValidator(_names_a_key)]
    description: str = ""
    orchestration_pattern: Literal["DefaultPattern"]
    initial_agent: str | None = None
    max_turns: int = Field(default=50, ge=1, le=10_000)
    human_in_the_loop: bool = False
    startup_mode: StartupMode = "AgentDriven"
    initial_message: str | None = None
    initial_message_to_user: str | None = None
    visual_agents: list[str] = []


class AgentManifest(_Section):
    name: str = Field(min_length=1)
    system_message: str = "You are a helpful assistant."


class AgentsManifest(_Section):
    """`agents.json`."""

    agents: list[AgentManifest] = Field(min_length=1)


class ToolManifest(_Section):
    """A function of a Python file in the workflow's folder or its `tools/`; models call it `name`."""

    agent: str | list[str]
    file: str
    function: str
    name: str | None = None
    description: str = ""
    tool_type: Literal["Agent_Tool"] = "Agent_Tool"

    @property
    def agents(self) -> list[str]:
        return [self.agent] if isinstance(self.agent, str) else self.agent


class ToolsManifest(_Section):
    """`tools.json`."""

    tools: list[ToolManifest] = []


class HandoffManifest(_Section):
    """One rule: after its work, or when a model finds the condition met, an agent hands over."""

    source_agent: str
    target_agent: str
    handoff_type: Literal["after_work", "condition"] = "after_work"
    condition: str | None = None
    condition_type: Literal["llm", "string_llm"] | None = None


class HandoffsManifest(_Section):
    """`handoffs.json`."""

    handoff_rules: list[HandoffManifest] = []


class StaticSource(_Section):
    type: Literal["static"]
    value: Any = None


class StateSource(_Section):
    type: Literal["state"]
    default: Any = None


class VariableManifest(_Section):
    name: str = Field(min_length=1)
    description: str = ""
    source: Annotated[StaticSource | StateSource, Field(discriminator="type")]

    @property
    def value(self) -> Any:
        return self.source.value if isinstance(self.source, StaticSource) else self.source.default


class AgentVariables(_Section):
    variables: list[str] = []


class VariablesManifest(_Section):
    """`context_variables.json`: what is known beforehand, and which agents are told."""

    definitions: list[VariableManifest] = []
    agents: dict[str, AgentVariables] = {}
