"""What a chat waits for from its user, read off its frames: messages, answers, values of components."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.wire.frames import (
    AudienceData,
    ChatEndedData,
    ComponentCompletedData,
    ComponentDismissedData,
    ComponentRequestedData,
    QuestionAnsweredData,
    QuestionData,
    QuestionEscalatedData,
    QuestionExpiredData,
    SpeakerData,
    TextData,
)
from mozaiks_client.frames import Frame

USER = "user"
COMPLETED = 1


@dataclass(frozen=True, slots=True)
class Message:
    """It is the user's turn."""


@dataclass(frozen=True, slots=True)
class Question:
    """A tool asks; `options` are suggested answers."""

    id: str
    prompt: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Component:
    """A UI tool asks for values; `payload` is what its component would show."""

    id: str
    name: str
    payload: Mapping[str, Any]


Ask = Message | Question | Component


@dataclass(frozen=True, slots=True)
class Ended:
    """The chat has ended; `status` is 1 completed, 2 failed, 3 cancelled."""

    status: int
    reason: str


def input_of(frame: Frame) -> str | None:
    """What the user wrote, where the frame is of a message or of an answer."""
    match frame.data:
        case TextData(role="user", content=text) | QuestionAnsweredData(text=str(text)):
            return text
        case _:
            return None


def asked_of(frame: Frame) -> str:
    """Who is asked, in words that follow a question; empty where it is the chat's user."""
    match frame.data:
        case QuestionData(audience=AudienceData() as audience) | QuestionEscalatedData(to=audience):
            return f" (of {', '.join([*audience.users, *audience.roles])})"
        case _:
            return ""


class OpenAsks:
    """What is open for one user, oldest first: several tools of one turn may ask at the same time."""

    def __init__(self, user: str) -> None:
        self._user = user
        self._of_others: dict[str, Question] = {}
        self._questions: dict[str, Question | Component] = {}
        self._answered: set[str] = set()
        self._is_users_turn = False
        self.ended: Ended | None = None

    def take(self, frame: Frame) -> None:
        match frame.data:
            case QuestionData(request_id=one, prompt=prompt, options=options) as asked:
                is_mine = asked.audience is None or self._user in asked.audience.users
                questions = self._questions if is_mine else self._of_others
                questions[one] = Question(one, prompt, tuple(options))
            case QuestionEscalatedData(request_id=one, to=to) if self._user in to.users:
                if (question := self._of_others.pop(one, None)) is not None:
                    self._questions[one] = question
            case ComponentRequestedData(event_id=one, component_type=name, payload=payload):
                self._questions[one] = Component(one, name, payload)
            case (
                QuestionAnsweredData(request_id=str(one))
                | QuestionExpiredData(request_id=one)
                | ComponentCompletedData(eventId=one)
                | ComponentDismissedData(event_id=one)
            ):
                self._questions.pop(one, None)
                self._of_others.pop(one, None)
            case SpeakerData(selected_speaker=speaker):
                self._is_users_turn = speaker == USER
            case TextData(role="user"):
                self._is_users_turn = False
            case ChatEndedData(status=status, reason=reason):
                self.ended = Ended(status, reason)
            case _:
                return

    def next(self) -> Ask | None:
        """The oldest question that was not answered here, else the user's turn; none: nothing."""
        for question in self._questions.values():
            if question.id not in self._answered:
                return question
        return Message() if self._is_users_turn else None

    def answered(self, ask: Ask) -> None:
        """It is not asked again, although no frame confirms the answer yet."""
        if isinstance(ask, Message):
            self._is_users_turn = False
        else:
            self._answered.add(ask.id)
