"""What an orchestrator shows to operators and authors: model calls as sent, workflows, and drafts of them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.ids import AgentName, AppId, ChatId, WorkflowName
from contracts.wire.json_values import JsonObject, ShownInteger, ShownSeq

MAX_DRAFT_BYTES = 262_144
"""Of the files of a draft together."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelCallAsked(_Part):
    """A model request of a chat, by the `seq` of its event."""

    kind: Literal["model_call"] = "model_call"
    app_id: AppId
    chat_id: ChatId
    seq: ShownSeq


class WorkflowAsked(_Part):
    """The agents of a workflow, as this orchestrator has it."""

    kind: Literal["workflow"] = "workflow"
    workflow_name: WorkflowName


class DraftAsked(_Part):
    """An edited copy of a workflow, kept in memory: only where ENVIRONMENT is development.

    `files` replace the manifests of their names, `variables` the initial values of variables, and
    `model` is that of all agents.
    """

    kind: Literal["draft"] = "draft"
    workflow_name: WorkflowName
    files: dict[str, str] = {}
    variables: dict[str, Any] = {}
    model: str | None = None


class InspectionRequested(_Part):
    """Asked on core NATS with a reply subject; one orchestrator answers."""

    asked: Annotated[
        ModelCallAsked | WorkflowAsked | DraftAsked, Field(discriminator="kind", title="Asked")
    ]


class ModelCallShown(_Part):
    """A model request as it was sent, and the answer.

    `is_exact`: the digest in the log is that of this prompt and these messages. `tools` and
    `response_schema` are of the newest code. `response` is None while there is none, or where the call
    failed: then `failure` says how.
    """

    seq: ShownSeq
    turn: ShownInteger
    call: ShownInteger
    agent: AgentName
    is_exact: bool
    prompt: list[str]
    messages: list[JsonObject]
    tools: list[JsonObject] = []
    mcp_servers: list[str] = []
    response_schema: JsonObject | None = None
    settings: JsonObject = {}
    response: JsonObject | None = None
    failure: JsonObject | None = None
    usage: JsonObject | None = None


class AgentShown(_Part):
    """An agent as its manifest has it; None stands for the default of the process."""

    name: AgentName
    prompt: str
    model: str | None = None
    provider: str | None = None
    temperature: float | None = None
    tools: list[str] = []
    mcp_servers: list[str] = []
    variables: list[str] = []
    output: str | None = None


class WorkflowShown(_Part):
    """A workflow with its prompts. `files` are the manifests that a draft may edit, where it may."""

    name: WorkflowName
    version: str
    model: str
    agents: list[AgentShown]
    variables: list[str] = []
    drafts: bool = False
    files: dict[str, str] = {}


class DraftShown(_Part):
    """The name under which a draft can be started, or the problems why it cannot."""

    workflow_name: WorkflowName | None = None
    problems: list[str] = []


class InspectionFound(_Part):
    """The answer, compressed by zlib on the wire; `problem` says why there is none."""

    model_call: ModelCallShown | None = None
    workflow: WorkflowShown | None = None
    draft: DraftShown | None = None
    problem: str | None = None
