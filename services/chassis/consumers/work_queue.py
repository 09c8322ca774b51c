"""A durable consumer whose messages are handled one by one, several at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.chassis.consumers.fair_queue import Shares

MAX_ACK_PENDING = 10_000
"""Messages of a queue that may be unacknowledged. Beyond that nothing is delivered, whosever it is."""
MAX_ACK_PENDING_OF_APPS = 100_000
"""The same of a queue that is fair to apps: its processes hold messages for their app's turn, and
return some of them for a while. The server keeps about 100 bytes of each."""


@dataclass(frozen=True, slots=True)
class Fairness:
    """How the apps of a queue share a process.

    `max_open` messages may be in progress, with and without a slot; `max_held` more are taken from the
    queue and wait for their app's turn. One app may have `share` of the slots and of `max_open`. An app
    without a weight has weight 1.
    """

    max_open: int
    max_held: int
    share: float
    weights: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A durable consumer of a work queue.

    `concurrency` is the number of slots of one process. Without `fairness` a message holds one from
    its fetch to its end, and the messages of a queue are handled in their order, whosever they are.
    `ack_wait_seconds` is how soon the messages of a crashed process are redelivered. After
    `max_attempts` a message is dead-lettered. An attempt is a handler that raises or, from the
    second delivery on, a process that crashes; clean stops and unavailable servers do not count.
    """

    stream: str
    subject: str
    durable: str
    concurrency: int
    ack_wait_seconds: float = 3.0
    max_attempts: int = 20
    fairness: Fairness | None = None

    @property
    def slot_shares(self) -> Shares:
        """How apps share the slots of one process."""
        fair = self.fairness
        if fair is None:
            return Shares(self.concurrency, self.concurrency)
        return Shares.of(self.concurrency, fair.share, fair.weights)

    @property
    def open_shares(self) -> Shares:
        """How apps share what one process has in progress."""
        fair = self.fairness
        if fair is None:
            return Shares(self.concurrency, self.concurrency)
        return Shares.of(max(fair.max_open, self.concurrency), fair.share, fair.weights)

    @property
    def max_held(self) -> int:
        return 0 if self.fairness is None else self.fairness.max_held

    def consumer_config(self) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=self.durable,
            filter_subject=self.subject,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self.ack_wait_seconds,
            max_ack_pending=MAX_ACK_PENDING_OF_APPS if self.fairness else MAX_ACK_PENDING,
            max_deliver=-1,  # the attempts are limited by Settlement, which dead-letters
        )
