"""What is to be erased, and what became of it: the values of bucket `erasures`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.ids import AppId, ChatId, UserId
from contracts.subjects import erasure_key
from contracts.wire.json_values import MAX_SAFE_INTEGER


class ErasedCounts(BaseModel):
    """How much was removed; the numbers of chats and of their events, and the parts of the storage.

    What was removed before, in an attempt that was interrupted, is not counted again.
    """

    model_config = ConfigDict(frozen=True)

    chats: int = Field(
        default=0, le=MAX_SAFE_INTEGER, description="Chats of which only the numbers are left."
    )
    messages: int = Field(default=0, le=MAX_SAFE_INTEGER, description="Messages removed from NATS.")
    objects: int = Field(
        default=0, le=MAX_SAFE_INTEGER, description="Files and large values removed from NATS."
    )
    documents: int = Field(
        default=0, le=MAX_SAFE_INTEGER, description="Documents removed from MongoDB."
    )

    def plus(self, more: "ErasedCounts") -> "ErasedCounts":
        return ErasedCounts(
            chats=self.chats + more.chats,
            messages=self.messages + more.messages,
            objects=self.objects + more.objects,
            documents=self.documents + more.documents,
        )


CHAT_HAS_FORKS = "CHAT_HAS_FORKS"
MAX_NAMED_FORKS = 5


def why_not_erased(chat: ChatId, forks: Sequence[ChatId]) -> str | None:
    """Why a chat cannot be erased alone: its forks, of which some are named; None without any."""
    if not forks:
        return None
    named = ", ".join(forks[:MAX_NAMED_FORKS])
    more = ", ..." if len(forks) > MAX_NAMED_FORKS else ""
    return f"{CHAT_HAS_FORKS}: chat_id: {chat} is read by the forks {named}{more}: erase them, too"


NOTHING_ERASED = ErasedCounts()


class Erasure(BaseModel):
    """The erasure of a chat, of all chats of a user, or of all of an app, and how far it is.

    A chat whose events are read by forks is only erased `with_forks`, which are erased, too.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    app_id: AppId
    user_id: UserId | None = None
    chat_id: ChatId | None = None
    with_forks: bool = False
    state: Literal["requested", "done", "failed"] = "requested"
    requested_at: datetime
    ended_at: datetime | None = None
    erased: ErasedCounts = NOTHING_ERASED
    problem: str | None = None

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        if self.user_id is not None and self.chat_id is not None:
            raise ValueError("chat_id, user_id: give one of them, or none for the whole app")
        return self

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return erasure_key(self.app_id, self.user_id, self.chat_id)
