"""What a chat waits for and why, for operators: asked of an orchestrator, whose rules decide it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.ids import (
    AgentName,
    AppId,
    ChatId,
    QuestionId,
    Seq,
    UserId,
    WorkflowName,
)
from contracts.wire.json_values import ShownInteger, ShownSeq

WaitsFor = Literal[
    "nothing",
    "user_message",
    "answers",
    "retry",
    "model",
    "tools",
    "turn",
    "lifecycle_tools",
    "stop",
]
"""`nothing`: the chat has ended. Of the last five the runtime is in charge: an orchestrator runs it."""
MAX_NODES = 200
"""Of the tree of causes: the newest are kept."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OpenQuestionExplained(_Part):
    """An open question, without its text, which is the user's."""

    question_id: QuestionId
    agent: AgentName
    tool_call_id: str
    asked_at: datetime
    expires_at: datetime | None = None
    escalates_at: datetime | None = None
    users: list[UserId] = []
    roles: list[str] = []


class OpenCallExplained(_Part):
    """A tool call without a result. `attempt` counts its dispatches; 0: not dispatched yet."""

    tool_call_id: str
    tool_name: str
    attempt: ShownInteger = 0
    dispatched_at: datetime | None = None


class ErrorExplained(_Part):
    """The last failure. `detail` is what the provider itself said."""

    seq: ShownSeq
    time: datetime
    code: str
    message: str
    detail: str | None = None


class ProviderWait(_Part):
    """A model call that waits before it is tried again, as it was last reported."""

    code: str
    seconds: float
    attempt: ShownInteger
    attempts: ShownInteger
    next_attempt_at: datetime


class RunnerExplained(_Part):
    """Who runs a chat that the runtime is in charge of.

    `command` is the one that made it run, `message` the number of its message in the queue, which is
    delivered until the chat is quiet. `process` handled the last delivery, the `attempt`th; whether
    it `holds_message` now: None where the processes could not be asked.
    """

    command: str
    message: ShownInteger
    message_is_stored: bool | None = None
    process: str | None = None
    attempt: ShownInteger | None = None
    processes: list[str] = []
    holds_message: bool | None = None


class CauseNode(_Part):
    """A node of the tree of causes: a command, a turn, a model call, a tool call or a question."""

    kind: Literal["command", "turn", "model_call", "tool_call", "question", "failure", "takeover"]
    name: str
    seq: ShownSeq
    time: datetime
    outcome: str | None = None
    children: "list[CauseNode]" = []


class ChatAccount(_Part):
    """What a chat's log says about it. `sentence` says in words what the chat waits for."""

    app_id: AppId
    chat_id: ChatId
    workflow_name: WorkflowName | None = None
    user_id: UserId | None = None
    last_seq: ShownSeq = Seq(0)
    waits_for: WaitsFor = "nothing"
    since: datetime | None = None
    sentence: str = ""
    agent: AgentName | None = None
    turn: ShownInteger | None = None
    questions: list[OpenQuestionExplained] = []
    calls: list[OpenCallExplained] = []
    last_error: ErrorExplained | None = None
    provider_wait: ProviderWait | None = None
    runner: RunnerExplained | None = None
    causes: list[CauseNode] = Field(
        default=[], description="The newest commands and what they led to."
    )


class ExplanationRequested(_Part):
    """Explain a chat: asked on core NATS with a reply subject; one orchestrator answers."""

    app_id: AppId
    chat_id: ChatId


class ExplanationFound(_Part):
    """The account, compressed by zlib on the wire. `problem` says why there is none."""

    account: ChatAccount | None = None
    problem: str | None = None
