"""Models of the routes about general chats: those without a chosen workflow."""

from typing import Literal

from pydantic import Field

from contracts.catalogue import ChatStatus
from contracts.ids import AppId, ChatId, UserId
from services.transport.http.models.base import (
    CHAT_ID,
    EARLIER,
    LATER,
    Count,
    EventSequence,
    ResponseModel,
    Timestamp,
    example_of,
)

Role = Literal["user", "assistant"]


class GeneralChatSession(ResponseModel):
    """A row of a user's list of general chats."""

    chat_id: ChatId = Field(description="The id of the chat.", examples=[CHAT_ID])
    label: str = Field(description="Its display name.", examples=["General Chat #1"])
    sequence: Count = Field(
        description="Its number among the user's general chats, from 1.", examples=[1]
    )
    status: ChatStatus = Field(description="Its status.", examples=["waiting"])
    created_at: Timestamp = Field(description="When it was started.", examples=[EARLIER])
    last_updated_at: Timestamp = Field(description="When its last event was.", examples=[LATER])
    last_sequence: EventSequence = Field(description="The `seq` of its last event.", examples=[7])


class GeneralChatSessions(ResponseModel):
    sessions: list[GeneralChatSession] = Field(
        description="Newest first.", examples=[[example_of(GeneralChatSession)]]
    )
    count: Count = Field(description="How many of them are listed here.", examples=[1])


class MessageSource(ResponseModel):
    source: Literal["general_agent"] = Field(
        default="general_agent", description="Always `general_agent`."
    )


class GeneralMessage(ResponseModel):
    sequence: EventSequence = Field(description="The `seq` of its event.", examples=[3])
    event_id: str = Field(description="The id of its event.", examples=[f"acme.{CHAT_ID}.3"])
    timestamp: Timestamp = Field(description="When it was sent.", examples=[EARLIER])
    role: Role = Field(description="Who sent it.", examples=["user"])
    agent: str = Field(description="The agent, or `user`.", examples=["user"])
    agent_name: str = Field(description="As `agent`.", examples=["user"])
    content: str = Field(description="The text.", examples=["What is sourdough?"])
    metadata: MessageSource = Field(
        default=MessageSource(),
        description="Where it comes from.",
        examples=[example_of(MessageSource)],
    )


class GeneralTranscript(ResponseModel):
    """Messages of a general chat."""

    chat_id: ChatId = Field(description="The id of the chat.", examples=[CHAT_ID])
    label: str = Field(description="Its display name.", examples=["General Chat #1"])
    sequence: Count = Field(
        description="Its number among the user's general chats, from 1.", examples=[1]
    )
    status: ChatStatus = Field(description="Its status.", examples=["waiting"])
    app_id: AppId = Field(description="Its app.", examples=["acme"])
    user_id: UserId = Field(description="Its user.", examples=["ana"])
    created_at: Timestamp = Field(description="When it was started.", examples=[EARLIER])
    last_updated_at: Timestamp = Field(description="When its last event was.", examples=[LATER])
    last_sequence: EventSequence = Field(description="The `seq` of its last event.", examples=[7])
    messages: list[GeneralMessage] = Field(
        description="The messages after `after_sequence`, in order, at most `limit`.",
        examples=[[example_of(GeneralMessage)]],
    )
