"""The inbox: which users and roles the open questions of a chat wait for. Pure."""

from collections.abc import Iterable
from datetime import datetime

from contracts.chat_snapshot import ChatSnapshot, OpenQuestion
from contracts.ids import UserId


def of_user(user: str) -> str:
    """A user as a recipient of questions."""
    return f"user:{user}"


def of_role(role: str) -> str:
    """Everybody with a role as a recipient of questions."""
    return f"role:{role}"


def recipients_of(question: OpenQuestion, owner: UserId | None) -> tuple[str, ...]:
    """Who may answer a question of the chat of `owner`, in order and once each."""
    owners = (owner,) if question.asks_owner and owner is not None else ()
    users = (of_user(user) for user in (*owners, *question.users))
    return tuple(dict.fromkeys((*users, *(of_role(role) for role in question.roles))))


def recipients(chat: ChatSnapshot) -> tuple[str, ...]:
    """Who may answer any of the open questions of a chat."""
    all_of_them = (
        one for question in chat.open_questions for one in recipients_of(question, chat.user_id)
    )
    return tuple(dict.fromkeys(all_of_them))


def waiting_since(chat: ChatSnapshot) -> datetime | None:
    """When the oldest open question of a chat was asked; None if there is none."""
    asked = (one.asked_at or chat.created_at for one in chat.open_questions)
    return min(asked, default=None)


def waiting_for(chat: ChatSnapshot, who: Iterable[str] | None) -> tuple[OpenQuestion, ...]:
    """The open questions that one of these recipients may answer; all of them where it is None."""
    if who is None:
        return chat.open_questions
    wanted = frozenset(who)
    return tuple(
        one
        for one in chat.open_questions
        if not wanted.isdisjoint(recipients_of(one, chat.user_id))
    )
