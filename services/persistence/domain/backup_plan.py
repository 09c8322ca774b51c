"""What a backup has, in which order it is taken, and how old it is: pure functions."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from contracts import subjects

FORMAT = 1
DERIVED = frozenset(
    {
        subjects.DELTAS,
        subjects.LOOKUPS,
        *map(
            subjects.bucket_stream,
            (
                subjects.CHATS,
                subjects.PERF,
                subjects.TICKETS,
                subjects.ATTEMPTS,
                subjects.ANSWERS,
                subjects.SNAPSHOTS,
                subjects.WORKFLOWS,
            ),
        ),
    }
)
"""Streams that are not saved: what is in them is made again, is a cache, or lives for minutes."""
ARCHIVES = ("event_archive", "value_archive")
"""Collections of MongoDB that are saved; all others are made again from the events."""
_FIRST = (subjects.COMMANDS,)
_LAST = tuple(map(subjects.bucket_stream, (subjects.CHAT_KEYS, subjects.ERASURES)))

Kind = Literal["stream", "collection"]


class BackupFile(BaseModel):
    """A file of a backup, and what it was when it was taken.

    `entries` counts messages or documents. `config` and `state` are those of a stream.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind
    path: str
    taken_at: datetime
    entries: int
    size: int
    sha256: str
    config: dict[str, Any] = {}
    state: dict[str, Any] = {}


class Manifest(BaseModel):
    """What `manifest.json` says. It is written last: a folder without it is no backup."""

    model_config = ConfigDict(frozen=True)

    format: int
    layout: int
    began_at: datetime
    ended_at: datetime
    files: tuple[BackupFile, ...]

    @property
    def as_of(self) -> datetime:
        """From when the events are: everything that was acknowledged before is in the backup."""
        taken = [file.taken_at for file in self.files if is_of_events(file.name)]
        return min(taken, default=self.began_at)

    def of_kind(self, kind: Kind) -> Sequence[BackupFile]:
        return [file for file in self.files if file.kind == kind]


def is_of_events(stream: str) -> bool:
    """EVENTS, or one of the streams over which events are spread."""
    return stream == subjects.EVENTS or stream.startswith(f"{subjects.EVENTS}_")


def steps(streams: Collection[str]) -> list[tuple[Kind, str]]:
    """What is saved, in order.

    Commands come before events: one that was handled meanwhile is known by its id and changes
    nothing. What events refer to comes after them, and so does the archive, which has what has left
    the log. Erasures come last: a chat that was erased meanwhile is erased again.
    """
    saved = [name for name in sorted(streams) if name not in DERIVED and _is_ours(name)]
    events = [name for name in saved if is_of_events(name)]
    ends = (*_FIRST, *events, *_LAST)
    rest = [name for name in saved if name not in ends]
    first, last = ([name for name in part if name in saved] for part in (_FIRST, _LAST))
    order: list[tuple[Kind, str]] = [("stream", name) for name in (*first, *events)]
    order += [("collection", name) for name in ARCHIVES]
    return order + [("stream", name) for name in (*rest, *last)]


def _is_ours(name: str) -> bool:
    return is_of_events(name) or name in _OURS


_OURS = frozenset(
    {
        subjects.COMMANDS,
        subjects.DEAD_LETTERS,
        subjects.BUSINESS,
        subjects.BUDGETS,
        *map(
            subjects.bucket_stream,
            (subjects.BUDGET_LIMITS, subjects.CHAT_KEYS, subjects.ERASURES),
        ),
        *map(
            subjects.object_stream,
            (subjects.MANIFESTS, subjects.ATTACHMENTS, subjects.VALUES),
        ),
    }
)


def restored_config(config: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """A stream's configuration as it is restored: without its place in another cluster."""
    kept = {name: value for name, value in config.items() if name != "placement"}
    return {**kept, "num_replicas": replicas}
