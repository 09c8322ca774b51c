"""Index of one chat's log: the stream positions of some of its events, to read its tail at once."""

from array import array
from bisect import bisect_right

from contracts.ids import Seq, StreamSeq

STEP = 32
"""Events between two positions that are kept; one takes 16 bytes."""


class LogPositions:
    """Positions of messages that a reader of the whole log found to be valid.

    It only grows, so views of one chat share it.
    """

    __slots__ = ("_pairs",)

    def __init__(self) -> None:
        self._pairs = array("Q")  # the first event of a message, its position, and so on

    def __len__(self) -> int:
        return len(self._pairs) // 2

    def add(self, first: Seq, position: StreamSeq) -> None:
        """Keep the position of a message, if the last one that is kept is far before it.

        `first` is the first event of the message.
        """
        if not self._pairs or first >= self._pairs[-2] + STEP:
            self._pairs.extend((first, position))

    def at_or_before(self, seq: Seq) -> StreamSeq | None:
        """The position of a message that holds event `seq` or earlier ones; None if none is known."""
        place = bisect_right(range(len(self)), seq, key=lambda pair: Seq(self._pairs[2 * pair]))
        return StreamSeq(self._pairs[2 * place - 1]) if place else None
