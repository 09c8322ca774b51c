"""Values of key-value buckets that services share: cards of workflows and summaries of chats."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.envelope import Instant
from contracts.events.chat import Segment
from contracts.ids import AgentName, AppId, ChatId, Seq, UserId, WorkflowName
from contracts.workflow_graph import Graph

StartupMode = Literal["AgentDriven", "UserDriven", "BackendOnly"]
ChatStatus = Literal["running", "waiting", "completed", "failed", "cancelled"]

GENERAL = WorkflowName("General")
"""The workflow that answers where none is chosen. Every catalogue has it, be it one that did not load,
and it is published after all others: where it is, the catalogue is complete."""


def is_general(name: WorkflowName) -> bool:
    return name.casefold() == GENERAL.casefold()


class ToolCard(BaseModel):
    """What is public of a tool; `component` and `mode` are set for tools with a UI."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    description: str = ""
    agents: list[AgentName] = []
    component: str | None = None
    mode: Literal["inline", "artifact"] | None = None
    auto_invoke: bool = False


class WorkflowCard(BaseModel):
    """What is public of a workflow: no prompts, no paths.

    A workflow that did not load has `problems` (file and reason, one line each) and no agents; one
    whose newest edit does not load has them beside its last version that loaded. `general` marks the
    built-in workflow of general chats. `outputs` maps an agent to the model of its structured output,
    `settable` a context variable that users may set to the components that may do so; none: any.
    `graph` has handoffs with their conditions, which are for operators. A `draft` is an edited copy of
    a workflow, which is not in lists of workflows.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: WorkflowName
    description: str = ""
    pattern: str = ""
    startup_mode: StartupMode = "AgentDriven"
    human_in_the_loop: bool = False
    max_turns: int = 0
    initial_message_to_user: str | None = None
    agents: list[AgentName] = []
    visual_agents: list[AgentName] = []
    model: str = ""
    demo: bool = False
    version: str = ""
    general: bool = False
    tools: list[ToolCard] = []
    outputs: dict[AgentName, str] = {}
    settable: dict[str, list[str]] = {}
    problems: list[str] = []
    warnings: list[str] = []
    graph: Graph = Graph()
    draft: bool = False

    @property
    def on_offer(self) -> bool:
        """Whether a chat can start: the newest edit loads, or an earlier one did."""
        return bool(self.agents) or not self.problems


class ChatSummary(BaseModel):
    """One row of a user's chat list; `origin` is the last event that a fork has of another chat."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    app_id: AppId
    chat_id: ChatId
    user_id: UserId
    workflow_name: WorkflowName
    status: ChatStatus
    title: str = ""
    archived: bool = False
    deleted: bool = False
    created_at: Instant
    updated_at: Instant
    last_seq: Seq
    origin: Segment | None = None
