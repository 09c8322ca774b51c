"""Events by which a user keeps their chats in order: title, archive, deletion. None of them ends a chat."""

from typing import ClassVar

from pydantic import Field

from contracts.chat_list import MAX_GRACE_SECONDS
from contracts.events.body import EventBody
from contracts.ids import UserId


class ChatRenamed(EventBody):
    """The user gave the chat a title, which the words of later messages do not replace."""

    type: ClassVar[str] = "chat.renamed"
    user_id: UserId
    title: str


class ChatArchived(EventBody):
    """The user's lists of chats leave the chat out, unless they are asked for archived chats."""

    type: ClassVar[str] = "chat.archived"
    user_id: UserId


class ChatUnarchived(EventBody):
    """The user's lists of chats have the chat again."""

    type: ClassVar[str] = "chat.unarchived"
    user_id: UserId


class ChatDeleted(EventBody):
    """The chat is hidden and takes no commands but one: to be undeleted.

    Its events may be erased `grace_seconds` after the time of this event, not earlier.
    """

    type: ClassVar[str] = "chat.deleted"
    user_id: UserId
    grace_seconds: int = Field(ge=0, le=MAX_GRACE_SECONDS)


class ChatUndeleted(EventBody):
    """The chat is there again, as it was when it was deleted; only the answer that ran was stopped."""

    type: ClassVar[str] = "chat.undeleted"
    user_id: UserId
