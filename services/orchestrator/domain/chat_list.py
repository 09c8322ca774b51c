"""Commands that change what a user's list shows of a chat: its title, its place, and whether it is there."""

from contracts.commands import (
    ArchiveChat,
    DeleteChat,
    RenameChat,
    UnarchiveChat,
    UndeleteChat,
)
from contracts.events import Event
from contracts.events.chat_list import (
    ChatArchived,
    ChatDeleted,
    ChatRenamed,
    ChatUnarchived,
    ChatUndeleted,
)
from contracts.events.turn import TurnStopRequested
from services.orchestrator.domain.state import ChatState

ListCommand = RenameChat | ArchiveChat | UnarchiveChat | DeleteChat | UndeleteChat
"""These may come whether the chat has ended or not."""


def change_list(command: ListCommand, state: ChatState) -> list[Event]:
    """The events of such a command; none where the chat is as it asks for already, is deleted or erased."""
    if not state.started or state.is_erased or command.command_id in state.applied_commands:
        return []
    user = command.user_id
    if state.is_deleted:
        return [ChatUndeleted(user_id=user)] if isinstance(command, UndeleteChat) else []
    match command:
        case RenameChat(title=title):
            return [] if title == state.title else [ChatRenamed(user_id=user, title=title)]
        case ArchiveChat():
            return [] if state.is_archived else [ChatArchived(user_id=user)]
        case UnarchiveChat():
            return [ChatUnarchived(user_id=user)] if state.is_archived else []
        case DeleteChat(grace_seconds=grace):
            return [*_stopped(command, state), ChatDeleted(user_id=user, grace_seconds=grace)]
        case UndeleteChat():
            return []


def _stopped(command: DeleteChat, state: ChatState) -> list[Event]:
    """The request to stop the answer that is running, or that waits for the answer to a question."""
    turn = state.running_turn
    if turn is None or turn.stop is not None:
        return []
    return [
        TurnStopRequested(
            turn=turn.number, agent=turn.agent, user_id=command.user_id, by="stop", reason="deleted"
        )
    ]
