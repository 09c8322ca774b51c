"""A durable consumer whose messages are handled one by one, several at a time."""

from dataclasses import dataclass

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A durable consumer of a work queue.

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

    def consumer_config(self) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=self.durable,
            filter_subject=self.subject,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self.ack_wait_seconds,
            max_ack_pending=10_000,
            max_deliver=-1,  # the attempts are limited by Settlement, which dead-letters
        )
