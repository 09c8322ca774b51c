"""The text of the model call that is still being spoken, put together from its chunks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from contracts.ids import AgentName, RunnerId
from contracts.live import TextStreamed


class Call(NamedTuple):
    """One model call of a chat; later calls compare greater."""

    turn: int
    call: int


@dataclass(frozen=True, slots=True)
class Speech:
    """What has been heard of a call, from its first character on.

    `overruled` are the runners whose attempt another one has replaced: their stragglers are noise.
    """

    call: Call
    agent: AgentName
    runner: RunnerId
    text: str
    overruled: frozenset[RunnerId] = frozenset()


class MissedTextError(Exception):
    """A chunk begins beyond what was heard: something in between is missing."""


def call_of(chunk: TextStreamed) -> Call:
    return Call(chunk.turn, chunk.call)


def hear(speech: Speech | None, chunk: TextStreamed) -> Speech | None:
    """The speech after one more chunk; the same object where it says nothing new.

    Raises MissedTextError.
    """
    if speech is None or call_of(chunk) > speech.call:
        return _begun(chunk, frozenset())
    if call_of(chunk) < speech.call or chunk.runner in speech.overruled:
        return speech
    if chunk.runner != speech.runner:
        return _begun(chunk, speech.overruled | {speech.runner})
    heard = len(speech.text)
    if chunk.offset > heard:
        raise MissedTextError
    fresh = chunk.text[heard - chunk.offset :]
    return replace(speech, text=speech.text + fresh) if fresh else speech


def _begun(chunk: TextStreamed, overruled: frozenset[RunnerId]) -> Speech:
    if chunk.offset > 0:
        raise MissedTextError
    return Speech(call_of(chunk), chunk.agent, chunk.runner, chunk.text, overruled)


def heard_of(call: Call, chunks: Iterable[TextStreamed]) -> Speech | None:
    """The speech of one call out of everything that was streamed; what has a hole is left out."""
    speech: Speech | None = None
    for chunk in chunks:
        if call_of(chunk) == call:
            try:
                speech = hear(speech, chunk)
            except MissedTextError:
                continue
    return speech


def unheard(before: Speech | None, now: Speech | None) -> TextStreamed | None:
    """What someone who heard `before` still has to hear: a tail, or all of it from the start."""
    if now is None or now == before:
        return None
    continued = before is not None and (before.call, before.runner) == (now.call, now.runner)
    offset = len(before.text) if before is not None and continued else 0
    if continued and len(now.text) <= offset:
        return None
    return TextStreamed(
        turn=now.call.turn,
        call=now.call.call,
        agent=now.agent,
        runner=now.runner,
        offset=offset,
        text=now.text[offset:],
    )
