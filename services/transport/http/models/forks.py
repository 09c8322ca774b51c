"""Models of the routes that fork a chat and show an earlier state of it."""

from typing import Any, Literal, Self

from pydantic import Field

from contracts.catalogue import ChatStatus
from contracts.chat_snapshot import OpenQuestion
from contracts.ids import AgentName, AppId, ChatId, QuestionId, UserId, WorkflowName
from contracts.lookups import ForksFound
from contracts.wire.frames import StoredValueLink
from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.http.models.base import (
    CHAT_ID,
    EARLIER,
    LATER,
    QUESTION_ID,
    Count,
    EventSequence,
    ForkOrigin,
    RequestModel,
    ResponseModel,
    Timestamp,
    example_of,
)

FORK_ID = "0a7f5a3c-2d11-5c1e-9a55-6f1c2b9e6d0f"


class ForkChatRequest(RequestModel):
    user_id: UserId = Field(description="The user whose chat it is.", examples=["ana"])
    seq: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SAFE_INTEGER,
        description="The last event that the fork has of this chat; one within a decision means its"
        " last event. Without it: the newest event.",
        examples=[3],
    )
    message: str | None = Field(
        default=None, description="The first message of the user in the fork.", examples=["Hello"]
    )
    client_request_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Idempotency key: requests with an equal key for one chat give one fork.",
        examples=["request-1"],
    )


class ForkChatAnswer(ResponseModel):
    chat_id: ChatId = Field(description="The id of the fork.", examples=[FORK_ID])
    workflow_name: WorkflowName = Field(description="Its workflow.", examples=["HelloWorld"])
    app_id: AppId = Field(description="Its app.", examples=["acme"])
    user_id: UserId = Field(description="Its user.", examples=["ana"])
    websocket_url: str = Field(
        description="The path of the fork's WebSocket.",
        examples=[f"/ws/HelloWorld/acme/{FORK_ID}/ana"],
    )
    origin: ForkOrigin = Field(
        description="Where the fork comes from.", examples=[example_of(ForkOrigin)]
    )
    reused: bool = Field(
        description="Whether an earlier request with the same key began it.", examples=[False]
    )


class StateQuestion(ResponseModel):
    """A question that was open."""

    question_id: QuestionId = Field(description="The question.", examples=[QUESTION_ID])
    kind: Literal["text", "component"] = Field(description="How it is answered.", examples=["text"])
    agent: AgentName = Field(description="The agent that asked.", examples=["Buyer"])
    subject: str = Field(
        description="The beginning of the prompt, or the name of the component.",
        examples=["Which colour?"],
    )
    options: list[str] = Field(description="Suggested answers.", examples=[["red", "blue"]])
    asked_at: Timestamp | None = Field(description="When it was asked.", examples=[EARLIER])

    @classmethod
    def of(cls, question: OpenQuestion) -> Self:
        return cls(
            question_id=question.question_id,
            kind=question.kind,
            agent=question.agent,
            subject=question.subject,
            options=list(question.options),
            asked_at=question.asked_at,
        )


class LargeVariable(ResponseModel):
    """Where the whole value is of which a variable has only the beginning."""

    path: str = Field(description="JSON Pointer into `variables`.", examples=["/report"])
    digest: str = Field(description="SHA-256 of its bytes, in hex.", examples=["9f86d081"])
    size: Count = Field(description="In bytes.", examples=[3_000_000])
    media_type: str = Field(description="What it is.", examples=["application/json"])
    url: str = Field(
        description="Its path; `user_id` is added as for other routes.",
        examples=[f"/api/chats/acme/{CHAT_ID}/values/9f86d081"],
    )

    @classmethod
    def of(cls, link: StoredValueLink) -> Self:
        return cls(**link.model_dump())


class ChatState(ResponseModel):
    """A chat as of one of its events."""

    chat_id: ChatId = Field(description="The id of the chat.", examples=[CHAT_ID])
    workflow_name: WorkflowName = Field(description="Its workflow.", examples=["HelloWorld"])
    sequence: EventSequence = Field(
        description="The event that this is the state after.", examples=[12]
    )
    last_sequence: EventSequence = Field(
        description="The `seq` of its newest event.", examples=[40]
    )
    time: Timestamp = Field(description="The time of the event.", examples=[LATER])
    title: str = Field(description="The beginning of the first message.", examples=["Hello"])
    chat_status: ChatStatus = Field(description="The status then.", examples=["waiting"])
    speaker: AgentName | None = Field(
        description="Whose turn it was; `user` where the chat waited for a message.",
        examples=["user"],
    )
    variables: dict[str, Any] = Field(
        description="The context variables, without those that the runtime reserves.",
        examples=[{"colour": "red"}],
    )
    stored_values: list[LargeVariable] = Field(
        description="Where the whole values are of which `variables` has only the beginning.",
        examples=[[]],
    )
    open_questions: list[StateQuestion] = Field(
        description="The questions that waited for an answer.",
        examples=[[example_of(StateQuestion)]],
    )
    origin: ForkOrigin | None = Field(
        description="Where the chat comes from, if it is a fork and this is after its first event.",
        examples=[None],
    )


class Fork(ResponseModel):
    """A chat that reads events of another one."""

    chat_id: ChatId = Field(description="The id of the fork.", examples=[FORK_ID])
    origin: ForkOrigin | None = Field(
        description="Where it comes from: that may be another fork.",
        examples=[example_of(ForkOrigin)],
    )
    status: ChatStatus = Field(description="Its status.", examples=["waiting"])
    title: str = Field(description="The beginning of the first message.", examples=["Hello"])
    created_at: Timestamp = Field(description="When it was forked.", examples=[LATER])


class ForksPage(ResponseModel):
    forks: list[Fork] = Field(description="By their ids.", examples=[[example_of(Fork)]])
    next: ChatId | None = Field(
        description="The `cursor` of the next page; null at the end.", examples=[None]
    )

    @classmethod
    def of(cls, found: ForksFound) -> Self:
        forks = [
            Fork(
                chat_id=one.chat_id,
                origin=ForkOrigin.of(one.origin),
                status=one.status,
                title=one.title,
                created_at=one.created_at,
            )
            for one in found.forks
        ]
        return cls(forks=forks, next=found.next)
