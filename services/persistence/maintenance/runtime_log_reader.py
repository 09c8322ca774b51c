"""Reads the runtime log of an app or of a chat, page by page."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from contracts.ids import AppId, ChatId
from contracts.runtime_log import ModelCall
from services.persistence.store.interface import PAGE, EffectPlace, Store, TimeSpan, place_of_call

ALWAYS = TimeSpan(datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


async def all_model_calls(
    store: Store, app: AppId, chat: ChatId | None = None, span: TimeSpan = ALWAYS
) -> AsyncIterator[ModelCall]:
    """The model calls in the order in which they ended. Raises StoreUnavailableError."""
    after: EffectPlace | None = None
    while True:
        page = await store.model_calls(app, chat, span, after, PAGE)
        for call in page:
            yield call
        if len(page) < PAGE:
            return
        after = place_of_call(page[-1])
