"""Business events that the runtime itself publishes: milestones of chats, agents and tools.

They are derived from the events of a chat, so a milestone is the same however often it is derived. None
has a text of users, models or tools, an argument or a result.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from contracts.envelope import Envelope, Instant
from contracts.events import Event
from contracts.events.business import Level
from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed, ChatStarted
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import (
    RUNTIME,
    SELECTOR,
    USER,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
)
from contracts.ids import AppId, ChatId, ChatKey, Seq, WorkflowName
from contracts.subjects import token

WorkflowMilestone = Literal[
    "WORKFLOW_STARTED", "WORKFLOW_COMPLETED", "WORKFLOW_FAILED", "WORKFLOW_CANCELLED"
]
DetailMilestone = Literal[
    "AGENT_TURN_STARTED",
    "AGENT_TURN_COMPLETED",
    "AGENT_TURN_FAILED",
    "AGENT_TURN_STOPPED",
    "TOOL_CALL_COMPLETED",
    "TOOL_CALL_FAILED",
    "INPUT_REQUESTED",
    "INPUT_RECEIVED",
    "INPUT_EXPIRED",
]
Milestone = WorkflowMilestone | DetailMilestone
WORKFLOW_MILESTONES: frozenset[str] = frozenset(get_args(WorkflowMilestone))


class MilestoneBody(BaseModel):
    """The fields of `business.logged`, as workflows publish it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    log_event_type: Milestone
    level: Level = "info"
    message: str
    metadata: dict[str, Any] = {}


class RuntimeBusinessEvent(BaseModel):
    """A milestone, in the form of an event's envelope.

    `seq` is the position of the event of the chat that it is derived from, `id` the same within all
    chats: a milestone that is published twice has the same. `trace` is a W3C traceparent.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar = "business.milestone"

    id: str
    app_id: AppId
    chat_id: ChatId
    seq: Seq = Field(ge=1)
    type: Literal["business.milestone"] = "business.milestone"
    version: Literal[1] = 1
    category: Literal["business"] = "business"
    time: Instant
    actor: str
    trace: str | None = None
    workflow_name: WorkflowName
    body: MilestoneBody

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def headers(self) -> Mapping[str, str]:
        """The required attributes of CloudEvents 1.0 in NATS binary mode, and the trace context."""
        traced = {} if self.trace is None else {"traceparent": self.trace}
        return {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-source": f"/apps/{token(self.app_id)}/chats/{token(self.chat_id)}",
            "ce-type": f"mozaiks.{self.type}.v{self.version}",
            **traced,
        }


def milestone_of(envelope: Envelope, event: Event | None) -> RuntimeBusinessEvent | None:
    """The milestone that an event is; None where it is none."""
    body = None if event is None else _body_of(event)
    if body is None:
        return None
    return RuntimeBusinessEvent(
        id=f"{envelope.event_id}.milestone",
        app_id=envelope.app_id,
        chat_id=envelope.chat_id,
        seq=envelope.seq,
        time=envelope.time,
        actor=envelope.actor,
        trace=envelope.trace,
        workflow_name=envelope.workflow_name,
        body=body,
    )


def _body_of(event: Event) -> MilestoneBody | None:
    match event:
        case ChatStarted():
            return _info("WORKFLOW_STARTED", "Workflow execution started")
        case ChatCompleted(reason=reason, turns=turns):
            fields = {"reason": reason, "turns": turns}
            return _info("WORKFLOW_COMPLETED", "Workflow execution completed", **fields)
        case ChatFailed(code=code):
            return _error("WORKFLOW_FAILED", "Workflow execution failed", code=code)
        case ChatCancelled():
            return _info("WORKFLOW_CANCELLED", "Workflow execution cancelled")
        case SpeakerSelected() | TurnCompleted() | TurnFailed() | TurnStopped():
            return _body_of_turn(event)
        case ToolReturned():
            return _body_of_tool(event)
        case HumanAsked() | UiToolRequested():
            return _info("INPUT_REQUESTED", "Input requested", **_question(event))
        case HumanAnswered() | UiToolAnswered():
            fields = {"question_id": event.question_id}
            return _info("INPUT_RECEIVED", "Input received", **fields)
        case QuestionExpired():
            fields = {"question_id": event.question_id}
            return _info("INPUT_EXPIRED", "Input was not given in time", **fields)
        case _:
            return None


def _body_of_turn(
    event: SpeakerSelected | TurnCompleted | TurnFailed | TurnStopped,
) -> MilestoneBody | None:
    if event.agent in (USER, SELECTOR, RUNTIME):
        return None
    fields = {"agent": event.agent, "turn": event.turn}
    match event:
        case SpeakerSelected():
            return _info("AGENT_TURN_STARTED", "Agent turn started", **fields)
        case TurnCompleted():
            return _info("AGENT_TURN_COMPLETED", "Agent turn completed", **fields)
        case TurnFailed(code=code):
            return _error("AGENT_TURN_FAILED", "Agent turn failed", **fields, code=code)
        case TurnStopped():
            return _info("AGENT_TURN_STOPPED", "Agent turn stopped by the user", **fields)


def _body_of_tool(event: ToolReturned) -> MilestoneBody:
    fields = {
        "agent": event.agent,
        "turn": event.turn,
        "tool": event.name,
        "tool_call_id": event.tool_call_id,
        "status": event.status,
    }
    if event.status == "ok":
        return _info("TOOL_CALL_COMPLETED", "Tool call completed", **fields)
    return _error("TOOL_CALL_FAILED", "Tool call failed", **fields)


def _question(event: HumanAsked | UiToolRequested) -> dict[str, Any]:
    return {"question_id": event.question_id, "agent": event.agent, "turn": event.turn}


def _info(kind: Milestone, message: str, **metadata: Any) -> MilestoneBody:
    return MilestoneBody(log_event_type=kind, message=message, metadata=metadata)


def _error(kind: Milestone, message: str, **metadata: Any) -> MilestoneBody:
    return MilestoneBody(log_event_type=kind, level="error", message=message, metadata=metadata)
