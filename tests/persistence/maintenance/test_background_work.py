"""Work of persistence in the background: what is wrong with one chat or request stops no other."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from contracts.erasure import Erasure
from contracts.ids import AppId, ChatId
from services.persistence.domain.projection import advance
from services.persistence.maintenance.erasures import Erasures, ErasureWorker
from services.persistence.maintenance.retention import Retention
from services.persistence.settings import max_ages
from services.persistence.store.interface import Session
from tests.persistence.story import KEY, archived_events, decisions_of, hello

NOW = datetime(2026, 11, 27, tzinfo=UTC)


class OldChats:
    """A store with two chats; nothing is read of the first one."""

    async def all_sessions(self) -> AsyncIterator[Session]:
        for chat in ("odd", "plain"):
            key = KEY._replace(chat=ChatId(chat))
            update = advance(None, archived_events(decisions_of(hello(), key)))
            assert update is not None
            yield update.session


async def test_a_chat_that_cannot_be_read_keeps_no_other_in_nats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retention = Retention(
        cast("Any", OldChats()),
        cast("Any", None),
        cast("Any", None),
        max_ages("7"),
        lambda: NOW + timedelta(days=365),
    )
    looked_at: list[ChatId] = []

    async def remove(found: Session) -> int:
        looked_at.append(found.chat_id)
        if found.chat_id == "odd":
            raise ValueError("no event")
        return 17

    monkeypatch.setattr(retention, "chat", remove)
    assert await retention.round() == 17
    assert looked_at == ["odd", "plain"]


class Requests:
    """Two erasures that were asked for, of which the first cannot be carried out."""

    def __init__(self) -> None:
        self.carried_out: list[AppId] = []

    async def open(self) -> list[Erasure]:
        return [Erasure(app_id=AppId(app), requested_at=NOW) for app in ("odd", "plain")]

    async def carry_out(self, erasure: Erasure) -> None:
        if erasure.app_id == "odd":
            raise ValueError("no event")
        self.carried_out.append(erasure.app_id)

    async def erase_deleted(self) -> int:
        self.carried_out.append(AppId("deleted chats"))
        return 0


async def test_an_erasure_that_cannot_be_carried_out_keeps_no_other_from_it() -> None:
    requests = Requests()
    await ErasureWorker(cast("Erasures", requests)).round()
    assert requests.carried_out == ["plain", "deleted chats"]
