"""Cuts pages of the effect ledger, and writes their cursors."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from contracts.ids import ChatKey, Seq
from services.persistence.store.interface import EffectPlace, EffectStart

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def cursor_of(place: EffectPlace) -> str:
    """The cursor of the page after this effect: its time in milliseconds, its chat and its event."""
    milliseconds = (place.time - _EPOCH) // timedelta(milliseconds=1)
    return f"{milliseconds}.{place.chat}.{place.seq}"


def place_of(cursor: str) -> EffectPlace:
    """The effect that a cursor names, which matches EFFECT_CURSOR_PATTERN."""
    milliseconds, _, rest = cursor.partition(".")
    chat, _, seq = rest.rpartition(".")
    time = _EPOCH + timedelta(milliseconds=int(milliseconds))
    return EffectPlace(time, chat, Seq(int(seq)))


def turns_by_chat(starts: Iterable[EffectStart]) -> dict[ChatKey, set[int]]:
    """The turns whose records have the effects that begin so."""
    turns: dict[ChatKey, set[int]] = {}
    for start in starts:
        turns.setdefault(start.key, set()).add(start.turn)
    return turns
