"""When a conversation nears what its model can take: a summary, for models, of all but its end."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Protocol

from ag2 import Agent
from pydantic_core import to_jsonable_python

from contracts.events import Event
from contracts.events.chat import HistoryCompacted
from contracts.events.parts import text_of
from contracts.events.turn import RUNTIME, SELECTOR, UsageRecorded
from contracts.ids import ChatKey
from services.orchestrator.agents import codec
from services.orchestrator.agents.account import ACCOUNT, Tab
from services.orchestrator.agents.asked import AskedConfig
from services.orchestrator.agents.calls import note_call, usage_of
from services.orchestrator.agents.turn import Task
from services.orchestrator.projection import (
    SUMMARY,
    Heard,
    Passage,
    Returned,
    Spoke,
    after_turn,
    told,
    unsummarised,
)
from services.orchestrator.state import ChatState, Line, Turn

log = logging.getLogger(__name__)

NEAR = 0.8
"""Which part of its window a request may fill before the conversation is summarised."""
KEPT_TURNS = 4
"""How many of the newest turns stay as they are, where they fit into half of the window."""
CHARS_PER_TOKEN = 4
"""What a token comes to where no provider has counted yet; in some scripts it is less."""
LINE_CHARS = 4000
"""How much of one line whoever summarises is told."""

_TASK = (
    "You keep the minutes of a conversation between a person and agents. Sum up what you are given "
    "for those who go on with it and will not see it again: what was asked, found out, decided, "
    "promised and done, with every name and number that matters, and what is still open. "
    "Write plain sentences, no greeting and no comment of your own."
)


class Log(Protocol):
    """The chat that the summary is kept in."""

    @property
    def state(self) -> ChatState: ...

    async def record(self, *events: Event) -> None: ...


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be summarised: everything up to a turn, as `text` tells it."""

    through_turn: int
    tokens: int
    text: str
    room: int
    """How many characters the summary may have."""


class NoSummaryError(Exception):
    """A model was asked for a summary and had nothing to say."""


async def compact(agent: Agent, task: Task, key: ChatKey, chat: Log) -> bool:
    """Keep a summary, where the first request of the open turn would be too long without.

    Whether there is a new one. Where none can be had, the conversation stays as it is: the provider
    may take it yet. Raises what the chat raises.
    """
    config, turn = agent.config, chat.state.open
    if turn is None or not isinstance(config, AskedConfig) or config.window is None:
        return False
    found = due(chat.state, turn, task, partial(_size_of_tools, agent), config.window)
    if found is None:
        return False
    try:
        summary, spent = await _summary(config, found, turn, key)
    except Exception as trouble:
        log.warning("a conversation was not summarised", exc_info=trouble)
        return False
    event = HistoryCompacted(
        through_turn=found.through_turn, summary=summary, tokens_before=found.tokens
    )
    await chat.record(event, spent)
    return True


def due(
    state: ChatState, turn: Turn, task: Task, tools: Callable[[], int], window: int
) -> Due | None:
    """What has to be summarised before a turn's first request; none where that is short enough.

    `tools` gives the characters of what the agent may call, asked for before a first request only.

    At most once before a turn: else a turn that is resumed might hear another conversation.
    """
    since = 0 if state.compacted is None else state.compacted.since
    if turn.requests or turn.processed is not None or since == turn.number:
        return None
    tokens = estimate(task.before, len(task.prompt) + tools(), since)
    if tokens < NEAR * window:
        return None
    half = window * CHARS_PER_TOKEN // 2
    through = _cut(unsummarised(state), half)
    if through is None:
        return None
    return Due(through, tokens, _text(state, through, half), room=half // 4)


def estimate(before: Sequence[Passage], instructions: int, since: int) -> int:
    """The tokens of the next request: what its model counted last, and what came after in characters.

    `instructions` are the characters of prompt and tools; what was counted before turn `since` was
    of another conversation.
    """
    for place in range(len(before) - 1, -1, -1):
        passage = before[place]
        if isinstance(passage, Spoke) and passage.response.turn >= since:
            counted = passage.response.tokens
            if counted.prompt:
                known = counted.prompt + (counted.completion or 0)
                return ceil(known + _size(before[place + 1 :]) / CHARS_PER_TOKEN)
    return ceil((instructions + _size(before)) / CHARS_PER_TOKEN)


def _size(passages: Sequence[Passage]) -> int:
    return sum(_size_of(passage) for passage in passages)


def _size_of(passage: Passage) -> int:
    match passage:
        case Heard(text):
            return len(text)
        case Spoke(response):
            calls = sum(len(call.name) + len(call.arguments) for call in response.tool_calls)
            return len(response.text or "") + calls
        case Returned(results):
            return sum(len(text_of(result.parts)) for result in results)


def _size_of_tools(agent: Agent) -> int:
    return len(json.dumps(to_jsonable_python([tool.schema for tool in agent.tools])))


def _cut(lines: tuple[Line, ...], room: int) -> int | None:
    """The last turn to be summarised: between turns, so that no call is parted from its result."""
    turns = [line for line in lines if isinstance(line, Turn) and line.agent != SELECTOR]
    for kept in range(min(KEPT_TURNS, len(turns) - 1), 0, -1):
        cut = turns[-kept - 1].number
        if kept == 1 or sum(map(len, told(after_turn(lines, cut)))) <= room:
            return cut
    return None


def _text(state: ChatState, through: int, room: int) -> str:
    """What is to be summarised, the newest of it where there is no room for all."""
    lines = unsummarised(state)
    said = told(lines[: len(lines) - len(after_turn(lines, through))])
    whole = [] if state.compacted is None else [f"{SUMMARY}{state.compacted.summary}"]
    kept: list[str] = []
    for line in reversed(said):
        room -= min(len(line), LINE_CHARS)
        if room < 0:
            kept.append("[earlier lines are left out]")
            break
        kept.append(line[:LINE_CHARS])
    return "\n".join([*whole, *reversed(kept)])


async def _summary(
    config: AskedConfig, found: Due, turn: Turn, key: ChatKey
) -> tuple[str, UsageRecorded]:
    """A model call of the runtime's own, and what it took."""
    tab = Tab(key)
    began = time.perf_counter()
    reply = await Agent("summary", _TASK, config=config).ask(
        found.text, dependencies={ACCOUNT: tab}
    )
    duration = time.perf_counter() - began
    said = codec.responded_of(reply.response, turn=turn.number, call=0, agent=RUNTIME)
    if not said.text:
        raise NoSummaryError
    spent = usage_of(said, duration=duration, cost=tab.cost, cached=tab.cached)
    note_call(key, codec.digest([_TASK, found.text], []), spent)
    return said.text[: found.room], spent
