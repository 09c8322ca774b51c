"""What all lookups have in common: a request, whose id the answer repeats."""

from abc import abstractmethod
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMED_CURSOR_PATTERN = r"^[0-9]{1,14}\.[A-Za-z0-9_=-]{1,400}\.[A-Za-z0-9_=-]{1,400}\.[0-9]{1,10}$"
"""A time in milliseconds, the tokens of a chat, and the position of an event."""


class LookupRequest(BaseModel):
    """A request in stream LOOKUPS; its answer is published to `answer_subject`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str

    @property
    @abstractmethod
    def subject(self) -> str: ...

    @property
    @abstractmethod
    def answer_subject(self) -> str: ...


class LookupAnswer(BaseModel):
    """An answer; `problem` says why there is none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: str
    problem: str | None = None
