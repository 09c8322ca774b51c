"""Forks: at which positions a chat can be forked, and which chats hold the events before a fork. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.event_log import Head, StoredEvent
from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatForked,
    ChatStarted,
    Segment,
)
from contracts.events.turn import USER, SpeakerSelected, ToolDispatched, ToolReturned
from contracts.ids import ChatId, Seq, WorkflowName

MAX_SEGMENTS = 64
"""Chats that a fork may read its history from: forks of forks are limited by it."""


class ForkPositionError(ValueError):
    """A chat cannot be forked at this position; the text says why, for the user."""


@dataclass(frozen=True, slots=True)
class ForkPoint:
    """The position at which a chat is forked: the last event that the fork takes over.

    `waits_for_user` says that the chat certainly waits for a message of its user there: the fork has
    nothing to run.
    """

    head: Head
    workflow: WorkflowName
    waits_for_user: bool


def fork_point(message: Sequence[StoredEvent], seq: Seq) -> ForkPoint:
    """Where a fork at event `seq` begins: after the message of the log that holds the event.

    A message is one decision, all or none of it, so a position within it means its end. A fork does
    not take over the end of its origin: where the message ended the chat, the fork begins before that
    event and goes on with a message of the user. Raises ForkPositionError where the chat had ended
    before this message.
    """
    for one in message:
        match one.event:
            case ChatCompleted() | ChatFailed() | ChatCancelled():
                workflow = one.envelope.workflow_name
                return ForkPoint(one.before, workflow, waits_for_user=False)
            case ToolReturned(occasion="after_chat") | ToolDispatched(occasion="after_chat"):
                raise ForkPositionError(
                    f"the chat had ended before event {seq}: fork it at its last turn, or before"
                )
            case _:
                pass
    last = message[-1]
    return ForkPoint(
        last.head, last.envelope.workflow_name, waits_for_user=_waits_for_user(message)
    )


def _waits_for_user(message: Sequence[StoredEvent]) -> bool:
    """Whether the message alone shows that nothing is to be run after it.

    At the start of a chat lifecycle tools may be.
    """
    last = message[-1].event
    starts = any(isinstance(one.event, ChatStarted) for one in message)
    return isinstance(last, SpeakerSelected) and last.agent == USER and not starts


def segments_of(first: Event | None) -> tuple[Segment, ...]:
    """The segments that a chat reads before its own events, given its first event; mostly none."""
    return tuple(first.segments) if isinstance(first, ChatForked) else ()


def holder(chat: ChatId, segments: Sequence[Segment], seq: Seq) -> ChatId:
    """The chat in whose log event `seq` of a chat is, given the segments that the chat reads."""
    return next((one.chat_id for one in segments if seq <= one.last), chat)


def segments_before(chat: ChatId, segments: Sequence[Segment], seq: Seq) -> tuple[Segment, ...]:
    """The segments of a fork of `chat` at event `seq`, given those that `chat` reads itself.

    Flat, so that no reader follows one fork to the next. Raises ForkPositionError for too many.
    """
    kept = [one for one in segments if one.last < seq]
    found = (*kept, Segment(chat_id=holder(chat, segments, seq), last=seq))
    if len(found) > MAX_SEGMENTS:
        raise ForkPositionError(
            f"the chat is a fork of forks, {len(found) - 1} deep: the limit is {MAX_SEGMENTS - 1}"
        )
    return found
