"""The text of the open model call, assembled from its streamed chunks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from contracts.deltas import TextStreamed
from contracts.ids import RunnerId


class CallId(NamedTuple):
    """One model call of a chat; later calls compare greater."""

    turn: int
    call: int


@dataclass(frozen=True, slots=True)
class TextPosition:
    """How much of the text of a call somebody has: `length` characters of the attempt of `runner`.

    `replaced_runners` are those whose attempt another runner replaced: their late chunks are ignored.
    """

    call: CallId
    runner: RunnerId
    length: int
    replaced_runners: frozenset[RunnerId] = frozenset()

    def continues(self, earlier: "TextPosition | None") -> bool:
        """Whether it is a position in the same text."""
        return earlier is not None and (earlier.call, earlier.runner) == (self.call, self.runner)


class MissingTextError(Exception):
    """A chunk starts after the end of the text: a chunk in between is missing."""


def call_id(chunk: TextStreamed) -> CallId:
    return CallId(chunk.turn, chunk.call)


def advance(position: TextPosition | None, chunk: TextStreamed) -> TextPosition:
    """The position after one more chunk; the same object where the chunk adds nothing.

    Raises MissingTextError.
    """
    call = call_id(chunk)
    if position is None or call > position.call:
        return _start(call, chunk, frozenset())
    if call < position.call or chunk.runner in position.replaced_runners:
        return position
    if chunk.runner != position.runner:
        return _start(call, chunk, position.replaced_runners | {position.runner})
    if chunk.offset > position.length:
        raise MissingTextError
    end = chunk.offset + len(chunk.text)
    if end <= position.length:
        return position
    return TextPosition(call, chunk.runner, end, position.replaced_runners)


def _start(call: CallId, chunk: TextStreamed, replaced: frozenset[RunnerId]) -> TextPosition:
    if chunk.offset > 0:
        raise MissingTextError
    return TextPosition(call, chunk.runner, len(chunk.text), replaced)


def new_text(before: TextPosition | None, after: TextPosition, chunk: TextStreamed) -> TextStreamed:
    """What a chunk that leads to `after` adds to `before`; the chunk itself where that is all of it."""
    length = before.length if before is not None and after.continues(before) else 0
    if length == chunk.offset:
        return chunk
    return chunk.model_copy(update={"offset": length, "text": chunk.text[length - chunk.offset :]})


class CallText:
    """The text of a call so far, from its first character on."""

    __slots__ = ("_agent", "_parts", "position")

    def __init__(self, first: TextStreamed) -> None:
        """Raises MissingTextError where the chunk is not the first one of its attempt."""
        self.position = _start(call_id(first), first, frozenset())
        self._agent = first.agent
        self._parts = [first.text]

    def append(self, chunk: TextStreamed) -> None:
        """Raises MissingTextError."""
        before = self.position
        after = advance(before, chunk)
        if after is before:
            return
        if not after.continues(before):
            self._agent, self._parts = chunk.agent, []
        self._parts.append(new_text(before, after, chunk).text)
        self.position = after

    @property
    def text(self) -> str:
        self._parts = ["".join(self._parts)]
        return self._parts[0]

    def after(self, sent: TextPosition | None) -> TextStreamed | None:
        """What is missing after `sent`: the end of the text, or all of it from the start; None if nothing."""
        position = self.position
        continued = sent is not None and position.continues(sent)
        offset = sent.length if sent is not None and continued else 0
        if continued and position.length <= offset:
            return None
        return TextStreamed(
            turn=position.call.turn,
            call=position.call.call,
            agent=self._agent,
            runner=position.runner,
            offset=offset,
            text=self.text[offset:],
        )


def text_of_call(call: CallId, chunks: Iterable[TextStreamed]) -> CallText | None:
    """The text of one call out of all streamed chunks; chunks after a gap are ignored."""
    text: CallText | None = None
    for chunk in chunks:
        if call_id(chunk) == call:
            try:
                if text is None:
                    text = CallText(chunk)
                else:
                    text.append(chunk)
            except MissingTextError:
                continue
    return text
