"""All the numbers at one position of the log: bounded, counted once, saved and loaded as one value."""

import logging
import zlib
from datetime import datetime

from pydantic import BaseModel, ValidationError

from contracts import event_log
from contracts.envelope import Envelope
from contracts.event_log import EMPTY, Decision, Head, RejectedMessageError
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq, WorkflowName
from contracts.prices import Prices
from contracts.subjects import InvalidSubjectError, parse
from services.chassis.direct_get import RawMessage
from services.metrics.observations import (
    Chat,
    Counts,
    Observation,
    Totals,
    advance,
    begin,
    observe,
)

log = logging.getLogger(__name__)

CHATS = 1000
"""Chats that have a snapshot of their own; all others are in the totals only."""
LABEL_SETS = 500
"""Pairs of app and workflow that have totals of their own; later ones share one more."""
SAVED_BYTES = 900_000
"""Below what one NATS message may hold."""

Label = tuple[AppId, WorkflowName]
OTHER: Label = (AppId("other"), WorkflowName("other"))


class UnreadableBoardError(ValueError):
    """A saved value that this release cannot go on from."""


class Snapshot(BaseModel):
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
    chats: list[Snapshot]


class _Row(BaseModel):
    app_id: AppId
    workflow_name: WorkflowName
    totals: Totals


class _Saved(BaseModel):
    form: int = 2
    position: StreamSeq
    rejected: int
    has_forgotten: bool
    rows: list[_Row]
    chats: list[Chat]


