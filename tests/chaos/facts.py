"""All data of a finished run, as input of the audit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from json import dumps
from typing import Any, Literal

from contracts.codec import Fact
from contracts.envelope import Envelope
from contracts.event_log import StoredEvent
from contracts.ids import ChatKey
from tests.chaos.processes import Ending
from tests.chaos.schedule import Fault

SHOWN = frozenset({"seq", "type", "version", "category", "time", "actor", "cause", "body"})
"""What the frame `chat.event` holds of an event's envelope."""


@dataclass(frozen=True, slots=True)
class Logged:
    """An event of a chat's log; `stored` is when JetStream took it, in seconds of Unix time."""

    event: StoredEvent
    position: int
    stored: float

    @property
    def fact(self) -> Fact | None:
        known = self.event.event
        return None if known is None else Fact(self.event.envelope, known)


@dataclass(frozen=True, slots=True)
class Shown:
    """An event as a watcher received it; `digest` is that of the frame's data."""

    seq: int
    digest: str


@dataclass(frozen=True, slots=True)
class Watcher:
    """One viewer of a chat: what it received over all its connections, in order of arrival.

    `goal` is the seq that it should have come to, as its chat's user saw it.
    """

    chat: ChatKey
    name: str
    shown: tuple[Shown, ...]
    goal: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request of a user that was accepted.

    `what` is the question's id for an answer, the text for a message, empty else. `first_refused`
    says that the first try was refused though nothing had been tried before.
    """

    chat: ChatKey
    kind: Literal["start", "answer", "message", "cancel"]
    what: str = ""
    first_refused: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """The counted tool was entered: by which process, when (Unix time)."""

    key: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Done:
    """A fault as it was executed: `target` is its actual target, `pid` the process."""

    fault: Fault
    target: str
    pid: int
    began: float
    ended: float
    chats: int
    """In flight when it began."""
    trouble: str = ""
    """Why it could not be done, or ended, as planned."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message in DEAD_LETTERS."""

    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What was found after healing; text where tools of the product have compared."""

    logs: Mapping[ChatKey, tuple[Logged, ...]] = field(default_factory=dict)
    not_counted: tuple[str, ...] = ()
    """Messages in EVENTS that are not events of their chat, and why."""
    watchers: tuple[Watcher, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    executions: tuple[Execution, ...] = ()
    done: tuple[Done, ...] = ()
    endings: tuple[Ending, ...] = ()
    commands_left: tuple[str, ...] = ()
    """Subjects of commands that are still unacknowledged."""
    letters: tuple[Letter, ...] = ()
    not_ready: tuple[str, ...] = ()
    """What did not become ready after healing, and why."""
    verified: tuple[str, ...] = ()
    """What `services.persistence.verify` says of archive, read models and chat lists."""
    audited: tuple[str, ...] = ()
    """What `services.orchestrator.audit` says of chats and their owners' messages."""
    metrics: tuple[str, ...] = ()
    tracebacks: Mapping[str, int] = field(default_factory=dict)
    """How many there are in the log of each service: for information, not a violation."""


def digest_of(data: Mapping[str, Any]) -> str:
    """Of what a frame shows of an event, whatever the order of its fields."""
    return sha256(dumps(data, sort_keys=True).encode()).hexdigest()


def shown_as(envelope: Envelope) -> Shown:
    """The event as each watcher must receive it."""
    data = envelope.model_dump(mode="json", include=set(SHOWN))
    return Shown(envelope.seq, digest_of(data))
