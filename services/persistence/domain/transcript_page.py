"""Cuts pages from transcripts: by number of messages, by bytes, and by what the user may see."""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass

from contracts.ids import AgentName
from contracts.lookups import MessageCursor
from contracts.rewinds import DroppedRange, is_dropped
from contracts.transcript import CalledFunction, MessageToolCall, TranscriptMessage, groups
from services.persistence.store.interface import Message

BYTES_PER_CHAR = 8
"""More than JSON needs for any character, escaped or not."""


@dataclass(frozen=True, slots=True)
class PageLimits:
    """The most messages and the most bytes, as JSON, of one page."""

    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """Messages in the order of their events, as many as a page may need; `more` if others follow."""

    messages: tuple[Message, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in strict order, and the cursor of the next page; None at the end."""

    messages: tuple[TranscriptMessage, ...]
    next: MessageCursor | None


async def counting(
    messages: AsyncIterator[Message], dropped: Sequence[DroppedRange]
) -> AsyncIterator[Message]:
    """The messages that were not rewound."""
    async for message in messages:
        if not is_dropped(dropped, message.seq):
            yield message


async def read_window(messages: AsyncIterator[Message], limits: PageLimits) -> Window:
    """Reads no further than a page needs: up to the beginning of a group that is not part of it."""
    found: list[Message] = []
    size = 0
    async for message in messages:
        found.append(message)
        size += size_of(message)
        full = len(found) > limits.messages or size > limits.bytes
        if full and len(list(groups(found))) > 1:
            return Window(tuple(found), more=True)
    return Window(tuple(found), more=False)


def cut_page(
    window: Window, cursor: MessageCursor, limits: PageLimits, agents: Collection[AgentName]
) -> Page:
    """The page at a cursor, of a window that begins with the cursor's group.

    A group (see `contracts.transcript.groups`) is only divided where it alone is larger than a page.
    `agents` are those whose messages are shown; empty: all. So a page may have fewer messages than
    its limit, or none, and yet not be the last.
    """
    page: list[TranscriptMessage] = []
    size = taken = 0
    whole = list(groups(window.messages))
    for place, group in enumerate(whole):
        offset = cursor.offset if place == 0 else 0
        rest = [_shortened(message, limits.bytes) for message in group[offset:]]
        fits = _that_fit(rest, limits.bytes - size)
        is_last = window.more and place == len(whole) - 1  # it may go on beyond the window
        if taken and (is_last or fits < len(rest) or taken + len(rest) > limits.messages):
            return Page(tuple(page), MessageCursor(seq=group[0].seq))
        size += sum(map(size_of, rest[:fits]))
        taken += fits
        page += [shown for one in rest[:fits] if (shown := visible(one, agents)) is not None]
        if fits < len(rest):
            return Page(tuple(page), MessageCursor(seq=group[0].seq, offset=offset + fits))
    return Page(tuple(page), None)


def _that_fit(messages: Sequence[Message], budget: int) -> int:
    """How many of the first messages have at most so many bytes together; at least one."""
    for place, message in enumerate(messages):
        budget -= size_of(message)
        if budget < 0:
            return max(1, place)
    return len(messages)


def visible(message: Message, agents: Collection[AgentName]) -> TranscriptMessage | None:
    """The message as a user may see it; None where nothing of it is for users."""
    if message.role != "user" and agents and message.agent not in agents:
        return None
    if message.hidden and not message.tool_calls:
        return None
    return TranscriptMessage(
        role=message.role,
        name=message.name,
        content=None if message.hidden else message.content,
        tool_calls=message.tool_calls,
        tool_call_id=message.tool_call_id,
        interrupted=message.interrupted,
    )


def size_of(message: Message) -> int:
    """Bytes as JSON."""
    return len(message.model_dump_json())


def _shortened(message: Message, limit: int) -> Message:
    """The message, its texts cut where it alone would be larger than the limit."""
    if (size := size_of(message)) <= limit:
        return message
    cut = f"… [cut: {size} bytes in all]"
    content, calls = message.content, message.tool_calls
    return message.model_copy(
        update={
            "content": None if content is None else content[: limit // 2 // BYTES_PER_CHAR] + cut,
            "tool_calls": None if calls is None else tuple(_without_arguments(calls, limit // 2)),
        }
    )


def _without_arguments(calls: Iterable[MessageToolCall], limit: int) -> Iterable[MessageToolCall]:
    """The calls, their arguments emptied as far as they are larger than the limit together."""
    for call in calls:
        limit -= len(call.function.arguments) * BYTES_PER_CHAR
        if limit >= 0:
            yield call
        else:
            function = CalledFunction(name=call.function.name, arguments="{}")
            yield MessageToolCall(id=call.id, function=function)
