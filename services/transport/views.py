"""The view of any chat, at most one read of its newest events away."""

from collections import OrderedDict
from dataclasses import replace

from contracts.codec import Fact
from contracts.event_log import StoredEvent
from contracts.events.chat import AttachmentUploaded
from contracts.events.human import UiToolRequested
from contracts.ids import ChatKey
from services.chassis.bus import Bus
from services.chassis.event_log import START
from services.transport.chatview import ChatView, begin, see

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
        self._kept: OrderedDict[ChatKey, tuple[ChatView, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def of(self, key: ChatKey) -> ChatView | None:
        """The chat as the log has it now; none where there is no such chat.

        Raises UnavailableError.
        """
        view, size = self._kept.get(key, (None, VIEW_BYTES))
        place = START if view is None else view.place
        async for commit in self._bus.events.read(key, after=place):
            place = commit.place
            for one in commit.events:
                view = _folded(view, one)
                size += len(one.data) if _is_held(one) else 0
        if view is None:
            return None
        view = replace(view, place=place)
        self._keep(key, view, size)
        return view

    def _keep(self, key: ChatKey, view: ChatView, size: int) -> None:
        self._drop(key)
        self._kept[key] = (view, size)
        self._bytes += size
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: ChatKey) -> None:
        found = self._kept.pop(key, None)
        self._bytes -= 0 if found is None else found[1]


def _is_held(one: StoredEvent) -> bool:
    """Whether a view holds on to contents of the event, for as long as it is remembered."""
    return isinstance(one.event, UiToolRequested | AttachmentUploaded)


def _folded(view: ChatView | None, one: StoredEvent) -> ChatView | None:
    if one.event is None:
        return None if view is None else replace(view, last_seq=one.envelope.seq)
    fact = Fact(one.envelope, one.event)
    return begin(fact) if view is None else see(view, fact)
