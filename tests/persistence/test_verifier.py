"""Read models trail a running log: what they were to show at the first look, they show at the second."""

from typing import cast

import pytest

from contracts.catalogue import ChatSummary
from contracts.event_log import Head
from contracts.ids import ChatKey, StreamSeq, UserId
from services.chassis.event_log import Place
from services.persistence import verifier
from services.persistence.memory import MemoryStore
from services.persistence.projection import advance, summary_of
from services.persistence.sources import Logged, Sources
from services.persistence.store import Store
from services.persistence.summaries import Summaries
from services.persistence.verifier import Verifier
from tests.persistence.story import KEY, interview, kept, told


async def keep(store: Store, events: int) -> None:
    known = kept(told(interview())[:events])
    made = advance(None, known)
    assert made is not None
    await store.archive(known)
    await store.keep([made])


class Announced:
    """The summary of the session that is there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, key: ChatKey, user: UserId) -> ChatSummary | None:
        del user
        return summary_of((await self._store.sessions([key]))[key])


class Growing(Sources):
    """A log that is longer each time, and read models that follow it so far."""

    def __init__(self, store: Store, lengths: list[int], follow: list[int]) -> None:
        self._store = store
        self._lengths = lengths
        self._follow = follow

    async def logged(self, key: ChatKey) -> Logged:
        del key
        events = kept(told(interview())[: self._lengths.pop(0)])
        if self._follow:
            await keep(self._store, self._follow.pop(0))
        head: Head = events[-1].stored.head
        return Logged(tuple(events), Place(StreamSeq(head.seq), head), ())


@pytest.mark.parametrize(
    ("lengths", "follow", "differences"), [([8, 12], [8], 0), ([8], [], 0), ([8, 12], [7], 4)]
)
async def test_trailing_is_no_difference_as_long_as_it_follows(
    lengths: list[int],
    follow: list[int],
    differences: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifier, "TRAIL_SECONDS", 0)
    store = MemoryStore()
    await keep(store, 6 if follow else 8)
    sources = Growing(store, lengths, follow)
    found = Verifier(store, sources, cast(Summaries, Announced(store)), print)
    assert len((await found.chat(KEY))[1]) == differences
    assert sources._lengths == []
