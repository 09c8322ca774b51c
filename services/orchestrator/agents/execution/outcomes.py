"""Translates what ends a step of a turn, an exception or a cancellation, to the turn's outcome."""

import asyncio

from services.chassis.budgets.storage import StorageUsedUpError
from services.chassis.jetstream.errors import MessageTooLargeError
from services.chassis.secrets import process_redactor
from services.orchestrator.agents.ag2.codec import error_text
from services.orchestrator.agents.models.errors import ModelError
from services.orchestrator.agents.session.turn_journal import TurnJournal
from services.orchestrator.domain.chat_failures import EVENT_TOO_LARGE, STORAGE_USED_UP
from services.orchestrator.domain.turn_steps import Failed, Suspended


class CallLimitError(Exception):
    """The model wanted more calls in one turn than it may make."""


class HookError(Exception):
    """A hook raised, or returned what no message is; the text is shown to the user."""


class InDoubtError(Exception):
    """A call in doubt fails the turn."""

    def __init__(self, failure: Failed) -> None:
        super().__init__(failure.message)
        self.failure = failure


UNEXPECTED = "TURN_FAILED"
"""The code of a turn that fails for no reason that the runtime knows."""
UNEXPECTED_MESSAGE = "an unexpected error ended the turn; the orchestrator's log has its details"


def failed_outcome(error: Exception, code: str = UNEXPECTED) -> Failed:
    """`code` is used for errors that have none of their own; the message is shown to the user.

    Of an unexpected error, the user is shown nothing of its text, which can hold internals.
    """
    match error:
        case ModelError(failure=failure):
            detail = failure.detail
            if detail is not None:
                detail = process_redactor().without_known(detail)
            return Failed(failure.code, failure.message, detail)
        case InDoubtError(failure=failure):
            return failure
        case StorageUsedUpError():
            return STORAGE_USED_UP
        case MessageTooLargeError():
            return EVENT_TOO_LARGE
        case HookError():
            return Failed("HOOK_FAILED", str(error))
        case CallLimitError():
            return Failed("CALL_LIMIT", str(error))
        case _ if code == UNEXPECTED:
            return Failed(UNEXPECTED, UNEXPECTED_MESSAGE)
        case _:
            return Failed(code, error_text(error))


def suspended_outcome(journal: TurnJournal, cancelled: asyncio.CancelledError) -> Suspended:
    """The outcome of a cancellation that means that the turn waits for the user.

    Raises the cancellation again if it came from outside, and what a write of the journal raised.
    """
    if not journal.suspended or _cancelled_from_outside():
        raise cancelled
    journal.raise_error()
    return Suspended()


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
