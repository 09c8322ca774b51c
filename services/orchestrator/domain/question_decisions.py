"""Decide how questions are answered, expire and are escalated."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from contracts.approvals import Verdict, verdict_of
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    EscalateQuestion,
    ExpireQuestion,
)
from contracts.events import Event
from contracts.events.human import (
    Approval,
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import (
    VariablesChanged,
)
from contracts.ids import CommandId, QuestionId
from services.orchestrator.domain.chat_failures import QUESTION_EXPIRED, fail
from services.orchestrator.domain.state import (
    ChatState,
)
from services.orchestrator.domain.turn import Question
from services.orchestrator.workflows.spec import AnswerTrigger, Workflow


def answer(command: AnswerQuestion, state: ChatState) -> list[Event]:
    asked = _answerable(command, state)
    if not isinstance(asked, HumanAsked):
        return []
    approval = asked.approval
    if command.digest is not None and (approval is None or approval.digest != command.digest):
        return []
    verdict = None if approval is None else _verdict(command, approval)
    return [
        HumanAnswered(
            question_id=asked.question_id,
            user_id=command.user_id,
            text=_as_offered(command.text, asked),
            role=command.role,
            approved=None if verdict is None else verdict.approved,
            always=verdict is not None and verdict.always,
        )
    ]


def _as_offered(text: str, asked: HumanAsked) -> str:
    """The answer; as the question offers it, where it differs in case and outer spaces alone."""
    if text in asked.options or asked.approval is not None or asked.doubt is not None:
        return text
    word = text.strip().casefold()
    matching = [option for option in asked.options if option.strip().casefold() == word]
    return matching[0] if len(matching) == 1 else text


def answer_ui_tool(
    command: AnswerUiTool, state: ChatState, workflow: Workflow | None
) -> list[Event]:
    question, response = command.question_id, command.response
    if not isinstance(_answerable(command, state), UiToolRequested):
        return []
    return [
        UiToolAnswered(
            question_id=question, user_id=command.user_id, response=response, role=command.role
        ),
        *_triggered_by_answer(question, response, state, workflow),
    ]


def timer_id(name: str, question: QuestionId, time: datetime) -> CommandId:
    """The id of the command that a question's timer sends: each setting of the timer has its own."""
    return CommandId(f"{name}-{question}-{time.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}")


def _was_set_anew(command: ExpireQuestion | EscalateQuestion, time: datetime | None) -> bool:
    """Whether a command is of a timer that was set again, for `time`, before the question was asked.

    So it is where the process that was about to ask died, and the first timer had fired by then. A
    command without a time in its id is of an earlier release, and is taken as it comes.
    """
    name = "expire" if isinstance(command, ExpireQuestion) else "escalate"
    question = command.question_id
    if time is None or not command.command_id.startswith(f"{name}-{question}-"):
        return False
    return command.command_id != timer_id(name, question, time)


def expire(command: ExpireQuestion, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The default answer to a question that expires, or the failure of the chat without one."""
    question = command.question_id
    asked = _open_question(question, state)
    if asked is None or _was_set_anew(command, asked.expires_at):
        return []
    match asked:
        case HumanAsked(default=str(text), approval=approval):
            return [
                HumanAnswered(
                    question_id=question,
                    user_id=state.user,
                    text=text,
                    by_default=True,
                    approved=None if approval is None else False,
                )
            ]
        case UiToolRequested(default=dict(response)):
            return [
                UiToolAnswered(
                    question_id=question, user_id=state.user, response=response, by_default=True
                ),
                *_triggered_by_answer(question, response, state, workflow),
            ]
        case _:
            return [QuestionExpired(question_id=question), *fail(QUESTION_EXPIRED, state)]


def escalate(command: EscalateQuestion, state: ChatState) -> list[Event]:
    """The question's escalation; none if it is not open, has none, or was escalated already."""
    question = command.question_id
    asked = _open_question(question, state)
    if asked is None or asked.escalation is None or state.open_turn is None:
        return []
    if _was_set_anew(command, asked.escalation.at):
        return []
    if question in state.open_turn.escalated:
        return []
    return [QuestionEscalated(question_id=question, to=asked.escalation.to)]


def _answerable(command: AnswerQuestion | AnswerUiTool, state: ChatState) -> Question | None:
    """The question that a command answers, if it is open and its user may answer it."""
    turn = state.open_turn
    asked = _open_question(command.question_id, state)
    if turn is None or asked is None:
        return None
    return asked if turn.admits(asked, state.user, command.user_id, command.role) else None


def _verdict(command: AnswerQuestion, approval: Approval) -> Verdict | None:
    if command.approved is None:
        return verdict_of(command.text, allow_always=approval.allow_always)
    always = command.always and command.approved and approval.allow_always
    return Verdict(command.approved, always)


def _triggered_by_answer(
    question: QuestionId, response: Mapping[str, Any], state: ChatState, workflow: Workflow | None
) -> list[Event]:
    """The change of variables that the user's answer to a UI tool triggers."""
    asked = _open_question(question, state)
    if workflow is None or not isinstance(asked, UiToolRequested):
        return []
    changed = {}
    for trigger in workflow.triggers:
        if isinstance(trigger, AnswerTrigger) and trigger.tool == asked.ui_tool_id:
            value = _value_at(response, trigger.key)
            if value is not None:
                changed[trigger.variable] = value if trigger.value is None else trigger.value
    if not changed:
        return []
    return [VariablesChanged(turn=asked.turn, agent=asked.agent, changed=changed)]


def _value_at(value: Any, path: str) -> Any:
    """The value at a dotted path, None if there is none."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def open_questions(state: ChatState) -> tuple[Question, ...]:
    return state.open_turn.unanswered if state.open_turn else ()


def _open_question(question: QuestionId, state: ChatState) -> Question | None:
    return next((q for q in open_questions(state) if q.question_id == question), None)
