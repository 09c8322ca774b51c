"""When streamed text is published: slow text at once, fast text merged into fewer deltas. Pure."""

from dataclasses import dataclass, replace
from typing import Self

WINDOW_SECONDS = 0.016
"""One frame of a screen at 60 Hz: a user cannot see more deltas of one text."""
BUSY_WINDOW_SECONDS = 0.1
"""The longest window in a busy process, where everything else waits as long."""
BUSY_ROUNDS = 4
"""A chunk waits for about so many rounds of the event loop on its way from the model to the network."""
WORTH_CHUNKS = 2
"""Chunks wait if so many more are expected within the window: else they are delayed for nothing."""
MAX_CHARS = 4096
"""Text of this length does not wait."""


@dataclass(frozen=True, slots=True)
class TextPacing:
    """When the text of one model call is published next; times are seconds of one clock.

    The first chunk is published at once, and so is every chunk of a text that is slow: a token is
    delayed only where others come right after it. Chunks of a fast text are merged within a window
    after the last publication. `gap` is the time between two chunks, `loop_round` that of a round of
    the event loop: the busier the process, the longer the window.
    """

    published_at: float | None = None
    arrived_at: float | None = None
    gap: float = 0.0
    loop_round: float = 0.0

    def after_chunk(self, now: float) -> Self:
        """After a chunk arrived. Half of each new duration counts, as single ones vary."""
        gap = self.gap if self.arrived_at is None else (self.gap + now - self.arrived_at) / 2
        return replace(self, arrived_at=now, gap=gap)

    def due(self, now: float, waiting_chars: int) -> float:
        """When the text that waits is to be published; `now` or earlier: at once."""
        if self.published_at is None or waiting_chars >= MAX_CHARS:
            return now
        window = max(WINDOW_SECONDS, min(BUSY_ROUNDS * self.loop_round, BUSY_WINDOW_SECONDS))
        return now if WORTH_CHUNKS * self.gap > window else self.published_at + window

    def after_publication(self, now: float) -> Self:
        """After everything that waited was published."""
        return replace(self, published_at=now)

    def after_loop_round(self, seconds: float) -> Self:
        """After a round of the event loop."""
        return replace(self, loop_round=(self.loop_round + seconds) / 2)
