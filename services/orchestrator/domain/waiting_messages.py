"""What becomes of the messages that wait for the end of a turn."""

from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    UserMessageRefused,
    UserMessagesConsumed,
)
from contracts.events.turn import (
    SELECTOR,
    SpeakerSelected,
)
from services.orchestrator.domain.state import (
    ChatState,
)
from services.orchestrator.workflows.spec import USER


def with_message_fates(events: list[Event], state: ChatState) -> list[Event]:
    """The events, and what becomes by them of the messages that wait.

    An agent whose turn begins reads them; a chat that ends before refuses them.
    """
    if not state.waiting:
        return events
    for place, event in enumerate(events):
        match event:
            case SpeakerSelected(agent=agent, turn=turn) if agent not in (USER, SELECTOR):
                waiting = list(state.waiting)
                return [*events, UserMessagesConsumed(turn=turn, agent=agent, messages=waiting)]
            case ChatFailed(resumable=True):
                return events  # the next turn reads them
            case ChatCompleted() | ChatFailed() | ChatCancelled():
                refused = [
                    UserMessageRefused(user_id=state.user, reason="chat_ended", message=message)
                    for message in state.waiting
                ]
                return [*events[:place], *refused, *events[place:]]
            case _:
                pass
    return events
