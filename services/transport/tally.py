"""What this process has seen pass by, since it began."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from contracts.envelope import Envelope

_NAMES = {"runtime": "runtime", "ui": "ui_tool", "business": "business"}
"""The categories as the original counted them."""


@dataclass(slots=True)
class Tally:
    """Events of the chats that somebody here watches; each counts once, however many watch it."""

    by_category: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    """Messages that are no event of such a chat, and what was streamed that cannot be read."""

    def note(self, envelope: Envelope) -> None:
        self.by_category[_NAMES[envelope.category]] += 1

    def told(self) -> dict[str, Any]:
        business = self.by_category["business"]
        return {
            "events_processed": self.by_category.total(),
            "events_failed": self.rejected,
            "events_by_category": {name: self.by_category[name] for name in _NAMES.values()},
            "custom_events_emitted": business,
            "custom_events_by_type": {"business.logged": business} if business else {},
        }
