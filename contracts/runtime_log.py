"""The runtime log: one record for each model call, derived from the events of chats."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from contracts import subjects
from contracts.chat_snapshot import to_milliseconds
from contracts.envelope import Envelope, Instant
from contracts.events import Event
from contracts.events.parts import Tokens
from contracts.events.turn import UsageRecorded
from contracts.ids import AgentName, AppId, ChatId, ChatKey, WorkflowName
from contracts.lookup_base import TIMED_CURSOR_PATTERN, LookupAnswer, LookupRequest
from contracts.wire.json_values import ShownInteger, ShownSeq

MAX_MODEL_CALLS = 200
"""Records in one answer."""


class ModelCall(BaseModel):
    """A model call that is over; `seq` is the event of the chat that says so.

    Times are to the millisecond, durations in seconds. `time_to_first_chunk` is that of the last attempt, none where the answer
    came as a whole. `cost` is in US dollars, none for a model without a price; a `cached` answer was
    recorded earlier. `request_digest` is the SHA-256 of the prompt and the conversation; none in chats
    of an earlier release, as is `time_to_first_chunk`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    app_id: AppId
    chat_id: ChatId
    workflow_name: WorkflowName
    seq: ShownSeq
    turn: ShownInteger
    call: ShownInteger
    agent: AgentName
    provider: str | None = None
    model: str | None = None
    started_at: Instant
    ended_at: Instant
    duration: float
    time_to_first_chunk: float | None = None
    tokens: Tokens = Tokens()
    cost: float | None = None
    cached: bool = False
    request_digest: str | None = None

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)


def model_call_of(envelope: Envelope, event: Event | None) -> ModelCall | None:
    """The record that an event is; None where it is none."""
    if not isinstance(event, UsageRecorded):
        return None
    started = envelope.time - timedelta(seconds=max(0.0, event.duration))
    return ModelCall(
        app_id=envelope.app_id,
        chat_id=envelope.chat_id,
        workflow_name=envelope.workflow_name,
        seq=envelope.seq,
        turn=event.turn,
        call=event.call,
        agent=event.agent,
        provider=event.provider,
        model=event.model,
        started_at=to_milliseconds(started),
        ended_at=to_milliseconds(envelope.time),
        duration=event.duration,
        time_to_first_chunk=event.time_to_first_chunk,
        tokens=event.tokens,
        cost=event.cost,
        cached=event.cached,
        request_digest=event.request_digest,
    )


class ModelCallsRequested(LookupRequest):
    """A page of the model calls of an app, or of one chat, that ended from `since` on and before `until`."""

    app_id: AppId
    chat_id: ChatId | None = None
    since: Instant
    until: Instant
    cursor: str | None = Field(default=None, pattern=TIMED_CURSOR_PATTERN)
    limit: int = Field(default=50, ge=1, le=MAX_MODEL_CALLS)

    @property
    def subject(self) -> str:
        return subjects.model_calls_query(self.app_id, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class ModelCallsFound(LookupAnswer):
    """Model calls in the order in which they ended; `next` is the cursor of the next page."""

    calls: list[ModelCall] = []
    next: str | None = None
