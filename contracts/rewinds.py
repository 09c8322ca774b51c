"""Which events of a chat still count for its conversation after rewinds. Pure.

A rewind is one appended event, `chat.rewound`: from then on the events after its `to_seq` and before
itself do not count. Nothing is rewritten: they stay in the log, in its digests, in the totals and in
the effect ledger. A rewind goes to a position that counts itself, so that what is dropped never counts
again. Every reader of the log follows this rule.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.ids import Seq

REWOUND = "chat.rewound"
"""The type of the event."""
MAX_RANGES = 1000
"""Stretches of a chat that may be dropped: every snapshot of the chat names them."""
KEPT_TYPES = frozenset(
    {
        "business.logged",
        "chat.archived",
        "chat.attachment_uploaded",
        "chat.command_given_up",
        "chat.deleted",
        "chat.forked",
        "chat.renamed",
        "chat.tool_code_changed",
        "chat.unarchived",
        "chat.undeleted",
        "run.claimed",
        "turn.usage_recorded",
        REWOUND,
    }
)
"""Events that count in any case: its place in lists, files, versions and usage are not part of the conversation."""


@dataclass(frozen=True, slots=True)
class DroppedRange:
    """The events after `after` and before `before`, the position of the rewind, do not count."""

    after: Seq
    before: Seq


def with_rewind(
    ranges: Sequence[DroppedRange], to_seq: Seq, rewind: Seq
) -> tuple[DroppedRange, ...]:
    """What is dropped after one more rewind, at position `rewind`; in order, none within another."""
    earlier = (one for one in ranges if one.before <= to_seq)
    return (*earlier, DroppedRange(to_seq, rewind))


def is_dropped(ranges: Sequence[DroppedRange], seq: Seq) -> bool:
    """Whether a position lies in what is dropped; an event of KEPT_TYPES counts there, too."""
    place = bisect_left(ranges, seq, key=lambda one: one.before)
    return place < len(ranges) and ranges[place].after < seq < ranges[place].before


def counts(ranges: Sequence[DroppedRange], seq: Seq, kind: str) -> bool:
    """Whether the event of type `kind` at a position counts."""
    return not ranges or kind in KEPT_TYPES or not is_dropped(ranges, seq)
