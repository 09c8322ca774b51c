"""The view of any chat, at most one read of its newest events away."""

import logging
from collections import OrderedDict

from contracts.codec import Fact, UnknownEventTypeError, UnreadableMessageError, open_event
from contracts.envelope import Envelope
from contracts.events.chat import AttachmentUploaded
from contracts.events.human import UiToolRequested
from contracts.ids import ChatKey, StreamSeq
from services.chassis.bus import Bus, Stored
from services.transport.chatview import ChatView, begin, see
from services.transport.feed import Seen

log = logging.getLogger(__name__)

KEPT = 512
"""Chats whose view is remembered; any other is folded again from its beginning."""
KEPT_BYTES = 16 * 1024 * 1024
"""Of the messages whose contents these views hold: a component's payload may be a megabyte."""
VIEW_BYTES = 1024
"""What a view counts beside these contents."""


class Views:
    """Folds chats on demand and remembers how far it got."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kept: OrderedDict[ChatKey, tuple[StreamSeq, ChatView, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def of(self, key: ChatKey) -> ChatView | None:
        """The chat as the log has it now; none where there is no such chat.

        Raises UnavailableError.
        """
        position, view, size = self._kept.get(key, (StreamSeq(0), None, VIEW_BYTES))
        async for stored in self._bus.read(key, after=position):
            found = read(stored)
            position, view = stored.position, _folded(view, found)
            size += len(stored.data) if _is_held(found) else 0
        if view is None:
            return None
        self._keep(key, position, view, size)
        return view

    def _keep(self, key: ChatKey, position: StreamSeq, view: ChatView, size: int) -> None:
        self._drop(key)
        self._kept[key] = (position, view, size)
        self._bytes += size
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: ChatKey) -> None:
        _, _, size = self._kept.pop(key, (None, None, 0))
        self._bytes -= size


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


def _is_held(found: Seen | None) -> bool:
    """Whether a view holds on to contents of the event, for as long as it is remembered."""
    return found is not None and isinstance(found.event, UiToolRequested | AttachmentUploaded)


def _folded(view: ChatView | None, found: Seen | None) -> ChatView | None:
    if found is None or found.event is None:
        return view
    fact = Fact(found.envelope, found.event)
    return begin(fact) if view is None else see(view, fact)
