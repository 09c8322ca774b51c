"""What a run wants of a chat that is not done yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.events.human import HumanAsked, UiToolRequested
from contracts.ids import QuestionId
from services.transport.agui.asking import Answer, Asked, Words
from services.transport.agui.standing import Past
from services.transport.refusals import RefusalError, malformed

ABANDONED_WORDS = ""
"""What a question in words is answered with where the person has left it."""
ABANDONED_COMPONENT = {"status": "cancelled"}


@dataclass(frozen=True, slots=True)
class Say:
    words: Words


@dataclass(frozen=True, slots=True)
class AnswerWords:
    """`words` is the message that the answer came as, if it did."""

    question: QuestionId
    text: str
    words: Words | None = None


@dataclass(frozen=True, slots=True)
class AnswerComponent:
    question: QuestionId
    response: dict[str, Any]


Deed = Say | AnswerWords | AnswerComponent


def deeds(asked: Asked, past: Past) -> list[Deed]:
    """In order; none for what was done already: the first time stands. Raises RefusalError."""
    undone = [one for one in asked.answers if one.question not in past.done]
    answers = [_answer(one, past) for one in undone]
    words = asked.words
    if words is None or words.id in past.done:
        return answers
    return [*answers, _said(words, past, answers)]


def refuse_what_is_not_new(asked: Asked) -> None:
    """A thread that is to begin has asked nothing yet, and told nothing. Raises RefusalError."""
    if asked.answers:
        raise RefusalError("QUESTION_NOT_OPEN", asked.answers[0].field, "no such question is open")
    if asked.after:
        raise RefusalError("CHAT_NOT_FOUND", "threadId", "there is no such thread to go on with")


def awaited(wanted: Sequence[Deed]) -> frozenset[str]:
    """By what it will be known that they came to pass."""
    return frozenset(one.words.id if isinstance(one, Say) else one.question for one in wanted)


def _said(words: Words, past: Past, answers: Sequence[Deed]) -> Deed:
    """A message; it is the answer to a question in words where one is still open."""
    answered = awaited(answers)
    for name, question in past.now.questions.items():
        if isinstance(question, HumanAsked) and name not in answered:
            return AnswerWords(name, words.text, words)
    return Say(words)


def _answer(answer: Answer, past: Past) -> Deed:
    name = QuestionId(answer.question)
    match past.now.questions.get(name):
        case HumanAsked():
            return AnswerWords(name, _text(answer))
        case UiToolRequested():
            return AnswerComponent(name, _response(answer))
        case None:
            raise RefusalError("QUESTION_NOT_OPEN", answer.field, "no such question is open")


def _text(answer: Answer) -> str:
    if answer.abandoned:
        return ABANDONED_WORDS
    if not isinstance(answer.payload, str) or not answer.payload.strip():
        raise malformed(f"{answer.field}.payload", "must be text")
    return answer.payload


def _response(answer: Answer) -> dict[str, Any]:
    if answer.abandoned:
        return dict(ABANDONED_COMPONENT)
    return answer.payload if isinstance(answer.payload, dict) else {"value": answer.payload}
