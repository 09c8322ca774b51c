"""The differences between a stream and its definition, without undoing choices of its operator."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]
"""A stream's configuration as JetStream writes it in JSON.

Not nats-py's StreamConfig: that drops fields it does not know, so that an update built from it
would reset them.
"""

COMPRESSION_SET = "mozaiks-compression"
"""The key in a stream's metadata that says that its compression was set once: what it has since is
its operator's choice. Nothing else tells a chosen `none` from the one of an earlier release."""
_RAISED = ("num_replicas",)
_SWITCHED_ON = (
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_schedules",
    "allow_atomic",
    "deny_delete",
)
"""Set where the definition sets them; others that an operator has set remain."""
_FIXED = ("storage", "retention", "max_msgs_per_subject", "no_ack", "sealed", "mirror")
"""Reported, never changed: the server rejects it, or stored messages would be lost."""
_WITHOUT_SLOT = ("mozaiks.evt.*.*.*", "mozaiks.delta.*.*")
"""What the streams of earlier development versions republish."""
_WORKS_WITHOUT = ("num_replicas", "deny_delete", "compression")
"""Fields that a service can start without; the others decide what it can store and read."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A stream that does not exist. `reason`: why it could not be created, if that was attempted."""

    stream: str
    reason: str = ""

    def __str__(self) -> str:
        return f"stream {self.stream} is missing{_because(self.reason)}"


@dataclass(frozen=True, slots=True)
class Outdated:
    """A field that an update sets. `reason`: why the server rejected it, if that was attempted."""

    stream: str
    field: str
    found: object
    wanted: object
    reason: str = ""

    @property
    def change(self) -> str:
        """What the update did."""
        return f"{self.stream}.{self.field} from {_text(self.found)} to {_text(self.wanted)}"

    def __str__(self) -> str:
        values = f"{_text(self.found)}, {_text(self.wanted)} is needed"
        return f"{self.stream}.{self.field} is {values}{_because(self.reason)}"


@dataclass(frozen=True, slots=True)
class Fixed:
    """A field that no update may change: only the operator can recreate the stream."""

    stream: str
    field: str
    found: object
    wanted: object

    def __str__(self) -> str:
        values = f"{_text(self.found)} where {_text(self.wanted)} is defined"
        return f"{self.stream}.{self.field} is {values}, which an update cannot change"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stream of an earlier development version: its subjects had no slot, its messages one event."""

    stream: str

    def __str__(self) -> str:
        return (
            f"stream {self.stream} was created by an earlier development version and cannot be read: "
            "delete its streams, or give another NATS_URL or DATA_DIR"
        )


@dataclass(frozen=True, slots=True)
class NotSpread:
    """Events are in fewer streams than EVENT_STREAMS says: only a command moves them."""

    found: int
    wanted: int
    stream: str = "EVENTS"

    def __str__(self) -> str:
        return (
            f"events are in {self.found} of {self.wanted} streams: "
            f"`mozaiks streams spread {self.wanted}` moves them"
        )


Difference = Missing | Outdated | Fixed | Unreadable | NotSpread


def differences(wanted: Config, found: Config | None) -> list[Difference]:
    """How an existing stream (None: it does not exist) differs from its definition.

    Choices of its operator are not differences: limits of size, age and number, larger or smaller,
    more replicas, more subjects, description, metadata, placement, and compression once it was set.
    """
    stream = str(wanted["name"])
    if found is None:
        return [Missing(stream)]
    if (found.get("republish") or {}).get("src") in _WITHOUT_SLOT:
        return [Unreadable(stream)]
    outdated = [
        Outdated(stream, field, found.get(field), target)
        for field, target in _targets(wanted, found).items()
    ]
    fixed = [
        Fixed(stream, field, found.get(field), wanted.get(field))
        for field in _FIXED
        if (found.get(field) or None) != (wanted.get(field) or None)
    ]
    return [*outdated, *fixed]


def upgraded(found: Config, changes: Iterable[Outdated]) -> Config:
    """The whole configuration of an update: as found, except for the changes."""
    made = {change.field: change.wanted for change in changes}
    if compression := made.get("compression"):
        made["metadata"] = {**(found.get("metadata") or {}), COMPRESSION_SET: compression}
    return {**found, **made}


def prevents_work(difference: Difference) -> bool:
    """Whether a service that needs the stream has to wait until the difference is resolved."""
    match difference:
        case Missing() | Unreadable():
            return True
        case Outdated():
            return difference.field not in _WORKS_WITHOUT
        case Fixed() | NotSpread():
            return False


def _targets(wanted: Config, found: Config) -> dict[str, object]:
    """The fields to set, each with its value, in an order that is always the same."""
    targets: dict[str, object] = {}
    has = found.get("subjects") or []
    if new := [one for one in wanted.get("subjects") or [] if one not in has]:
        targets["subjects"] = [*has, *new]
    for field in _RAISED:
        if (found.get(field) or 0) < wanted.get(field, 0):
            targets[field] = wanted[field]
    for field in _SWITCHED_ON:
        if wanted.get(field) and not found.get(field):
            targets[field] = True
    if _needs_compression(wanted, found):
        targets["compression"] = wanted["compression"]
    if (republish := wanted.get("republish")) and not _same(republish, found.get("republish")):
        targets["republish"] = republish
    return targets


def _needs_compression(wanted: Config, found: Config) -> bool:
    was_set = COMPRESSION_SET in (found.get("metadata") or {})
    return "compression" in wanted and found.get("compression") in (None, "none") and not was_set


def _same(one: Config, other: Config | None) -> bool:
    fields = ("src", "dest", "headers_only")  # an absent one and false are the same
    return other is not None and all((one.get(f) or "") == (other.get(f) or "") for f in fields)


def _text(value: object) -> str:
    match value:
        case None:
            return "unset"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(map(str, value))
        case {"src": source, "dest": destination}:
            return f"{source} to {destination}"
        case _:
            return str(value)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
