"""A chat as a timeline: turns, model calls, tools, questions and takeovers, without anything of what was said."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.codec import Fact
from contracts.envelope import Instant
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatForked,
    ChatRewound,
    ChatStarted,
    HistoryCompacted,
    UserMessageReceived,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    USER,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    ModelWait,
    SpeakerSelected,
    ToolDispatched,
    ToolInvoked,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
    TurnStopRequested,
    UsageRecorded,
)
from contracts.ids import AgentName, Seq
from contracts.wire.json_values import MAX_SAFE_INTEGER

EntryKind = Literal[
    "start",
    "message",
    "turn",
    "wait",
    "model_call",
    "provider_wait",
    "tool_call",
    "question",
    "takeover",
    "compaction",
    "budget",
    "stop",
    "rewind",
    "end",
]
"""`wait`: it is the user's turn. `provider_wait`: between attempts of a model call. `takeover`: another process went on with the run."""

_Number = Field(ge=0, le=MAX_SAFE_INTEGER)


class TimelineEntry(BaseModel):
    """Something of a chat that took time, or happened at once: then `ended_at` is `started_at`.

    `seq` is the event that begins it, of a `provider_wait` that of its model call; `ended_at` is None
    while it is not over. `name` is the agent, the model, the tool, the user, the code of the failure
    that is waited after, or what happened. `trace_id` is that of the OpenTelemetry trace, in hex.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: EntryKind
    name: str
    seq: Seq = _Number
    started_at: Instant
    ended_at: Instant | None = None
    turn: int | None = Field(default=None, ge=0, le=MAX_SAFE_INTEGER)
    call: int | None = Field(default=None, ge=0, le=MAX_SAFE_INTEGER)
    agent: AgentName | None = None
    attempt: int | None = Field(default=None, ge=0, le=MAX_SAFE_INTEGER)
    outcome: str | None = None
    is_failure: bool = False
    prompt_tokens: int | None = Field(default=None, ge=0, le=MAX_SAFE_INTEGER)
    completion_tokens: int | None = Field(default=None, ge=0, le=MAX_SAFE_INTEGER)
    cost: float | None = None
    cached: bool = False
    time_to_first_chunk: float | None = None
    tool_call_id: str | None = None
    trace_id: str | None = None


def timeline_of(facts: Iterable[Fact]) -> list[TimelineEntry]:
    """The entries of a chat, in the order in which they began."""
    timeline = Timeline()
    for fact in facts:
        timeline.add(fact)
    return timeline.entries


@dataclass(slots=True)
class Timeline:
    """Entries as events are added, in their order."""

    entries: list[TimelineEntry] = field(default_factory=list)
    _open: dict[str, int] = field(default_factory=dict)
    """The place of each entry that has not ended, by what ends it."""

    def add(self, fact: Fact) -> None:
        """Take the next event."""
        event, time = fact.event, fact.envelope.time
        match event:
            case SpeakerSelected(turn=turn, agent=agent, by=by):
                self._end_all(time)
                kind: EntryKind = "wait" if agent == USER else "turn"
                self._begin("turn", fact, kind=kind, name=agent, agent=agent, turn=turn, outcome=by)
            case ModelRequested(turn=turn, call=call, agent=agent):
                self._end("model", time, "repeated")
                self._begin(
                    "model",
                    fact,
                    kind="model_call",
                    name="model",
                    agent=agent,
                    turn=turn,
                    call=call,
                )
            case ModelResponded(model=model, finish_reason=reason):
                self._end("model", time, reason or "answered", keep=True, name=model or "model")
            case ModelCallFailed(code=code):
                self._end("model", time, code, failed=True)
            case UsageRecorded():
                self._note_waits(event.waits, event, fact)
                self._note_usage(event, time)
            case ToolInvoked(tool_call_id=call_id, name=name, agent=agent, turn=turn):
                self._begin(
                    call_id,
                    fact,
                    kind="tool_call",
                    name=name,
                    agent=agent,
                    turn=turn,
                    tool_call_id=call_id,
                )
            case ToolDispatched():
                self._dispatch(event, fact)
            case ToolReturned(tool_call_id=call_id, status=status):
                if call_id not in self._open:
                    self._begin_tool(event, fact)
                self._end(call_id, time, status, failed=status != "ok")
            case HumanAsked(tool_call_id=call_id, agent=agent, turn=turn):
                name = (
                    "question" if event.approval is None else f"approval of {event.approval.tool}"
                )
                self._ask(fact, event.question_id, name, agent, turn, call_id)
            case UiToolRequested(component=component, agent=agent, turn=turn, tool_call_id=call_id):
                self._ask(fact, event.question_id, component, agent, turn, call_id)
            case HumanAnswered() | UiToolAnswered():
                who = "default" if event.by_default else event.user_id
                self._end(event.question_id, time, f"answered by {who}")
            case QuestionExpired(question_id=question):
                self._end(question, time, "expired", failed=True)
            case TurnCompleted():
                self._end("turn", time, "completed")
            case TurnFailed(code=code):
                self._note_waits(event.waits, event, fact)
                self._end("model", time, code, failed=True)
                self._end("turn", time, code, failed=True)
            case TurnStopped(by=by):
                self._end_all(time, f"stopped by {by}")
            case ChatCompleted(reason=reason) | ChatCancelled(reason=reason):
                word = event.type.partition(".")[2]
                self._end_all(time, word)
                self._at_once(fact, "end", word, outcome=reason or None)
            case ChatFailed(code=code):
                self._end_all(time, "failed")
                self._at_once(fact, "end", "failed", outcome=code, failed=True)
            case _:
                self._note(fact)

    def _note(self, fact: Fact) -> None:
        """What happens at once, and ends nothing."""
        event = fact.event
        match event:
            case ChatStarted(user_id=user):
                self._at_once(fact, "start", user)
            case ChatForked(user_id=user):
                self._at_once(fact, "start", user, outcome=f"fork at event {event.seq}")
            case UserMessageReceived(user_id=user):
                self._at_once(fact, "message", user)
            case RunClaimed(attempt=attempt, runner=runner):
                self._at_once(fact, "takeover", runner, attempt=attempt)
            case HistoryCompacted():
                self._at_once(fact, "compaction", "conversation")
            case ChatRewound(to_seq=to_seq, kind=kind):
                self._end_all(fact.envelope.time, "rewound")
                self._at_once(fact, "rewind", kind, outcome=f"to event {to_seq}")
            case TurnStopRequested(by=by):
                self._at_once(fact, "stop", by)
            case QuestionEscalated(question_id=question):
                self._change(question, outcome="escalated")
            case BudgetWarned() | BudgetExceeded():
                exceeded = isinstance(event, BudgetExceeded)
                self._at_once(fact, "budget", event.type.partition(".")[2], failed=exceeded)
            case _:
                pass

    def _begin(self, key: str, fact: Fact, **fields: object) -> None:
        envelope = fact.envelope
        trace = envelope.trace
        entry = TimelineEntry.model_validate(
            {
                "seq": envelope.seq,
                "started_at": envelope.time,
                "trace_id": None if trace is None else trace.split("-")[1],
                **fields,
            }
        )
        self._open[key] = len(self.entries)
        self.entries.append(entry)

    def _at_once(
        self,
        fact: Fact,
        kind: EntryKind,
        name: str,
        *,
        outcome: str | None = None,
        failed: bool = False,
        attempt: int | None = None,
    ) -> None:
        self._begin(
            "",
            fact,
            kind=kind,
            name=name,
            ended_at=fact.envelope.time,
            outcome=outcome,
            is_failure=failed,
            attempt=attempt,
        )
        del self._open[""]

    def _dispatch(self, event: ToolDispatched, fact: Fact) -> None:
        if event.tool_call_id in self._open and event.attempt > 1:
            self._change(event.tool_call_id, attempt=event.attempt)
        elif event.tool_call_id not in self._open:
            self._begin_tool(event, fact, attempt=event.attempt)

    def _begin_tool(
        self, event: ToolDispatched | ToolReturned, fact: Fact, attempt: int | None = None
    ) -> None:
        self._begin(
            event.tool_call_id,
            fact,
            kind="tool_call",
            name=event.name,
            agent=event.agent,
            turn=event.turn,
            call=event.call,
            attempt=attempt,
            tool_call_id=event.tool_call_id,
        )

    def _ask(
        self, fact: Fact, question: str, name: str, agent: AgentName, turn: int, call_id: str
    ) -> None:
        self._begin(
            question,
            fact,
            kind="question",
            name=name,
            agent=agent,
            turn=turn,
            tool_call_id=call_id,
        )

    def _note_waits(
        self, waits: Sequence[ModelWait], event: UsageRecorded | TurnFailed, fact: Fact
    ) -> None:
        """Below the model call that they belong to, of which they have the `seq`."""
        call = self._open.get("model")
        seq = fact.envelope.seq if call is None else self.entries[call].seq
        place = len(self.entries) if call is None else call + 1
        entries = [
            TimelineEntry(
                kind="provider_wait",
                name=wait.code,
                seq=seq,
                started_at=wait.until - timedelta(seconds=wait.seconds),
                ended_at=wait.until,
                turn=event.turn,
                agent=event.agent,
                attempt=wait.attempt,
            )
            for wait in waits
        ]
        self.entries[place:place] = entries
        for key, other in self._open.items():
            if other >= place:
                self._open[key] = other + len(entries)

    def _note_usage(self, event: UsageRecorded, time: datetime) -> None:
        tokens = event.tokens
        self._change(
            "model",
            prompt_tokens=None if tokens.prompt is None else int(tokens.prompt),
            completion_tokens=None if tokens.completion is None else int(tokens.completion),
            cost=event.cost,
            cached=event.cached,
            time_to_first_chunk=event.time_to_first_chunk,
            **({} if event.model is None else {"name": event.model}),
        )
        place = self._open.pop("model", None)
        if place is not None and self.entries[place].ended_at is None:
            self._replace(place, ended_at=time, outcome="interrupted")

    def _end(
        self,
        key: str,
        time: datetime,
        outcome: str,
        *,
        failed: bool = False,
        keep: bool = False,
        name: str | None = None,
    ) -> None:
        """`keep`: more is to be noted of it, as the usage of a model call."""
        place = self._open.get(key) if keep else self._open.pop(key, None)
        if place is None or self.entries[place].ended_at is not None:
            return
        changes: dict[str, object] = {"ended_at": time, "outcome": outcome, "is_failure": failed}
        self._replace(place, **changes, **({} if name is None else {"name": name}))

    def _end_all(self, time: datetime, outcome: str | None = None) -> None:
        for place in self._open.values():
            entry = self.entries[place]
            if entry.ended_at is None:
                self._replace(place, ended_at=time, outcome=outcome or entry.outcome)
        self._open.clear()

    def _change(self, key: str, **changes: object) -> None:
        if key in self._open:
            self._replace(self._open[key], **changes)

    def _replace(self, place: int, **changes: object) -> None:
        self.entries[place] = self.entries[place].model_copy(update=changes)
