"""Models of the routes of the inbox: open questions by who may answer them."""

from typing import Literal, Self

from pydantic import Field

from contracts.ids import AgentName, ChatId, QuestionId, UserId, WorkflowName
from contracts.lookups import InboxFound
from contracts.lookups import InboxQuestion as FoundQuestion
from services.transport.http.models.base import (
    CHAT_ID,
    EARLIER,
    QUESTION_ID,
    ResponseModel,
    Timestamp,
    example_of,
)


class InboxQuestion(ResponseModel):
    """An open question, as its snapshot has it: the whole of it is at `questions/{question_id}`."""

    chat_id: ChatId = Field(description="The chat that asks.", examples=[CHAT_ID])
    workflow_name: WorkflowName = Field(description="Its workflow.", examples=["Orders"])
    user_id: UserId = Field(description="The user of the chat.", examples=["ana"])
    question_id: QuestionId = Field(description="The question.", examples=[QUESTION_ID])
    kind: Literal["text", "component"] = Field(description="How it is answered.", examples=["text"])
    agent: AgentName = Field(description="The agent that asks.", examples=["Buyer"])
    subject: str = Field(
        description="The beginning of the prompt, or the name of the component.",
        examples=['May pay be called with {"euros": 12}?'],
    )
    options: list[str] = Field(
        description="Suggested answers; empty where there are many.", examples=[["Approve", "Deny"]]
    )
    tool: str | None = Field(
        description="The tool whose call is to be approved, if the question is that.",
        examples=["pay"],
    )
    digest: str | None = Field(
        description="SHA-256 of the call's arguments, in hex.", examples=[None]
    )
    allow_always: bool = Field(
        description="Whether the answer may approve all further calls of the tool.",
        examples=[False],
    )
    asks_user: bool = Field(description="Whether the chat's user may answer.", examples=[False])
    users: list[UserId] = Field(description="Who else may answer, by name.", examples=[["bob"]])
    roles: list[str] = Field(description="Who else may answer, by role.", examples=[["finance"]])
    escalated: bool = Field(description="Whether it was escalated.", examples=[False])
    asked_at: Timestamp | None = Field(description="When it was asked.", examples=[EARLIER])
    expires_at: Timestamp | None = Field(
        description="When it expires; null: never.", examples=[None]
    )

    @classmethod
    def of(cls, found: FoundQuestion) -> Self:
        asked = found.question
        return cls(
            chat_id=found.chat_id,
            workflow_name=found.workflow_name,
            user_id=found.user_id,
            question_id=asked.question_id,
            kind=asked.kind,
            agent=asked.agent,
            subject=asked.subject,
            options=list(asked.options),
            tool=asked.tool,
            digest=asked.digest,
            allow_always=asked.allow_always,
            asks_user=asked.asks_owner,
            users=list(asked.users),
            roles=list(asked.roles),
            escalated=asked.escalated,
            asked_at=asked.asked_at,
            expires_at=asked.expires_at,
        )


class InboxPage(ResponseModel):
    """Those that have waited longest come first. It trails the chats by a moment."""

    questions: list[InboxQuestion] = Field(
        description="The open questions; those of one chat keep together.",
        examples=[[example_of(InboxQuestion)]],
    )
    next: str | None = Field(
        description="The `cursor` of the next page; null at the end.",
        examples=["1764072000000.c-1"],
    )

    @classmethod
    def of(cls, found: InboxFound) -> Self:
        return cls(questions=[InboxQuestion.of(one) for one in found.questions], next=found.next)
