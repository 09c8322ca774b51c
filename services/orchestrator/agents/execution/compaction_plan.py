"""Decides whether a conversation must be summarised before a model call, and up to which turn."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from contracts.events.turn import SELECTOR
from contracts.ids import AgentName
from services.orchestrator.agents.execution.model_loop import ModelTask
from services.orchestrator.domain.agent_conversation import (
    SUMMARY_PREFIX,
    ConversationSize,
    as_text,
    entries_after_turn,
    messages_of_entry,
    unsummarised_entries,
)
from services.orchestrator.domain.state import ChatState, ConversationEntry
from services.orchestrator.domain.turn import Turn

FILL_RATIO = 0.8
"""Which part of the context window a request may fill before the conversation is summarised."""
KEPT_TURNS = 4
"""How many of the newest turns are not summarised, if they fit into half of the context window."""
CHARS_PER_TOKEN = 4
"""An estimate, used where no provider has counted the tokens; some scripts have fewer."""
MAX_LINE_CHARS = 4000
"""How much of one line of the conversation the summarising model gets."""


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """Summarise everything up to the turn `through_turn`; `text` is that part of the conversation.

    `tokens` is the estimated size of the next request without a summary.
    """

    through_turn: int
    tokens: int
    text: str
    max_summary_chars: int


def plan_compaction(
    state: ChatState, turn: Turn, task: ModelTask, tool_chars: Callable[[], int], window: int
) -> CompactionPlan | None:
    """What to summarise before a turn's first request; none if the request is short enough.

    `tool_chars` gives the size of the agent's tool schemas; it is called only where it is needed.
    `window` is the model's context window in tokens. There is at most one compaction per turn:
    otherwise a resumed turn would send a different conversation.
    """
    since = 0 if state.compacted is None else state.compacted.since
    if turn.requests or turn.processed is not None or since == turn.number:
        return None
    tokens = estimate_tokens(task.history.size, lambda: len(task.prompt) + tool_chars(), since)
    if tokens < FILL_RATIO * window:
        return None
    half_window_chars = window * CHARS_PER_TOKEN // 2
    through_turn = _last_summarised_turn(unsummarised_entries(state), half_window_chars)
    if through_turn is None:
        return None
    text = _text_to_summarise(state, through_turn, half_window_chars)
    return CompactionPlan(through_turn, tokens, text, max_summary_chars=half_window_chars // 4)


def plan_compaction_after_refusal(
    state: ChatState, turn: Turn, task: ModelTask, tool_chars: Callable[[], int], window: int | None
) -> CompactionPlan | None:
    """What to summarise once a provider has refused the conversation as too long.

    `window` is the model's context window as far as it is known. The estimate of what was refused is
    more than the model takes, whatever the window: so it bounds what is kept. None if there is
    nothing to summarise.
    """
    tokens = estimate_tokens(task.history.size, lambda: len(task.prompt) + tool_chars(), since=0)
    half_window_chars = min(tokens, window or tokens) * CHARS_PER_TOKEN // 2
    entries = unsummarised_entries(state)
    through_turn = _last_summarised_turn_if_needed(entries, half_window_chars, turn.agent)
    if through_turn is None:
        return None
    text = _text_to_summarise(state, through_turn, half_window_chars)
    return CompactionPlan(through_turn, tokens, text, max_summary_chars=half_window_chars // 4)


def _last_summarised_turn_if_needed(
    entries: tuple[ConversationEntry, ...], max_kept_chars: int, agent: AgentName
) -> int | None:
    """As few turns as possible, but all of them if what the agent is to answer is kept besides."""
    turns = [entry for entry in entries if isinstance(entry, Turn) and entry.agent != SELECTOR]
    possible = None
    for kept in range(min(KEPT_TURNS, len(turns) - 1), -1, -1):
        number = turns[-kept - 1].number
        kept_entries = entries_after_turn(entries, number)
        if not any(messages_of_entry(entry, agent) for entry in kept_entries):
            break
        possible = number
        if sum(map(len, as_text(kept_entries))) <= max_kept_chars:
            break
    return possible


def estimate_tokens(
    size: ConversationSize, instruction_chars: Callable[[], int], since: int
) -> int:
    """The tokens of the next request: the provider's last count, and an estimate of what is new.

    `instruction_chars` gives the size of prompt and tools. Counts from before turn `since` are of a
    conversation that was summarised meanwhile.
    """
    counted = size.counted
    if counted is not None and counted.turn >= since:
        known = (counted.tokens.prompt or 0) + (counted.tokens.completion or 0)
        return ceil(known + size.chars_since / CHARS_PER_TOKEN)
    return ceil((instruction_chars() + size.chars) / CHARS_PER_TOKEN)


def _last_summarised_turn(
    entries: tuple[ConversationEntry, ...], max_kept_chars: int
) -> int | None:
    """Between turns, so that no tool call is separated from its result."""
    turns = [entry for entry in entries if isinstance(entry, Turn) and entry.agent != SELECTOR]
    for kept in range(min(KEPT_TURNS, len(turns) - 1), 0, -1):
        number = turns[-kept - 1].number
        kept_chars = sum(map(len, as_text(entries_after_turn(entries, number))))
        if kept == 1 or kept_chars <= max_kept_chars:
            return number
    return None


def _text_to_summarise(state: ChatState, through_turn: int, max_chars: int) -> str:
    """The earlier summary and the conversation since then; of that the newest if it is too long."""
    entries = unsummarised_entries(state)
    lines = as_text(entries[: len(entries) - len(entries_after_turn(entries, through_turn))])
    earlier = [] if state.compacted is None else [f"{SUMMARY_PREFIX}{state.compacted.summary}"]
    newest_first: list[str] = []
    for line in reversed(lines):
        max_chars -= min(len(line), MAX_LINE_CHARS)
        if max_chars < 0:
            newest_first.append("[earlier lines are left out]")
            break
        newest_first.append(line[:MAX_LINE_CHARS])
    return "\n".join([*earlier, *reversed(newest_first)])
