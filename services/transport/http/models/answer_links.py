"""Models of the routes of links that answer a question."""

from typing import Any, Literal

from pydantic import Field

from contracts.ids import AgentName, AppId, ChatId, QuestionId, UserId, WorkflowName
from services.transport.http.models.base import (
    CHAT_ID,
    EARLIER,
    LATER,
    QUESTION_ID,
    RequestModel,
    ResponseModel,
    Timestamp,
)


class AnswerLinkRequest(RequestModel):
    """Whose answer the link will be; by default that of the request's own user."""

    user_id: UserId | None = Field(
        default=None, description="Who will answer, where a back end asks for one of its users."
    )
    role: str | None = Field(default=None, description="A role of that user.")


class AnswerLinkIssued(ResponseModel):
    url: str = Field(
        description="Shows the question, and answers it once.",
        examples=["https://chat.example.com/answer/eyJhcHBfaWQiOi..."],
    )
    expires_at: Timestamp = Field(description="When the link expires.", examples=[LATER])


class LinkedQuestion(ResponseModel):
    """An open question, whole, for those who may answer it."""

    app_id: AppId = Field(description="The id of the app.", examples=["acme"])
    chat_id: ChatId = Field(description="The chat that asks.", examples=[CHAT_ID])
    workflow_name: WorkflowName = Field(description="Its workflow.", examples=["Orders"])
    user_id: UserId = Field(description="The user of the chat.", examples=["ana"])
    question_id: QuestionId = Field(description="The question.", examples=[QUESTION_ID])
    kind: Literal["text", "component"] = Field(description="How it is answered.", examples=["text"])
    agent: AgentName = Field(description="The agent that asks.", examples=["Buyer"])
    prompt: str | None = Field(
        description="The question; null for a component.",
        examples=['May pay be called with {"euros": 12}?'],
    )
    options: list[str] = Field(description="Suggested answers.", examples=[["Approve", "Deny"]])
    component: str | None = Field(
        description="The component that asks; null for a text.", examples=[None]
    )
    payload: dict[str, Any] | None = Field(description="What the component shows.", examples=[None])
    tool: str | None = Field(
        description="The tool whose call is to be approved, if the question is that.",
        examples=["pay"],
    )
    digest: str | None = Field(
        description="SHA-256 of the call's arguments, in hex.",
        examples=["5f2c0e9be65e8c1e43a42b7a3f5a2a3a0d5d1f4d7e5a7f0d8f5b0c3a9e1d2c4b"],
    )
    allow_always: bool = Field(
        description="Whether the answer may approve all further calls of the tool.",
        examples=[False],
    )
    asked_at: Timestamp | None = Field(description="When it was asked.", examples=[EARLIER])
    expires_at: Timestamp | None = Field(
        description="When it expires; null: never.", examples=[None]
    )
