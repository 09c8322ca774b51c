"""Answers to questions: who may answer, and that only the first answer is accepted."""

from dataclasses import dataclass
from typing import Any

from contracts import subjects
from contracts.approvals import Verdict, label_of
from contracts.chat_snapshot import OpenQuestion
from contracts.commands import AnswerQuestion, AnswerUiTool
from contracts.events.human import HumanAnswered, UiToolAnswered
from contracts.ids import ChatKey, CommandId, UserId
from services.chassis.jetstream.event_log import START, Place
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.auth.principal import Identity, Principal
from services.transport.errors import ApiError
from services.transport.protocol.chat_projection import ChatView

Answer = AnswerQuestion | AnswerUiTool

MAX_TRIES = 3
"""Answers to one question that may have no effect within the duplicate window of COMMANDS."""


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """The answer to a question in text. `approved` and `always` decide an approval, else the text does.

    With a `digest` it is an answer only to the arguments that have it.
    """

    text: str = ""
    approved: bool | None = None
    always: bool = False
    digest: str | None = None

    @property
    def stored_text(self) -> str:
        """The text; that of the button with the same meaning where there is only a decision."""
        if self.text or self.approved is None:
            return self.text
        return label_of(Verdict(self.approved, self.always))


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who answers; `role` is the role by which they may, None where the question names them."""

    user: UserId
    role: str | None = None


@dataclass(frozen=True, slots=True)
class OnBehalfOf:
    """The user, and a role of theirs, for whom the back end of an app answers."""

    user: UserId | None = None
    role: str | None = None


NOBODY_ELSE = OnBehalfOf()


def answerer_of(
    question: OpenQuestion, view: ChatView, identity: Identity, other: OnBehalfOf = NOBODY_ELSE
) -> Answerer | None:
    """Who answers where this identity does; None if it may not.

    A back end names the user and the role, and is by default the chat's user; without sign-in a
    request has every role.
    """
    if not identity.can_access_app(view.key.app):
        return None
    is_user = isinstance(identity, Principal) and not identity.has_scope("internal")
    if isinstance(identity, Principal) and is_user:
        user = identity.user
        if other.user not in (None, user):
            return None
        role = identity.role_among(question.roles)
    else:
        if other.role is not None and other.user is None and isinstance(identity, Principal):
            return None  # it vouches for the role of a user, whom it must name
        user = other.user or view.user
        role = other.role
        if role is None and not isinstance(identity, Principal):
            role = identity.role_among(question.roles)
    if question.names(user, view.user):
        return Answerer(user)
    return Answerer(user, role) if question.admits(user, role, view.user) else None


def not_open(field: str) -> ApiError:
    return ApiError("QUESTION_NOT_OPEN", field, "no such question is open")


def not_answered_by(question: OpenQuestion, field: str) -> ApiError:
    """The error for somebody who sees a question and may not answer it."""
    asked = [f"user {name}" for name in question.users]
    asked += [f"users with the role {role}" for role in question.roles]
    asked += ["the chat's user"] if question.asks_owner else []
    return ApiError("NOT_YOURS", field, f"this question is for {', '.join(asked)}")


async def send_answer(
    gateway: JetStreamGateway, command: Answer, asked_at: Place, field: str, since_rewind: str = ""
) -> None:
    """Send an answer to a question that was open at `asked_at`, a place in the log of its chat.

    Raises ApiError where another answer came first, however close, and NatsUnavailableError. An
    answer that is sent again under the same command id is the same answer. After a rewind, a question
    that is open again has other answers.
    """
    for waiting in await gateway.commands.waiting(command.key, command.name):
        if _is_other(waiting, command):
            raise not_open(field)
    for number in range(1, MAX_TRIES + 1):
        message_id = f"answer-{_question_name(command)}-{number}{since_rewind}"
        first = await gateway.commands.send_once(command, message_id)
        if first is None:
            first = await recorded_answer(gateway, command.key, command.question_id, asked_at)
        if first == command.command_id:
            return
        if first is not None:
            break
        # The first one is handled and had no effect: the question is still open.
    raise not_open(field)


def _question_name(command: Answer) -> str:
    """The question among those of all chats: a fork has open questions of its origin."""
    if subjects.chat_of_question(command.question_id) == command.key:
        return command.question_id
    return f"{subjects.chat_tokens(command.key)}-{command.question_id}"


def _is_other(waiting: Any, command: Answer) -> bool:
    same_question = (
        isinstance(waiting, AnswerQuestion | AnswerUiTool)
        and waiting.question_id == command.question_id
    )
    return same_question and waiting.command_id != command.command_id


async def recorded_answer(
    gateway: JetStreamGateway, key: ChatKey, question: str, after: Place = START
) -> CommandId | None:
    """The id of the command whose answer to a question is in the log of its chat after a place."""
    goal = await gateway.events.last_position(key)
    async for commit in gateway.events.read_to(key, goal, after=after):
        for fact in commit.facts:
            if (
                isinstance(fact.event, HumanAnswered | UiToolAnswered)
                and fact.event.question_id == question
            ):
                return CommandId(fact.envelope.cause)
    return None


async def was_applied(gateway: JetStreamGateway, key: ChatKey, command: CommandId | None) -> bool:
    """Whether the log of a chat has an event that a command has caused; it is read to its end."""
    if command is None:
        return False
    goal = await gateway.events.last_position(key)
    async for commit in gateway.events.read_to(key, goal, after=START):
        if any(one.envelope.cause == command for one in commit.events):
            return True
    return False


def chat_of(question: str, field: str) -> ChatKey:
    """The chat of a question's id. Raises ApiError."""
    try:
        return subjects.chat_of_question(question)
    except subjects.InvalidSubjectError as error:
        raise not_open(field) from error
