"""What services tell each other through key-value buckets: workflows on offer and chats in short."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.envelope import Instant
from contracts.ids import AgentName, AppId, ChatId, Seq, UserId, WorkflowName

StartupMode = Literal["AgentDriven", "UserDriven", "BackendOnly"]
ChatStatus = Literal["running", "waiting", "completed", "failed", "cancelled"]


class ToolCard(BaseModel):
    """A tool as the public may know it; `component` and `mode` are there for tools with a UI."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    description: str = ""
    agents: list[AgentName] = []
    component: str | None = None
    mode: Literal["inline", "artifact"] | None = None
    auto_invoke: bool = False


class WorkflowCard(BaseModel):
    """A workflow as the public may know it: no prompts, no paths.

    A workflow that did not load has `problems` (file and reason, one line each) and no agents; one
    whose newest edit does not load has them beside its last good version. `general` is the built-in
    one that answers where no workflow is chosen. `outputs` says which agent answers in which model.
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
    problems: list[str] = []
    warnings: list[str] = []

    @property
    def on_offer(self) -> bool:
        """Whether a chat can begin: its newest edit loads, or an earlier one did."""
        return bool(self.agents) or not self.problems


class ChatSummary(BaseModel):
    """One row of a user's chat list."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    app_id: AppId
    chat_id: ChatId
    user_id: UserId
    workflow_name: WorkflowName
    status: ChatStatus
    title: str = ""
    created_at: Instant
    updated_at: Instant
    last_seq: Seq
