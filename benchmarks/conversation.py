"""Chats of usual turns: a user message, a tool call with a result of 200 bytes, a reply of 100 words."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from uuid import UUID

from benchmarks import chats
from contracts.codec import Origin
from contracts.event_log import EMPTY, Decision, seal
from contracts.events.chat import UserMessageReceived
from contracts.events.parts import TextPart, Tokens, ToolCall
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    ToolReturned,
    TurnCompleted,
    UsageRecorded,
)
from contracts.ids import AppId, ChatId, ChatKey, DeliveryId

MESSAGE_WORDS = 12
REPLY_WORDS = 100
RESULT_BYTES = 200
MESSAGES_PER_TURN = 7
PROMPT = "You turn an idea into a plan of three to five steps and say what each of them costs."
MODEL = "gpt-4o-mini"
PROVIDER = "openai"
_VOCABULARY = 3000
_LETTERS = "eeeeettttaaaoooiiinnnssshhhrrrdddlluucmwfgypbvkjxqz"
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def interleaved(count: int, turns: int, seed: int = 0) -> Iterator[Decision]:
    """The messages of `count` chats that run at the same time, in the order of the log."""
    drawn = random.Random(seed)
    for step in zip(*(conversation(turns, drawn) for _ in range(count)), strict=True):
        yield from step


def conversation(turns: int, drawn: random.Random) -> Iterator[Decision]:
    """The messages of one chat, whose ids and words are random."""
    words = _Words(drawn)
    key = ChatKey(AppId("acme"), ChatId(_uuid(drawn)))
    head, time = EMPTY, _BEGINNING
    for turn in range(turns + 1):
        process = f"{drawn.getrandbits(48):012x}"
        runner = DeliveryId(process, message=turn + 1, attempt=1).runner
        for group in _turn(turn, words) if turn else [[chats.STARTED]]:
            time += timedelta(microseconds=drawn.randrange(900_000))
            origin = Origin(key, chats.WORKFLOW, time, cause=_uuid(drawn), runner=runner)
            decision = seal(group, head, [origin] * len(group))
            head = decision.head
            yield decision


def _turn(turn: int, words: "_Words") -> Iterator[chats.Group]:
    """Ten events in seven messages."""
    tokens = Tokens(prompt=350 + turn, completion=140, total=490 + turn)
    call = ToolCall(id=words.call_id(), name="estimate_effort", arguments='{"steps": ["a", "b"]}')
    asked, reply = words.text(MESSAGE_WORDS), words.text(REPLY_WORDS)

    def requested(number: int, *parts: TextPart) -> ModelRequested:
        return ModelRequested(
            turn=turn,
            call=number,
            agent=chats.AGENT,
            prompt=[PROMPT],
            parts=list(parts),
            digest=words.digest(),
        )

    def responded(number: int, text: str, *calls: ToolCall) -> ModelResponded:
        return ModelResponded(
            turn=turn,
            call=number,
            agent=chats.AGENT,
            text=text,
            tool_calls=list(calls),
            tokens=tokens,
            model=MODEL,
            provider=PROVIDER,
            finish_reason="tool_calls" if calls else "stop",
        )

    def used(number: int) -> UsageRecorded:
        return UsageRecorded(
            turn=turn,
            call=number,
            agent=chats.AGENT,
            model=MODEL,
            provider=PROVIDER,
            tokens=tokens,
            duration=1.25,
        )

    yield [UserMessageReceived(user_id=chats.PERSON, text=asked), chats.selected(turn)]
    yield [requested(0, TextPart(text=asked))]
    yield [responded(0, "", call), used(0)]
    yield [
        ToolReturned(
            turn=turn,
            call=0,
            agent=chats.AGENT,
            tool_call_id=call.id,
            name=call.name,
            status="ok",
            parts=[TextPart(text=words.text(RESULT_BYTES)[:RESULT_BYTES])],
        )
    ]
    yield [requested(1)]
    yield [responded(1, reply), used(1)]
    yield [TurnCompleted(turn=turn, agent=chats.AGENT, text=reply)]


@cache
def _vocabulary() -> tuple[list[str], list[float]]:
    """Words, and how frequent each is: as in a language (Zipf's law)."""
    drawn = random.Random(0)
    words = ["".join(drawn.choices(_LETTERS, k=drawn.randint(2, 9))) for _ in range(_VOCABULARY)]
    return words, list(accumulate(1 / (rank + 2.7) for rank in range(_VOCABULARY)))


class _Words:
    """Random texts and ids."""

    def __init__(self, drawn: random.Random) -> None:
        self._drawn = drawn
        self._words, self._frequencies = _vocabulary()

    def text(self, count: int) -> str:
        return " ".join(self._drawn.choices(self._words, cum_weights=self._frequencies, k=count))

    def call_id(self) -> str:
        return f"call_{self._drawn.getrandbits(96):024x}"

    def digest(self) -> str:
        return f"{self._drawn.getrandbits(256):064x}"


def _uuid(drawn: random.Random) -> str:
    return str(UUID(int=drawn.getrandbits(128), version=4))
