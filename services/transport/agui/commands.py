"""The commands of a run: the messages and answers that the chat does not have yet. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.events.human import HumanAsked, UiToolRequested
from contracts.ids import QuestionId
from services.transport.agui.run_input import InterruptAnswer, RunInput, UserMessage
from services.transport.agui.state import ThreadHistory
from services.transport.chats.answers import TextAnswer
from services.transport.errors import ApiError, bad_request

CANCELLED_TEXT = ""
"""The answer to a text question whose interrupt the user cancelled."""
CANCELLED_COMPONENT = {"status": "cancelled"}


@dataclass(frozen=True, slots=True)
class SendText:
    message: UserMessage


@dataclass(frozen=True, slots=True)
class AnswerText:
    """`message` is set where the answer was sent as a message."""

    question: QuestionId
    answer: TextAnswer
    message: UserMessage | None = None


@dataclass(frozen=True, slots=True)
class AnswerComponent:
    question: QuestionId
    response: dict[str, Any]


RunCommand = SendText | AnswerText | AnswerComponent


def commands_for(run_input: RunInput, history: ThreadHistory) -> list[RunCommand]:
    """In order, without what is done already, so that a run sent twice has one effect. Raises ApiError."""
    pending = [answer for answer in run_input.answers if answer.question not in history.done]
    answers = [_answer_command(answer, history) for answer in pending]
    message = run_input.message
    if message is None or message.id in history.done:
        return answers
    return [*answers, _message_command(message, history, answers)]


def require_new_thread(run_input: RunInput) -> None:
    """Raises ApiError where the run answers interrupts or has a cursor: a new thread has neither."""
    if run_input.answers:
        raise ApiError("QUESTION_NOT_OPEN", run_input.answers[0].field, "no such question is open")
    if run_input.after:
        raise ApiError("CHAT_NOT_FOUND", "threadId", "no such thread to resume")


def completion_ids(commands: Sequence[RunCommand]) -> frozenset[str]:
    """The ids of messages and questions whose events show that the commands are done."""
    return frozenset(
        command.message.id if isinstance(command, SendText) else command.question
        for command in commands
    )


def _message_command(
    message: UserMessage, history: ThreadHistory, answers: Sequence[RunCommand]
) -> RunCommand:
    """A message is the answer to an open text question, if there is one that is not answered yet."""
    answered = completion_ids(answers)
    for question_id, question in history.now.questions.items():
        asks_user = isinstance(question, HumanAsked) and question.audience is None
        if asks_user and question_id not in answered:
            return AnswerText(question_id, TextAnswer(message.text), message)
    return SendText(message)


def _answer_command(answer: InterruptAnswer, history: ThreadHistory) -> RunCommand:
    question_id = QuestionId(answer.question)
    match history.now.questions.get(question_id):
        case HumanAsked(approval=None):
            return AnswerText(question_id, TextAnswer(_text(answer)))
        case HumanAsked():
            return AnswerText(question_id, _decision(answer))
        case UiToolRequested():
            return AnswerComponent(question_id, _component_response(answer))
        case None:
            raise ApiError("QUESTION_NOT_OPEN", answer.field, "no such question is open")


def _text(answer: InterruptAnswer) -> str:
    if answer.cancelled:
        return CANCELLED_TEXT
    if not isinstance(answer.payload, str) or not answer.payload.strip():
        raise bad_request(f"{answer.field}.payload", "must be text")
    return answer.payload


def _decision(answer: InterruptAnswer) -> TextAnswer:
    """The answer to an approval: a text, true or false, or an object with `approved`."""
    match answer.payload:
        case _ if answer.cancelled:
            return TextAnswer(CANCELLED_TEXT, approved=False)
        case bool(approved):
            return TextAnswer(approved=approved)
        case {"approved": bool(approved)} as decision:
            text, always = decision.get("text", ""), decision.get("always", False)
            if not isinstance(text, str) or not isinstance(always, bool):
                raise bad_request(
                    f"{answer.field}.payload", "text must be text, always true or false"
                )
            return TextAnswer(text, approved, always)
        case _:
            return TextAnswer(_text(answer))


def _component_response(answer: InterruptAnswer) -> dict[str, Any]:
    if answer.cancelled:
        return dict(CANCELLED_COMPONENT)
    return answer.payload if isinstance(answer.payload, dict) else {"value": answer.payload}
