"""Deltas of a model call: merged, complete, in order, and published before what supersedes them."""

import asyncio

from contracts.deltas import Delta, TextStreamed
from services.orchestrator.agents.session.text_stream import (
    DEFAULT_OUTPUT_POLICY,
    OutputPolicy,
    TextStream,
)
from tests.orchestrator.agents.turn_harness import OPEN_TURN, MemoryJournal

WORDS = [f"word-{number} ü " for number in range(200)]


class DeltaJournal(MemoryJournal):
    """A journal that keeps whole deltas; publishing lets other tasks run."""

    def __init__(self) -> None:
        super().__init__()
        self.deltas: list[TextStreamed] = []
        self._more = asyncio.Event()

    async def has_shown(self, number: int) -> None:
        while len(self.deltas) < number:
            self._more.clear()
            await self._more.wait()

    async def show(self, delta: Delta) -> None:
        assert isinstance(delta, TextStreamed)
        await asyncio.sleep(0)
        self.deltas.append(delta)
        self._more.set()


def text_stream(
    policy: OutputPolicy = DEFAULT_OUTPUT_POLICY,
) -> tuple[TextStream, DeltaJournal]:
    journal = DeltaJournal()
    turn = OPEN_TURN.state.open_turn
    assert turn is not None
    stream = TextStream(turn, journal, policy)
    stream.start_call(0)
    return stream, journal


def assembled(deltas: list[TextStreamed]) -> str:
    """The text; every delta begins where the one before ended."""
    text = ""
    for delta in deltas:
        assert delta.offset == len(text)
        text += delta.text
    return text


async def test_the_first_chunk_is_published_at_once() -> None:
    stream, journal = text_stream()
    await stream.append("It ")
    await stream.append("rains.")
    assert [delta.text for delta in journal.deltas][:1] == ["It "]
    await stream.flush()
    assert assembled(journal.deltas) == "It rains."


async def test_a_burst_becomes_a_few_deltas_that_hold_every_character_once() -> None:
    stream, journal = text_stream()
    for word in WORDS:
        await stream.append(word)
    await stream.flush()
    assert assembled(journal.deltas) == "".join(WORDS)
    assert len(journal.deltas) < len(WORDS) / 4


async def test_text_that_waits_is_published_without_another_chunk() -> None:
    stream, journal = text_stream()
    await stream.append("It ")
    await stream.append("rains.")
    await journal.has_shown(2)
    assert assembled(journal.deltas) == "It rains."


async def test_chunks_that_arrive_while_a_publication_runs_keep_their_order() -> None:
    stream, journal = text_stream()
    for number, word in enumerate(WORDS):
        await stream.append(word)
        await asyncio.sleep(0.0005 * (number % 3))
    await stream.flush()
    assert assembled(journal.deltas) == "".join(WORDS)


async def test_flushing_twice_publishes_nothing_more() -> None:
    stream, journal = text_stream()
    await stream.append("It ")
    await stream.append("rains.")
    await stream.flush()
    before = list(journal.deltas)
    await stream.flush()
    assert journal.deltas == before


async def test_a_restarted_call_publishes_what_waited_and_begins_anew() -> None:
    stream, journal = text_stream()
    for word in ("It ", "snows"):
        await stream.append(word)
    await stream.restart()
    for word in ("It ", "rains."):
        await stream.append(word)
    await stream.flush()
    attempts = {delta.runner for delta in journal.deltas}
    assert attempts == {journal.runner, f"{journal.runner}.1"}
    first = [delta for delta in journal.deltas if delta.runner == journal.runner]
    second = [delta for delta in journal.deltas if delta.runner != journal.runner]
    assert (assembled(first), assembled(second)) == ("It snows", "It rains.")
    assert second[0].text == "It "  # at once


async def test_a_text_that_may_become_hidden_is_held_back_also_by_a_flush() -> None:
    stream, journal = text_stream(
        OutputPolicy(may_become_hidden=lambda text: "NEXT".startswith(text))
    )
    for chunk in ("NE", "X"):
        await stream.append(chunk)
    await stream.flush()
    assert journal.deltas == []
    await stream.append("!")
    assert assembled(journal.deltas) == "NEX!"
