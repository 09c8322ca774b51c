"""The view of any chat, at most one read of its newest events away."""

import logging
from collections import OrderedDict

from contracts.codec import Fact, UnknownEventTypeError, UnreadableMessageError, open_event
from contracts.envelope import Envelope
from contracts.ids import ChatKey, StreamSeq
from services.chassis.bus import Bus, Stored
from services.transport.chatview import ChatView, begin, see
from services.transport.feed import Seen

log = logging.getLogger(__name__)

KEPT = 512
"""Chats whose view is remembered; any other is folded again from its beginning."""


class Views:
    """Folds chats on demand and remembers how far it got."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kept: OrderedDict[ChatKey, tuple[StreamSeq, ChatView]] = OrderedDict()

    async def of(self, key: ChatKey) -> ChatView | None:
        """The chat as the log has it now; none where there is no such chat.

        Raises UnavailableError.
        """
        position, view = self._kept.get(key, (StreamSeq(0), None))
        async for stored in self._bus.read(key, after=position):
            position, view = stored.position, _folded(view, read(stored))
        if view is None:
            return None
        self._kept[key] = (position, view)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return view


def read(stored: Stored) -> Seen | None:
    """A stored event as far as this release can read it; none where it is no event at all."""
    try:
        return seen(stored.envelope())
    except UnreadableMessageError as broken:
        log.warning("an unreadable event is passed by", extra={"why": str(broken)})
        return None


def seen(envelope: Envelope) -> Seen:
    try:
        return Seen(envelope, open_event(envelope))
    except UnknownEventTypeError:
        return Seen(envelope, None)
    except UnreadableMessageError as broken:
        log.warning("an unreadable body is passed by", extra={"why": str(broken)})
        return Seen(envelope, None)


def _folded(view: ChatView | None, found: Seen | None) -> ChatView | None:
    if found is None or found.event is None:
        return view
    fact = Fact(found.envelope, found.event)
    return begin(fact) if view is None else see(view, fact)
