"""The part of a state that a chat goes on with: of bounded size where its history is summarised.

What models do not read any more, and the positions to which only a rewind goes back, are left out: a
rewind folds the whole log.
"""

from collections.abc import Sequence

from contracts.frozen import replace
from services.orchestrator.domain.agent_conversation import first_unsummarised
from services.orchestrator.domain.state import ChatState, ConversationEntry
from services.orchestrator.domain.turn import UserInput

MIN_ENTRIES = 32
"""Entries that are kept in any case: rules look at the newest speakers."""


def bounded(state: ChatState) -> ChatState:
    """The state without the conversation that is summarised, and without positions to rewind to.

    Every command but a rewind, and every event but one, has the same effect on it.
    """
    first = min(first_unsummarised(state), _first_recent(state.conversation))
    return replace(state, conversation=state.conversation[first:], points=())


def _first_recent(entries: Sequence[ConversationEntry]) -> int:
    """The newest message of the user and what follows, and at least MIN_ENTRIES."""
    first = max(len(entries) - MIN_ENTRIES, 0)
    while first > 0 and not any(isinstance(one, UserInput) for one in entries[first:]):
        first = next((n for n in range(first - 1, -1, -1) if isinstance(entries[n], UserInput)), 0)
    return first
