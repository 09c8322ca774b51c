"""The metrics at one position of the log: of bounded size, each event counted once, saved as one value."""

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, get_args

from pydantic import BaseModel, ValidationError

from contracts import event_log
from contracts.catalogue import ChatStatus
from contracts.chat_snapshot import NO_TOTALS, ChatTotals
from contracts.envelope import Envelope
from contracts.event_log import EMPTY, Decision, RejectedMessageError, StoredEvent
from contracts.event_streams import ONE_STREAM, EventStreams, Origin
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq, WorkflowName
from contracts.prices import Prices
from contracts.subjects import EVENTS, InvalidSubjectError, parse
from services.metrics.observations import ChatMetrics, Label, WorkflowMetrics, observe
from services.metrics.samples import FAMILIES
from services.metrics.series import MOST_SERIES, SeriesTable
from services.metrics.tracked_chats import CHATS, RUNNING, RunningChat, TrackedChats

LABEL_SETS = 500
"""Pairs of app and workflow that have totals of their own; later ones share one more."""
SAVED_BYTES = 900_000
"""Below what one NATS message may hold."""

OTHER: Label = (AppId("other"), WorkflowName("other"))


class LogMessage(Protocol):
    """A message of a stream of events."""

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
    status: ChatStatus
    last_event_at: datetime
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


class TenantUse(BaseModel):
    """The numbers of all chats that an app ever had; `other` are those of apps that came late."""

    app_id: AppId
    chats: dict[ChatStatus, int]
    agent_turns: int
    tool_calls: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class StalledChat(BaseModel):
    """A chat that waits for the runtime, and for how many seconds nothing has come of it."""

    chat_id: ChatId
    app_id: AppId
    workflow_name: WorkflowName
    silent_sec: float


class _Row(BaseModel):
    app_id: AppId
    workflow_name: WorkflowName
    totals: WorkflowMetrics
    states: dict[ChatStatus, int]


class _Saved(BaseModel):
    """`position` is that in stream EVENTS, `positions` are those in the others of events.

    `texts` has each label value once; series and running chats name them by their place."""

    form: Literal[3] = 3
    position: StreamSeq
    positions: dict[str, StreamSeq] = {}
    rejected: int
    has_evicted: bool
    rows: list[_Row]
    texts: list[str]
    series: list[tuple[str, list[int], list[float]]]
    running: list[tuple[int, int, int, ChatId, datetime]]
    chats: list[ChatMetrics]


