"""The text that a model streams, as far as it is shown: each character once."""

import re

from contracts.wire.frames import PrintData

_CONTROL_CHARACTERS = dict.fromkeys({*range(32), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")}, "�")
_FENCE = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)


def printable(text: str) -> str:
    """The text without characters that would control the terminal."""
    return text.replace("\r\n", "\n").translate(_CONTROL_CHARACTERS)


class StreamedText:
    """The message that is being streamed; none before its first chunk and after its end."""

    def __init__(self) -> None:
        self._text = ""
        self._stream: tuple[str, int, int] | None = None

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    def add(self, chunk: PrintData) -> bool:
        """Whether the chunk begins a message, or begins it anew."""
        stream = (chunk.runner, chunk.turn, chunk.call)
        begins = chunk.offset == 0 or stream != self._stream
        self._text = chunk.content if begins else self._text + chunk.content
        self._stream = stream
        return begins

    def finish(self, text: str) -> str | None:
        """What of a whole message was not streamed; None where all of it is still to be shown."""
        rest = text[len(self._text) :] if self.is_open and text.startswith(self._text) else None
        if rest is not None:
            self._stream = None
        return rest

    def interrupt(self) -> bool:
        """Whether a message was being streamed; it is not continued."""
        interrupted, self._stream = self.is_open, None
        return interrupted


def complete_blocks(markdown: str) -> tuple[str, str]:
    """The part of a growing Markdown text that no further text changes, and the rest.

    Parts end at an empty line that is in no fenced block.
    """
    end = len(markdown)
    while (end := markdown.rfind("\n\n", 0, end)) > 0:
        if len(_FENCE.findall(markdown, 0, end)) % 2 == 0:
            return markdown[: end + 2], markdown[end + 2 :]
    return "", markdown
