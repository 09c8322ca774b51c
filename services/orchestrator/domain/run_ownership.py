"""Decide which delivery of a command runs a chat, and when a command is given up."""

from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    AttachFile,
    Command,
    EscalateQuestion,
    ExpireQuestion,
    ForkChat,
    ResumeChat,
    StartChat,
)
from contracts.events import Event
from contracts.events.chat import (
    ChatFailed,
    CommandGivenUp,
)
from contracts.events.run import RunClaimed
from contracts.ids import DeliveryId, QuestionId, delivery_of
from contracts.subjects import turn_of_question
from services.orchestrator.domain.chat_failures import GIVEN_UP, fail_without_tools
from services.orchestrator.domain.decisions import start_chat
from services.orchestrator.domain.question_decisions import open_questions
from services.orchestrator.domain.state import (
    ChatState,
)


class FencedError(Exception):
    """A later delivery of the same command runs this chat: this delivery must stop."""


def claim(state: ChatState, delivery: DeliveryId) -> list[Event]:
    """The event by which a delivery takes over what an earlier delivery of its message started.

    None if the chat is quiet or another message owns it. Raises FencedError if a later delivery
    has claimed the chat.
    """
    if state.owner is None or state.owner.message != delivery.message:
        return []
    if is_fenced(state, delivery):
        raise FencedError(f"{state.runner} runs this chat")
    return [RunClaimed(runner=delivery.runner, attempt=delivery.attempt, previous=state.runner)]


def resume(command: ResumeChat, state: ChatState, delivery: DeliveryId) -> list[Event]:
    """The event by which the audit's command takes over a chat whose owner's message is gone.

    None if the chat has another owner than the audit found.
    """
    if state.owner is None or state.owner.message != command.owner:
        return []
    return [RunClaimed(runner=delivery.runner, attempt=delivery.attempt, previous=state.runner)]


def is_fenced(state: ChatState, delivery: DeliveryId) -> bool:
    """Whether a later delivery of the same message has appended since."""
    latest = None if state.runner is None else delivery_of(state.runner)
    return (
        latest is not None
        and latest.message == delivery.message
        and latest.attempt > delivery.attempt
    )


def is_owner(command: Command, state: ChatState, delivery: DeliveryId) -> bool:
    """Whether a command's message runs the chat, or is to take it over from one that is gone."""
    owner = state.owner
    return owner is not None and (
        owner.message == delivery.message
        or (isinstance(command, ResumeChat) and owner.message == command.owner)
    )


def give_up(command: Command, state: ChatState, delivery: DeliveryId) -> list[Event]:
    """The events that record that a command is not retried any more, before its message is removed.

    If the command owns the chat, the chat fails and its lifecycle tools are skipped. A StartChat
    that was never applied starts a chat that has failed. For any other command that was not
    applied, CommandGivenUp prevents that an earlier delivery, still running, applies it later.
    """
    if is_owner(command, state, delivery):
        return fail_without_tools(GIVEN_UP, state)
    match command:
        case StartChat() if not state.started:
            return [
                *start_chat(command, None),
                ChatFailed(code=GIVEN_UP.code, message=GIVEN_UP.message),
            ]
        case StartChat() | ResumeChat() | ExpireQuestion() | EscalateQuestion():
            return []
        case ForkChat() if not state.started:
            return []
        case _ if state.has_ended or _is_applied(command, state):
            return []
        case _:
            return [CommandGivenUp(user_id=command.user_id, command=command.name)]


def reason_to_retry(command: Command, state: ChatState) -> str | None:
    """Why a command that has no effect now must be retried; None if it never can have one.

    A command is only dropped for a reason that stays true: the log may have been read from a
    replica that is behind.
    """
    match command:
        case StartChat() | ForkChat() | ResumeChat():
            return None
        case ExpireQuestion(question_id=question) | EscalateQuestion(question_id=question):
            if question in state.asked_questions or not _may_be_asked(question, state):
                return None
            return f"question {question} has not been asked, and its time is over already"
        case AnswerQuestion(question_id=question) | AnswerUiTool(question_id=question):
            if state.ended or question in state.asked_questions:
                return None
            return f"question {question} has not been asked"
        case _:
            return None if state.started else "the chat has not started"


def _may_be_asked(question: QuestionId, state: ChatState) -> bool:
    """Whether the turn that sets a question's timers, before it asks it, is open or yet to come."""
    if state.ended or state.is_deleted or state.is_erased:
        return False
    turn, newest = turn_of_question(question), state.turn_number
    return turn > newest or (turn == newest and state.open_turn is not None)


def _is_applied(command: Command, state: ChatState) -> bool:
    match command:
        case AnswerQuestion(question_id=question) | AnswerUiTool(question_id=question):
            return question in state.asked_questions and not any(
                one.question_id == question for one in open_questions(state)
            )
        case AttachFile(attachment_id=attachment):
            return any(one.attachment_id == attachment for one in state.attachments)
        case _:
            return command.command_id in state.applied_commands