class MetricsState:
    """Counts each event once: by its place in the stream, and by its place in its chat.

    The same log up to the same position makes the same state, in whichever process.
    """

    def __init__(
        self,
        prices: Prices,
        *,
        chats: int = CHATS,
        running: int = RUNNING,
        label_sets: int = LABEL_SETS,
        series: int = MOST_SERIES,
    ) -> None:
        self.positions: dict[str, StreamSeq] = {EVENTS: StreamSeq(0)}
        """Of each stream of events the position up to which it is counted."""
        self.rejected = 0
        """Messages of the log that are no event of the chat in whose subjects they lie."""
        self.totals: dict[Label, WorkflowMetrics] = {}
        self.states: dict[Label, Counter[ChatStatus]] = {}
        """How many chats there are in each state."""
        self.series = SeriesTable(FAMILIES, series)
        self.chats = TrackedChats(chats, running)
        self._streams = ONE_STREAM
        self._prices = prices
        self._most_labels = label_sets

    def evicted_chat(self, subject: str) -> ChatKey | None:
        """The chat of a message if it may have been evicted: `record` then needs it; else None."""
        if not self.chats.has_evicted:
            return None
        try:
            key = parse(subject).key
        except InvalidSubjectError:
            return None
        return None if key in self.chats else key

    def fold(self, chat: ChatMetrics | None, events: Sequence[StoredEvent]) -> ChatMetrics:
        """A chat after its next events, of which nothing is counted: they were counted before."""
        first = events[0].envelope
        known = chat or ChatMetrics.before(first)
        return observe(known, events, self._prices, self._label(first)).chat

    def follow(self, stream: str, origin: Origin | None, streams: EventStreams) -> None:
        """Count one of the streams of events, too.

        It is counted from its first event on, or from where its origin is counted: from here on
        messages of the origin that the stream has, too, are passed over there.
        """
        if stream not in self.positions:
            mark = StreamSeq(0)
            if origin is not None:
                mark = origin.mark_of(self.positions.get(origin.stream, StreamSeq(0)))
            self.positions[stream] = mark
        self._streams = streams.followed(self.positions)

    def pass_over(self, message: LogMessage, stream: str) -> bool:
        """Whether a message is counted already, or where its chat is; if not, it counts as read."""
        if message.position <= self.positions[stream]:
            return True
        self.positions[stream] = message.position
        return not self._streams.holds(stream, message.subject)

    def record(
        self, message: LogMessage, evicted: ChatMetrics | None = None, stream: str = EVENTS
    ) -> str | None:
        """Counts a message of a stream; one at or before the state's position changes nothing.

        Returns why the message is rejected, because it is not an event of its chat, else None.
        `evicted` is its chat as of the message before it; it is needed only for an evicted chat.
        """
        if self.pass_over(message, stream):
            return None
        try:
            decision = event_log.read(message.subject, message.data)
        except RejectedMessageError as rejected:
            self.rejected += 1
            return str(rejected)
        chat = self.chats.get(decision.key) or evicted
        known = EMPTY if chat is None else chat.head
        if known == EMPTY and decision.forked is not None:
            known = decision.before  # what came before is counted in other chats
        if not decision.follows(known):
            self.rejected += 1
            return event_log.why_it_does_not_follow(decision, known)
        if decision.is_erasure and chat is None and self.chats.has_evicted:
            self._end_silence(decision.key)
            return None  # all of it may be counted already
        self._count(decision, chat)
        return None

    def _count(self, decision: Decision, chat: ChatMetrics | None) -> None:
        label = self._label(decision.first)
        known = chat or ChatMetrics.before(decision.first)
        after, totals, turns_seconds, samples = observe(known, decision.events, self._prices, label)
        before = self.totals.get(label)
        if before is None or totals is not NO_TOTALS or turns_seconds:
            self.totals[label] = (before or WorkflowMetrics()).plus(totals, turns_seconds)
        self.series.add(samples)
        states = self.states.setdefault(label, Counter())
        if chat is not None:
            states[chat.status] -= 1
        states[after.status] += 1
        self.chats.put(after, label)

    def _end_silence(self, key: ChatKey) -> None:
        """An evicted chat that ran is erased, which has cancelled it."""
        running = self.chats.running.pop(key, None)
        if running is not None:
            self.states[running.label]["running"] -= 1
            self.states[running.label]["cancelled"] += 1

    def _label(self, envelope: Envelope) -> Label:
        label = (envelope.app_id, envelope.workflow_name)
        known = label in self.totals or len(self.totals) < self._most_labels
        return label if known else OTHER

    def in_state(self, *states: ChatStatus, app: AppId | None = None) -> int:
        """How many chats are in one of these states, of one app or of all."""
        return sum(
            counted[state]
            for (owner, _), counted in self.states.items()
            if app in (None, owner)
            for state in states
        )

    def silences(self, now: datetime) -> Iterator[tuple[ChatKey, Label, float]]:
        """Each running chat, and the seconds since its last event."""
        for key, (label, last_event) in self.chats.running.items():
            yield key, label, max(0.0, (now - last_event).total_seconds())

    def stalled(self, now: datetime, after: float, app: AppId | None = None) -> list[StalledChat]:
        """The running chats of which nothing came for so many seconds, the longest silence first."""
        found = [
            StalledChat(chat_id=key.chat, app_id=key.app, workflow_name=label[1], silent_sec=silent)
            for key, label, silent in self.silences(now)
            if silent >= after and app in (None, key.app)
        ]
        return sorted(found, key=lambda chat: -chat.silent_sec)

    def snapshots(self, now: datetime, app: AppId | None = None) -> list[PerformanceSnapshot]:
        """The tracked chats, of one app or of all, the one that changed last first."""
        return [performance_of(c, now) for c in self.chats if app in (None, c.app_id)]

    def named(self, chat: ChatId, app: AppId | None = None) -> list[ChatMetrics]:
        """The tracked chats of that name: at most one per app."""
        return [c for c in self.chats if c.chat_id == chat and app in (None, c.app_id)]

    def aggregate(self, now: datetime, app: AppId | None = None) -> Aggregate:
        whole = NO_TOTALS
        for (owner, _), metrics in self.totals.items():
            if app in (None, owner):
                whole = whole.plus(metrics.totals)
        chats = self.snapshots(now, app)
        return Aggregate(
            active_chats=self.in_state("running", "waiting", app=app),
            tracked_chats=len(chats),
            total_agent_turns=whole.agent_turns,
            total_tool_calls=whole.tool_calls,
            total_errors=whole.errors,
            total_prompt_tokens=whole.prompt_tokens,
            total_completion_tokens=whole.completion_tokens,
            total_cost=whole.cost,
            chats=chats,
        )

    def tenants(self, app: AppId | None = None) -> list[TenantUse]:
        """The use of each app, or of one, the one that cost most first."""
        whole: dict[AppId, ChatTotals] = {}
        for (owner, _), metrics in self.totals.items():
            whole[owner] = whole.get(owner, NO_TOTALS).plus(metrics.totals)
        owners = sorted({*whole, *(owner for owner, _ in self.states)})
        found = [
            _use_of(owner, whole.get(owner, NO_TOTALS), self._chats_of(owner))
            for owner in owners
            if app in (None, owner)
        ]
        return sorted(found, key=lambda use: -use.cost)

    def _chats_of(self, app: AppId) -> dict[ChatStatus, int]:
        states = get_args(ChatStatus)
        return {state: self.in_state(state, app=app) for state in states}

    def clear(self) -> None:
        """Begin with the first message of another log."""
        self.positions = dict.fromkeys(self.positions, StreamSeq(0))
        self.rejected = 0
        self.totals, self.states = {}, {}
        self.series.clear()
        self.chats.clear()

    def save(self) -> bytes:
        """Numbers and position together, in one value that a bucket takes."""
        keep = list(self.chats)
        while True:
            value = zlib.compress(self._saved(keep), level=1)
            if len(value) <= SAVED_BYTES or not keep:
                return value
            keep = keep[: len(keep) // 2]  # the totals have the rest

    def _saved(self, chats: list[ChatMetrics]) -> bytes:
        places: dict[str, int] = {}

        def place(text: str) -> int:
            return places.setdefault(text, len(places))

        saved = _Saved(
            position=self.positions[EVENTS],
            positions={name: at for name, at in self.positions.items() if name != EVENTS},
            rejected=self.rejected,
            has_evicted=self.chats.has_evicted or len(chats) < len(self.chats),
            rows=[
                _Row(
                    app_id=label[0],
                    workflow_name=label[1],
                    totals=totals,
                    states=self.states[label],
                )
                for label, totals in self.totals.items()
            ],
            series=[
                (name, [place(text) for text in labels], numbers)
                for name, labels, numbers in self.series.rows()
            ],
            running=[
                (place(key.app), place(label[0]), place(label[1]), key.chat, last_event)
                for key, (label, last_event) in self.chats.running.items()
            ],
            texts=list(places),
            chats=chats,
        )
        # What users write is left out: titles and questions serve no metric.
        written: dict[str, Any] = {
            "title": True,
            "open_questions": {"__all__": {"subject", "options"}},
        }
        return saved.model_dump_json(exclude={"chats": {"__all__": written}}).encode()

    def load(self, value: bytes, *, newest: Mapping[str, StreamSeq]) -> None:
        """Continue from a saved value; `newest` is the last position of each stream of events.

        Raises UnreadableStateError, also if the log ends before it.
        """
        try:
            saved = _Saved.model_validate_json(zlib.decompress(value))
            texts = saved.texts
            series = [
                (name, tuple(texts[place] for place in places), numbers)
                for name, places, numbers in saved.series
            ]
            running = {
                ChatKey(AppId(texts[app]), chat): RunningChat(
                    (AppId(texts[label_app]), WorkflowName(texts[workflow])), last_event
                )
                for app, label_app, workflow, chat, last_event in saved.running
            }
        except (zlib.error, ValidationError, IndexError) as broken:
            raise UnreadableStateError(
                f"not a saved metrics state of this release: {type(broken).__name__}"
            ) from broken
        positions = {EVENTS: saved.position, **saved.positions}
        for stream, position in positions.items():
            if position > (last := newest.get(stream, StreamSeq(0))):
                raise UnreadableStateError(f"saved at {position} of a log that ends at {last}")
        self.positions, self.rejected = positions, saved.rejected
        self.totals = {(row.app_id, row.workflow_name): row.totals for row in saved.rows}
        self.states = {(row.app_id, row.workflow_name): Counter(row.states) for row in saved.rows}
        self.series.load(series)
        self.chats.load(saved.chats, has_evicted=saved.has_evicted)
        self.chats.running = running


def _use_of(app: AppId, totals: ChatTotals, chats: dict[ChatStatus, int]) -> TenantUse:
    return TenantUse(
        app_id=app,
        chats=chats,
        agent_turns=totals.agent_turns,
        tool_calls=totals.tool_calls,
        errors=totals.errors,
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        cost=totals.cost,
    )


def performance_of(chat: ChatMetrics, now: datetime) -> PerformanceSnapshot:
    return PerformanceSnapshot(
        chat_id=chat.chat_id,
        app_id=chat.app_id,
        workflow_name=chat.workflow_name,
        user_id=chat.user_id,
        status=chat.status,
        last_event_at=chat.last_updated_at,
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
