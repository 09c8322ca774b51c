"""The metrics at one position of the log: of bounded size, each event counted once, saved as one value."""

import zlib
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ValidationError

from contracts import event_log
from contracts.envelope import Envelope
from contracts.event_log import EMPTY, Decision, Head, RejectedMessageError
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq, WorkflowName
from contracts.prices import Prices
from contracts.subjects import InvalidSubjectError, parse
from services.metrics.observations import NO_COUNTS, ChatMetrics, Counts, WorkflowMetrics, observe

CHATS = 1000
"""Chats that have a snapshot of their own; all others are in the totals only."""
LABEL_SETS = 500
"""Pairs of app and workflow that have totals of their own; later ones share one more."""
SAVED_BYTES = 900_000
"""Below what one NATS message may hold."""

Label = tuple[AppId, WorkflowName]
OTHER: Label = (AppId("other"), WorkflowName("other"))


class LogMessage(Protocol):
    """A message of stream EVENTS."""

    @property
    def position(self) -> StreamSeq: ...

    @property
    def subject(self) -> str: ...

    @property
    def data(self) -> bytes: ...


class UnreadableStateError(ValueError):
    """A saved value that this release cannot go on from."""


class PerformanceSnapshot(BaseModel):
    """One chat's numbers as the pages show them."""

    chat_id: ChatId
    app_id: AppId
    workflow_name: WorkflowName
    user_id: str | None
    started_at: datetime
    ended_at: datetime | None
    runtime_sec: float
    agent_turns: int
    tool_calls: int
    errors: int
    last_turn_duration_sec: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float


class Aggregate(BaseModel):
    """The numbers of all chats that ever were, and the snapshots of the tracked ones."""

    active_chats: int
    tracked_chats: int
    total_agent_turns: int
    total_tool_calls: int
    total_errors: int
    total_prompt_tokens: int
    total_completion_tokens: int
    total_cost: float
    chats: list[PerformanceSnapshot]


class _Row(BaseModel):
    app_id: AppId
    workflow_name: WorkflowName
    totals: WorkflowMetrics


class _Saved(BaseModel):
    form: int = 2
    position: StreamSeq
    rejected: int
    has_evicted: bool
    rows: list[_Row]
    chats: list[ChatMetrics]


