"""Models of the routes by which users keep their list of chats: titles, archive, deletion."""

from typing import Literal

from pydantic import Field

from contracts.ids import UserId
from contracts.wire.client_messages import Title
from services.transport.http.models.base import RequestModel, ResponseModel


class ChatOwner(RequestModel):
    user_id: UserId = Field(description="The user whose chat it is.", examples=["ana"])


class RenameRequest(ChatOwner):
    title: Title


class ListChangeAccepted(ResponseModel):
    """The change is in the chat's events and in the lists a moment later."""

    status: Literal["accepted"] = Field(default="accepted", description="Always `accepted`.")