class Board:
    """Counts each event once: by its place in the stream, and by its place in its chat."""

    def __init__(self, prices: Prices, *, chats: int = CHATS, label_sets: int = LABEL_SETS) -> None:
        self.position = StreamSeq(0)
        self.rejected = 0
        """Messages of the log that are no event of the chat in whose subjects they lie."""
        self.totals: dict[Label, Totals] = {}
        self._chats: dict[ChatKey, Chat] = {}  # the one that changed last stands last
        self._has_forgotten = False
        self._prices = prices
        self._most_chats = chats
        self._most_labels = label_sets

    def forgotten(self, subject: str) -> ChatKey | None:
        """The chat of a message, where the board may have forgotten it: its head must be found first."""
        if not self._has_forgotten:
            return None
        try:
            key = parse(subject).key
        except InvalidSubjectError:
            return None
        return None if key in self._chats else key

    def record(self, message: RawMessage, head: Head = EMPTY) -> None:
        """Count a stored message; one at or before the board's position changes nothing.

        `head` is where its chat's log ended before it, where the board has forgotten the chat. A
        message that is no event of its chat counts as rejected, and is logged.
        """
        if message.position <= self.position:
            return
        self.position = message.position
        try:
            decision = event_log.read(message.subject, message.data)
        except RejectedMessageError as rejected:
            self._reject(message, str(rejected))
            return
        chat = self._chats.get(decision.key)
        known = head if chat is None else chat.head
        if decision.follows(known):
            self._count(decision, chat or begin(decision.first))
        else:
            self._reject(message, event_log.why_it_does_not_follow(decision, known))

    def _reject(self, message: RawMessage, why: str) -> None:
        self.rejected += 1
        found = {"subject": message.subject, "position": message.position, "why": why}
        log.warning("a message in a chat's log is no event of it, and not counted", extra=found)

    def _count(self, decision: Decision, chat: Chat) -> None:
        for one in decision.events:
            envelope, event = one.envelope, one.event
            seen = Observation() if event is None else observe(chat, envelope, event, self._prices)
            chat = advance(chat, one, seen)
            self._add(self._label(envelope), seen)
        self._chats.pop(decision.key, None)
        self._chats[decision.key] = chat
        if len(self._chats) > self._most_chats:
            self._evict()

    def _label(self, envelope: Envelope) -> Label:
        label = (envelope.app_id, envelope.workflow_name)
        known = label in self.totals or len(self.totals) < self._most_labels
        return label if known else OTHER

    def _add(self, label: Label, seen: Observation) -> None:
        before = self.totals.get(label, Totals())
        turns = before.turns
        if seen.turn_seconds is not None:
            turns = turns.plus(seen.turn_seconds)
        self.totals[label] = Totals(before.counts.plus(seen.counts), turns)

    def _evict(self) -> None:
        ended = (key for key, chat in self._chats.items() if chat.ended_at is not None)
        del self._chats[next(ended, next(iter(self._chats)))]
        self._has_forgotten = True

    @property
    def active_chats(self) -> int:
        whole = self._sum(None)
        return whole.started - whole.ended

    @property
    def tracked_chats(self) -> int:
        return len(self._chats)

    def chats(self) -> list[Chat]:
        return list(self._chats.values())

    def snapshots(self, now: datetime, app: AppId | None = None) -> list[Snapshot]:
        """The tracked chats, of one app or of all, the one that changed last first."""
        return [snapshot(c, now) for c in reversed(self._chats.values()) if app in (None, c.app_id)]

    def named(self, chat: ChatId, app: AppId | None = None) -> list[Chat]:
        """The tracked chats of that name: at most one per app."""
        return [c for c in self._chats.values() if c.chat_id == chat and app in (None, c.app_id)]

    def aggregate(self, now: datetime, app: AppId | None = None) -> Aggregate:
        whole = self._sum(app)
        chats = self.snapshots(now, app)
        return Aggregate(
            active_chats=whole.started - whole.ended,
            tracked_chats=len(chats),
            total_agent_turns=whole.agent_turns,
            total_tool_calls=whole.tool_calls,
            total_errors=whole.errors,
            total_prompt_tokens=whole.prompt_tokens,
            total_completion_tokens=whole.completion_tokens,
            total_cost=whole.cost,
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
        self._has_forgotten = False

    def save(self) -> bytes:
        """Numbers and position together, in one value that a bucket takes."""
        keep = list(self._chats.values())
        while True:
            value = zlib.compress(self._saved(keep), level=1)
            if len(value) <= SAVED_BYTES or not keep:
                return value
            keep = keep[len(keep) // 2 + 1 :]  # the totals have the rest

    def _saved(self, chats: list[Chat]) -> bytes:
        rows = [_Row(app_id=a, workflow_name=w, totals=t) for (a, w), t in self.totals.items()]
        saved = _Saved(
            position=self.position,
            rejected=self.rejected,
            has_forgotten=self._has_forgotten or len(chats) < len(self._chats),
            rows=rows,
            chats=chats,
        )
        return saved.model_dump_json().encode()

    def load(self, value: bytes, *, newest: StreamSeq) -> None:
        """Go on from a saved value. Raises UnreadableBoardError, also where the log ends before it."""
        try:
            saved = _Saved.model_validate_json(zlib.decompress(value))
        except (zlib.error, ValidationError) as broken:
            raise UnreadableBoardError(f"no saved board: {type(broken).__name__}") from broken
        if saved.form != 2:
            raise UnreadableBoardError(f"a board of form {saved.form}, this release reads 2")
        if saved.position > newest:
            raise UnreadableBoardError(f"saved at {saved.position} of a log that ends at {newest}")
        self.position, self.rejected = saved.position, saved.rejected
        self.totals = {(row.app_id, row.workflow_name): row.totals for row in saved.rows}
        self._chats = {ChatKey(chat.app_id, chat.chat_id): chat for chat in saved.chats}
        self._has_forgotten = saved.has_forgotten


def snapshot(chat: Chat, now: datetime) -> Snapshot:
    return Snapshot(
        chat_id=chat.chat_id,
        app_id=chat.app_id,
        workflow_name=chat.workflow_name,
        user_id=chat.user_id,
        started_at=chat.started_at,
        ended_at=chat.ended_at,
        runtime_sec=max(0.0, ((chat.ended_at or now) - chat.started_at).total_seconds()),
        agent_turns=chat.counts.agent_turns,
        tool_calls=chat.counts.tool_calls,
        errors=chat.counts.errors,
        last_turn_duration_sec=chat.last_turn_duration_sec,
        prompt_tokens=chat.counts.prompt_tokens,
        completion_tokens=chat.counts.completion_tokens,
        cost=chat.counts.cost,
    )
