"""Reads Server-Sent Events from bytes as they arrive (WHATWG HTML, section 9.2)."""

from typing import NamedTuple


class SseEvent(NamedTuple):
    """`name` is that of the `event:` field, empty when there was none."""

    name: str
    data: bytes


class SseDecoder:
    """Decodes one stream, cut into pieces anywhere.

    More tolerant than the specification: an event at the end of the stream needs no empty line after
    it, and lines that belong to no event are collected in `other`, because a provider may send one
    JSON document in place of a stream.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._name = ""
        self._other: list[bytes] = []
        self._after_cr = False

    @property
    def other(self) -> bytes:
        """The lines that are none of an event stream."""
        return b"\n".join(self._other)

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The events that this piece completes."""
        if self._after_cr and piece[:1] == b"\n":
            piece = piece[1:]
            self._after_cr = False
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = piece.split(b"\n")
        self._line.append(first)
        if not others:
            return []
        lines = [b"".join(self._line), *others[:-1]]
        self._line = [others[-1]]
        return self._events(lines)

    def finish(self) -> list[SseEvent]:
        """The events that the end of the stream completes."""
        last, self._line = b"".join(self._line), []
        return self._events([last, b""] if last else [b""])

    def _events(self, lines: list[bytes]) -> list[SseEvent]:
        events: list[SseEvent] = []
        for line in lines:
            if line:
                self._read(line)
            elif self._data:
                events.append(SseEvent(self._name, b"\n".join(self._data)))
                self._data, self._name = [], ""
            else:
                self._name = ""
        return events

    def _read(self, line: bytes) -> None:
        name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        match name:
            case b"data":
                self._data.append(value.removeprefix(b" "))
            case b"event":
                self._name = value.removeprefix(b" ").decode(errors="replace")
            case (
                b"" | b"id" | b"retry"
            ):  # a comment, or of no use: a request is made again as a whole
                pass
            case _:
                self._other.append(line)