class MetricsState:
    """Counts each event once: by its place in the stream, and by its place in its chat."""

    def __init__(self, prices: Prices, *, chats: int = CHATS, label_sets: int = LABEL_SETS) -> None:
        self.position = StreamSeq(0)
        self.rejected = 0
        """Messages of the log that are no event of the chat in whose subjects they lie."""
        self.totals: dict[Label, WorkflowMetrics] = {}
        self._chats: dict[ChatKey, ChatMetrics] = {}  # in order of their last change
        self._has_evicted = False
        self._prices = prices
        self._most_chats = chats
        self._most_labels = label_sets

    def evicted_chat(self, subject: str) -> ChatKey | None:
        """The chat of a message if it may have been evicted: `record` then needs its head; else None."""
        if not self._has_evicted:
            return None
        try:
            key = parse(subject).key
        except InvalidSubjectError:
            return None
        return None if key in self._chats else key

    def record(self, message: LogMessage, head: Head = EMPTY) -> str | None:
        """Counts a message; one at or before the state's position changes nothing.

        Returns why the message is rejected, because it is not an event of its chat, else None. `head`
        is where its chat's log ended before it; it is needed only for an evicted chat.
        """
        if message.position <= self.position:
            return None
        self.position = message.position
        try:
            decision = event_log.read(message.subject, message.data)
        except RejectedMessageError as rejected:
            self.rejected += 1
            return str(rejected)
        chat = self._chats.get(decision.key)
        known = head if chat is None else chat.head
        if not decision.follows(known):
            self.rejected += 1
            return event_log.why_it_does_not_follow(decision, known)
        self._count(decision, chat or ChatMetrics.before(decision.first))
        return None

    def _count(self, decision: Decision, chat: ChatMetrics) -> None:
        chat, counts, turns_seconds = observe(chat, decision.events, self._prices)
        label = self._label(decision.first)
        before = self.totals.get(label)
        if before is None or counts is not NO_COUNTS or turns_seconds:
            self.totals[label] = (before or WorkflowMetrics()).plus(counts, turns_seconds)
        self._chats.pop(decision.key, None)
        self._chats[decision.key] = chat
        if len(self._chats) > self._most_chats:
            self._evict()

    def _label(self, envelope: Envelope) -> Label:
        label = (envelope.app_id, envelope.workflow_name)
        known = label in self.totals or len(self.totals) < self._most_labels
        return label if known else OTHER

    def _evict(self) -> None:
        ended = (key for key, chat in self._chats.items() if chat.ended_at is not None)
        del self._chats[next(ended, next(iter(self._chats)))]
        self._has_evicted = True

    @property
    def active_chats(self) -> int:
        whole = self._sum(None)
        return whole.started - whole.ended

    @property
    def tracked_chats(self) -> int:
        return len(self._chats)

    def chats(self) -> list[ChatMetrics]:
        return list(self._chats.values())

    def snapshots(self, now: datetime, app: AppId | None = None) -> list[PerformanceSnapshot]:
        """The tracked chats, of one app or of all, the one that changed last first."""
        return [
            performance_of(c, now)
            for c in reversed(self._chats.values())
            if app in (None, c.app_id)
        ]

    def named(self, chat: ChatId, app: AppId | None = None) -> list[ChatMetrics]:
        """The tracked chats of that name: at most one per app."""
        return [c for c in self._chats.values() if c.chat_id == chat and app in (None, c.app_id)]

    def aggregate(self, now: datetime, app: AppId | None = None) -> Aggregate:
        whole = self._sum(app)
        chats = self.snapshots(now, app)
        return Aggregate(
            active_chats=whole.started - whole.ended,
            tracked_chats=len(chats),
            total_agent_turns=whole.totals.agent_turns,
            total_tool_calls=whole.totals.tool_calls,
            total_errors=whole.totals.errors,
            total_prompt_tokens=whole.totals.prompt_tokens,
            total_completion_tokens=whole.totals.completion_tokens,
            total_cost=whole.totals.cost,
            chats=chats,
        )

    def _sum(self, app: AppId | None) -> Counts:
        whole = Counts()
        for (owner, _), totals in self.totals.items():
            if app in (None, owner):
                whole = whole.plus(totals.counts)
        return whole

    def clear(self) -> None:
        """Begin with the first message of another log."""
        self.position, self.rejected = StreamSeq(0), 0
        self.totals = {}
        self._chats = {}
        self._has_evicted = False

    def save(self) -> bytes:
        """Numbers and position together, in one value that a bucket takes."""
        keep = list(self._chats.values())
        while True:
            value = zlib.compress(self._saved(keep), level=1)
            if len(value) <= SAVED_BYTES or not keep:
                return value
            keep = keep[len(keep) // 2 + 1 :]  # the totals have the rest

    def _saved(self, chats: list[ChatMetrics]) -> bytes:
        rows = [_Row(app_id=a, workflow_name=w, totals=t) for (a, w), t in self.totals.items()]
        saved = _Saved(
            position=self.position,
            rejected=self.rejected,
            has_evicted=self._has_evicted or len(chats) < len(self._chats),
            rows=rows,
            chats=chats,
        )
        # What users write is left out: titles serve no metric.
        return saved.model_dump_json(exclude={"chats": {"__all__": {"title"}}}).encode()

    def load(self, value: bytes, *, newest: StreamSeq) -> None:
        """Continue from a saved value. Raises UnreadableStateError, also if the log ends before it."""
        try:
            saved = _Saved.model_validate_json(zlib.decompress(value))
        except (zlib.error, ValidationError) as broken:
            raise UnreadableStateError(
                f"not a saved metrics state: {type(broken).__name__}"
            ) from broken
        if saved.form != 2:
            raise UnreadableStateError(
                f"saved metrics state has form {saved.form}, this release reads form 2"
            )
        if saved.position > newest:
            raise UnreadableStateError(f"saved at {saved.position} of a log that ends at {newest}")
        self.position, self.rejected = saved.position, saved.rejected
        self.totals = {(row.app_id, row.workflow_name): row.totals for row in saved.rows}
        self._chats = {ChatKey(chat.app_id, chat.chat_id): chat for chat in saved.chats}
        self._has_evicted = saved.has_evicted


def performance_of(chat: ChatMetrics, now: datetime) -> PerformanceSnapshot:
    return PerformanceSnapshot(
        chat_id=chat.chat_id,
        app_id=chat.app_id,
        workflow_name=chat.workflow_name,
        user_id=chat.user_id,
        started_at=chat.created_at,
        ended_at=chat.ended_at,
        runtime_sec=max(0.0, ((chat.ended_at or now) - chat.created_at).total_seconds()),
        agent_turns=chat.totals.agent_turns,
        tool_calls=chat.totals.tool_calls,
        errors=chat.totals.errors,
        last_turn_duration_sec=chat.last_turn_duration_sec,
        prompt_tokens=chat.totals.prompt_tokens,
        completion_tokens=chat.totals.completion_tokens,
        cost=chat.totals.cost,
    )
