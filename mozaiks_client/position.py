"""A client's position in a chat: what it has received, and what a new connection repeats of it."""

from contracts.wire.frames import HistoryData, PrintData
from mozaiks_client.frames import Frame, parse_all


class Position:
    """Passes each frame of a chat on once, in order, across any number of connections.

    One event may make several frames, and a connection may end between them: the next connection
    asks for the last event again (`after`), and those of its frames that were received are skipped.
    """

    def __init__(self, after: int = 0) -> None:
        self._after = after
        self._seq = after
        self._frames = 0  # received of event `_seq`
        self._repeated = 0  # frames of event `_seq` on this connection
        self._call: tuple[int, int, str] | None = None
        self._text = 0  # characters of `_call`

    @property
    def seq(self) -> int:
        """The newest event that was received."""
        return self._seq

    @property
    def after(self) -> int:
        """The cursor for the next connection."""
        return max(self._after, self._seq - 1)

    def connected(self) -> None:
        self._repeated = 0

    @property
    def is_start(self) -> bool:
        """Whether nothing was received, and no cursor was given."""
        return self._after == self._seq == 0

    def take_all(self, frame: Frame) -> list[Frame]:
        """What is new of a frame, and of those that a history has."""
        if isinstance(frame.data, HistoryData):
            if self.is_start:
                self._after = frame.data.first_sequence - 1
            frames = [frame, *parse_all(frame.data.frames)]
        else:
            frames = [frame]
        return [new for one in frames if (new := self.take(one)) is not None]

    def take(self, frame: Frame) -> Frame | None:
        """The frame, or its part, that is new; none where nothing is."""
        if isinstance(frame.data, PrintData):
            return self._text_of(frame, frame.data)
        if frame.seq is None or frame.type == "chat.resume_boundary":
            return frame
        if frame.seq < self._seq or frame.seq <= self._after:
            return None
        if frame.seq > self._seq:
            self._seq, self._frames, self._repeated = frame.seq, 0, 0
        self._repeated += 1
        if self._repeated <= self._frames:
            return None
        self._frames = self._repeated
        return frame

    def _text_of(self, frame: Frame, chunk: PrintData) -> Frame | None:
        call = (chunk.turn, chunk.call, chunk.runner)
        if call != self._call:
            self._call, self._text = call, 0
        fresh = chunk.content[max(self._text - chunk.offset, 0) :]
        if chunk.offset > self._text or not fresh:
            return frame if fresh else None
        offset, self._text = self._text, self._text + len(fresh)
        if offset == chunk.offset:
            return frame
        data = chunk.model_copy(update={"content": fresh, "offset": offset})
        return frame.model_copy(update={"data": data})
