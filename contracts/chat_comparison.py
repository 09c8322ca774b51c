"""Two chats side by side, turn by turn: a fork and its origin, or two runs of one workflow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.codec import Fact
from contracts.events.chat import ChatRewound, UserMessageReceived
from contracts.events.human import HumanAnswered
from contracts.events.turn import (
    ModelResponded,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
    UsageRecorded,
)
from contracts.ids import AgentName, Seq
from contracts.rewinds import DroppedRange, is_dropped, with_rewind
from contracts.wire.json_values import MAX_SAFE_INTEGER

Difference = Literal["agent", "messages", "tools", "text", "outcome"]


class ComparedTurn(BaseModel):
    """What was said and done in a turn. `tools` are calls with their arguments and how they ended."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    turn: int = Field(ge=0, le=MAX_SAFE_INTEGER)
    seq: Seq = Field(ge=0, le=MAX_SAFE_INTEGER)
    agent: AgentName | None = None
    messages: list[str] = []
    tools: list[str] = []
    text: str = ""
    outcome: str | None = None
    seconds: float = 0.0
    prompt_tokens: int = Field(default=0, ge=0, le=MAX_SAFE_INTEGER)
    completion_tokens: int = Field(default=0, ge=0, le=MAX_SAFE_INTEGER)
    cost: float = 0.0


class TurnPair(BaseModel):
    """The turns of one number in both chats, None where a chat has no such turn."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    left: ComparedTurn | None
    right: ComparedTurn | None
    differs_in: list[Difference] = []


class ChatComparison(BaseModel):
    """All turns of two chats. `first_difference` is the place of the first pair that differs.

    Time, tokens and cost are shown, and are no difference. `shared_events` are those that both logs
    begin with, as a fork and its origin do.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    pairs: list[TurnPair]
    first_difference: int | None = Field(default=None, ge=0, le=MAX_SAFE_INTEGER)
    shared_events: int = Field(default=0, ge=0, le=MAX_SAFE_INTEGER)


@dataclass(slots=True)
class _Turn:
    """A turn while events are added to it."""

    turn: int
    first: Fact
    last: Fact
    agent: AgentName | None = None
    messages: list[str] = field(default_factory=list)
    calls: dict[str, str] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    text: str = ""
    outcome: str | None = None
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    cost: float = 0.0

    def compared(self) -> ComparedTurn:
        tools = [
            f"{call} → {self.results.get(call_id, 'no result')}"
            for call_id, call in self.calls.items()
        ]
        tools += [name for call_id, name in self.results.items() if call_id not in self.calls]
        times = self.first.envelope.time, self.last.envelope.time
        return ComparedTurn(
            turn=self.turn,
            seq=self.first.envelope.seq,
            agent=self.agent,
            messages=self.messages,
            tools=tools,
            text=self.text,
            outcome=self.outcome,
            seconds=max(0.0, (times[1] - times[0]).total_seconds()),
            prompt_tokens=int(self.prompt_tokens),
            completion_tokens=int(self.completion_tokens),
            cost=self.cost,
        )


def compare(left: Sequence[Fact], right: Sequence[Fact]) -> ChatComparison:
    """The turns of two chats, one beside the other."""
    ours, others = turns_of(left), turns_of(right)
    pairs = [
        _pair(
            ours[place] if place < len(ours) else None,
            others[place] if place < len(others) else None,
        )
        for place in range(max(len(ours), len(others)))
    ]
    first = next((place for place, pair in enumerate(pairs) if pair.differs_in), None)
    return ChatComparison(
        pairs=pairs, first_difference=first, shared_events=_shared_events(left, right)
    )


def turns_of(facts: Sequence[Fact]) -> list[ComparedTurn]:
    """The turns as they count: what was rewound, of a turn that is left, too, is gone."""
    dropped: tuple[DroppedRange, ...] = ()
    for fact in facts:
        if isinstance(fact.event, ChatRewound):
            dropped = with_rewind(dropped, fact.event.to_seq, fact.envelope.seq)
    turns: list[_Turn] = []
    for fact in facts:
        event = fact.event
        if is_dropped(dropped, fact.envelope.seq):
            continue
        if isinstance(event, SpeakerSelected):
            turns.append(_Turn(event.turn, fact, fact, event.agent))
        elif not turns:
            turns.append(_Turn(0, fact, fact))
        _add(turns[-1], fact)
    return [turn.compared() for turn in turns]


def _add(turn: _Turn, fact: Fact) -> None:
    turn.last = fact
    event = fact.event
    match event:
        case UserMessageReceived(text=text):
            turn.messages.append(text)
        case HumanAnswered(text=text):
            turn.messages.append(text)
        case ModelResponded():
            turn.calls |= {one.id: f"{one.name}({one.arguments})" for one in event.tool_calls}
        case ToolReturned(tool_call_id=call_id, name=name, status=status):
            turn.results[call_id] = status if call_id in turn.calls else f"{name} → {status}"
        case UsageRecorded(tokens=tokens, cost=cost):
            turn.prompt_tokens += tokens.prompt or 0.0
            turn.completion_tokens += tokens.completion or 0.0
            turn.cost += cost or 0.0
        case TurnCompleted(text=text):
            turn.text, turn.outcome = text, "completed"
        case TurnFailed(code=code):
            turn.outcome = code
        case TurnStopped(by=by):
            turn.outcome = f"stopped by {by}"
        case _:
            pass


def _pair(left: ComparedTurn | None, right: ComparedTurn | None) -> TurnPair:
    if left is None or right is None:
        return TurnPair(left=left, right=right, differs_in=["agent"])
    both: list[tuple[Difference, object, object]] = [
        ("agent", left.agent, right.agent),
        ("messages", left.messages, right.messages),
        ("tools", left.tools, right.tools),
        ("text", left.text, right.text),
        ("outcome", left.outcome, right.outcome),
    ]
    return TurnPair(
        left=left, right=right, differs_in=[name for name, one, other in both if one != other]
    )


def _shared_events(left: Sequence[Fact], right: Sequence[Fact]) -> int:
    """How many events at the beginning are the same stored events, of the same chat."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one.envelope.event_id != other.envelope.event_id:
            break
        count += 1
    return count
