"""Maps a chat's newest events to few large frames, for clients that ask for a tail."""

from collections.abc import Sequence
from typing import Literal

from contracts.event_log import StoredEvent
from contracts.events.turn import SELECTOR
from contracts.ids import Seq
from contracts.wire.frames import HistoryData
from services.transport.protocol import event_to_frames
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.frame_encoding import Frame, encode_bytes

MAX_EVENTS = 500
"""Events that a client may ask for when it opens a chat."""
PART_BYTES = 262_144
"""Size from which collected frames are sent; those of later events are the next part."""


class HistoryMapper:
    """Collects the frames of the history until its end; live events are mapped one by one."""

    is_shared = event_to_frames.is_shared
    map_event = staticmethod(event_to_frames.map_event)
    map_chunk = staticmethod(event_to_frames.map_chunk)
    map_report = staticmethod(event_to_frames.map_report)
    map_overdue = staticmethod(event_to_frames.map_overdue)

    def __init__(self, cursor: Seq) -> None:
        self._cursor = cursor
        self._encoded: list[bytes] = []
        self._bytes = 0
        self.is_complete = False

    def map_history(self, viewer: Viewer, stored: StoredEvent, view: ChatView) -> list[Frame]:
        encoded = [encode_bytes(one) for one in event_to_frames.map_event(viewer, stored, view)]
        self._encoded += encoded
        self._bytes += sum(map(len, encoded))
        return [self._part(view)] if self._bytes >= PART_BYTES else []

    def boundary(
        self, view: ChatView, last: Seq, replayed: int, mode: Literal["auto", "client"]
    ) -> list[Frame]:
        history = [self._part(view)] if mode == "auto" else []
        self.is_complete = True
        return history + event_to_frames.boundary(view, last, replayed, mode)

    def _part(self, view: ChatView) -> Frame:
        data = HistoryData(
            chat_id=view.chat_id,
            title=view.title,
            speaker=None if view.speaker == SELECTOR else view.speaker,
            total_tokens=view.totals.total_tokens,
            cost=view.totals.cost,
            first_sequence=self._cursor + 1,
            last_sequence=view.last_seq,
        )
        encoded: Sequence[bytes] = self._encoded
        self._cursor, self._encoded, self._bytes = view.last_seq, [], 0
        return Frame(data, view.last_updated_at, encoded_frames=tuple(encoded))
