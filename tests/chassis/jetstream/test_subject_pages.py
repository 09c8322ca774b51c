"""Subjects of a stream are listed page by page, and none is left out while others come and go."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.gateway import JetStreamGateway

PAGE = 3


class Stub(DirectReader):
    """A stream whose leader answers with PAGE subjects, and whose subjects change after each answer."""

    def __init__(self, stored: set[str], change: Callable[[set[str]], None]) -> None:
        super().__init__(Client())
        self._stored = stored
        self._change = change

    async def _ask(
        self, api: str, query: Mapping[str, object], request_seconds: float = 0
    ) -> dict[str, Any]:
        del api, request_seconds
        offset, every = int(str(query["offset"])), sorted(self._stored)
        page = dict.fromkeys(every[offset : offset + PAGE], 1)
        self._change(self._stored)
        return {"state": {"subjects": page}, "total": len(every)}


async def listed(reader: DirectReader) -> list[str]:
    return [one async for page in reader.subject_pages("S", ">") for one in page]


@given(
    kept=st.sets(st.text("ab", min_size=1, max_size=5), max_size=25),
    others=st.sets(st.text("ab", min_size=1, max_size=5), max_size=25),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 24)), max_size=40),
)
async def test_what_stays_is_listed_once_and_in_order_whatever_else_changes(
    kept: set[str], others: set[str], changes: list[tuple[bool, int]]
) -> None:
    changing = sorted(others - kept)
    left = list(changes)

    def change(stored: set[str]) -> None:
        for adds, number in (left.pop(0) for _ in range(min(4, len(left)))):
            if number < len(changing):
                (stored.add if adds else stored.discard)(changing[number])

    found = await listed(Stub(kept | others, change))
    assert found == sorted(set(found))
    assert kept <= set(found)


@pytest.mark.broker
async def test_the_objects_of_a_store_are_named_while_they_are_removed(
    gateway: JetStreamGateway,
) -> None:
    files = await gateway.js.object_store(subjects.ATTACHMENTS)
    key = ChatKey(AppId("acme"), ChatId("chat with files"))
    names = {subjects.attachment_key(key, f"att_{number}") for number in range(5)}
    for name in names:
        await files.put(name, b"a file")
    removed = {
        name
        async for name in gateway.purger.object_names(subjects.ATTACHMENTS)
        if name in names and await gateway.purger.remove_object(subjects.ATTACHMENTS, name)
    }
    assert removed == names
    left = {one async for one in gateway.purger.object_names(subjects.ATTACHMENTS)}
    assert not left & names
