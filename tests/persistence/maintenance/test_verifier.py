"""Read models trail a running log: what they were to show at the first look, they show at the second."""

from typing import cast

import pytest

from contracts.catalogue import ChatSummary
from contracts.event_log import Head
from contracts.ids import ChatKey, StreamSeq, UserId
from services.chassis.jetstream.event_log import Place
from services.persistence.chat_summaries import ChatSummaryBucket
from services.persistence.domain.projection import advance, summary_of
from services.persistence.maintenance import verifier
from services.persistence.maintenance.sources import ChatSources, LoggedChat
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.maintenance.verifier import Verifier
from services.persistence.store.interface import Store
from services.persistence.store.memory import MemoryStore
from tests.persistence.story import KEY, archived_events, decisions_of, interview
from tests.persistence.test_projector import MemoryValues


async def keep(store: Store, events: int) -> None:
    known = archived_events(decisions_of(interview())[:events])
    made = advance(None, known)
    assert made is not None
    await store.archive(known)
    await store.save([made])


class Announced:
    """The summary of the session that is there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, key: ChatKey, user: UserId) -> ChatSummary | None:
        del user
        return summary_of((await self._store.sessions([key]))[key])


class Growing(ChatSources):
    """A log that is longer each time, and read models that follow it so far."""

    def __init__(self, store: Store, lengths: list[int], follow: list[int]) -> None:
        self._store = store
        self._lengths = lengths
        self._follow = follow

    async def is_aged_out(self, key: ChatKey) -> bool:
        del key
        return False

    async def logged(self, key: ChatKey) -> LoggedChat:
        del key
        events = archived_events(decisions_of(interview())[: self._lengths.pop(0)])
        if self._follow:
            await keep(self._store, self._follow.pop(0))
        head: Head = events[-1].stored.head
        return LoggedChat(tuple(events), Place(StreamSeq(head.seq), head), ())


@pytest.mark.parametrize(
    ("lengths", "follow", "differences"), [([8, 12], [8], 0), ([8], [], 0), ([8, 12], [7], 4)]
)
async def test_lagging_is_no_difference_if_the_read_model_catches_up(
    lengths: list[int],
    follow: list[int],
    differences: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifier, "LAG_SECONDS", 0)
    store = MemoryStore()
    await keep(store, 6 if follow else 8)
    sources = Growing(store, lengths, follow)
    values = ValueArchive(store, MemoryValues())
    found = Verifier(store, sources, cast(ChatSummaryBucket, Announced(store)), print, values)
    assert len((await found.chat(KEY))[1]) == differences
    assert sources._lengths == []
