"""Models of the routes by which users keep their list of chats: titles, archive, deletion."""

from typing import Literal, Self

from pydantic import Field

from contracts.chat_pages import ChatsFound, ListedChat
from contracts.ids import UserId
from contracts.wire.client_messages import Title
from services.transport.http.models.base import RequestModel, ResponseModel, example_of
from services.transport.http.models.chats import ChatSession


class ChatOwner(RequestModel):
    user_id: UserId = Field(description="The user whose chat it is.", examples=["ana"])


class RenameRequest(ChatOwner):
    title: Title


class ListChangeAccepted(ResponseModel):
    """The change is in the chat's events and in the lists a moment later."""

    status: Literal["accepted"] = Field(default="accepted", description="Always `accepted`.")


class UserChat(ChatSession):
    """A row of a user's list of chats."""

    archived: bool = Field(description="Whether it is archived.", examples=[False])
    deleted: bool = Field(description="Whether it is deleted.", examples=[False])
    excerpt: str | None = Field(
        description="Of a search, the part of the newest message with the words, where the title does"
        " not have them.",
        examples=[None],
    )

    @classmethod
    def of_listed(cls, listed: ListedChat) -> Self:
        row, summary = ChatSession.of(listed.summary), listed.summary
        return cls(
            **row.model_dump(),
            archived=summary.archived,
            deleted=summary.deleted,
            excerpt=listed.excerpt,
        )


class UserChats(ResponseModel):
    """The chat that changed last comes first. The list trails the chats by a moment."""

    chats: list[UserChat] = Field(
        description="Fewer than asked for, also none, where a search went through many others.",
        examples=[[example_of(UserChat)]],
    )
    next: str | None = Field(
        description="The `cursor` of the next page; null at the end.",
        examples=["1764072000000.c-1"],
    )

    @classmethod
    def of(cls, found: ChatsFound) -> Self:
        return cls(chats=[UserChat.of_listed(one) for one in found.chats], next=found.next)
