"""NATS permissions: what one service may publish and subscribe to, composed of what it does."""

from collections.abc import Iterable
from dataclasses import dataclass

from contracts import subjects


@dataclass(frozen=True, slots=True)
class Permissions:
    """The subjects that a NATS user may publish to and subscribe to; everything else is denied."""

    publish: frozenset[str] = frozenset()
    subscribe: frozenset[str] = frozenset()

    def __or__(self, other: "Permissions") -> "Permissions":
        return Permissions(self.publish | other.publish, self.subscribe | other.subscribe)


def all_of(parts: Iterable[Permissions]) -> Permissions:
    combined = Permissions()
    for part in parts:
        combined |= part
    return combined


def may_publish(*allowed: str) -> Permissions:
    return Permissions(publish=frozenset(allowed))


def may_subscribe(*allowed: str) -> Permissions:
    return Permissions(subscribe=frozenset(allowed))


def connects(service: str) -> Permissions:
    """Answers arrive in the service's own inbox, through which its connection also tests itself."""
    inbox = f"_INBOX_{service}.>"
    return Permissions(frozenset({inbox}), frozenset({inbox}))


def reports_readiness() -> Permissions:
    """Answer the requests that ask every process whether it is ready."""
    return may_subscribe(subjects.READINESS) | may_publish(subjects.ALL_READINESS_ANSWERS)


def inspects(*streams: str) -> Permissions:
    """Read the configuration and state of streams."""
    return may_publish(*(f"$JS.API.STREAM.INFO.{stream}" for stream in streams))


def probes_storage(*streams: str) -> Permissions:
    """Ask for the removal of a message that never exists: whether a full disk has room again."""
    return may_publish(*(f"$JS.API.STREAM.MSG.DELETE.{stream}" for stream in streams))


def removes_messages(*streams: str) -> Permissions:
    """Remove single messages, by their positions."""
    return probes_storage(*streams)


def purges(*streams: str) -> Permissions:
    """Remove messages from streams, by subject or position."""
    return may_publish(*(f"$JS.API.STREAM.PURGE.{stream}" for stream in streams))


def reads(*streams: str) -> Permissions:
    """Read the messages of streams, from any replica and from the leader."""
    return may_publish(
        *(f"$JS.API.DIRECT.GET.{stream}" for stream in streams),
        *(f"$JS.API.DIRECT.GET.{stream}.>" for stream in streams),
        *(f"$JS.API.STREAM.MSG.GET.{stream}" for stream in streams),
    )


def keeps_ledgers() -> Permissions:
    """Hold and settle what accounts use, and read their ledgers."""
    return (
        may_publish(subjects.ALL_LEDGERS)
        | reads(subjects.BUDGETS)
        | inspects(subjects.BUDGETS)
        | probes_storage(subjects.BUDGETS)
    )


def consumes(stream: str, durable: str, filter_subject: str) -> Permissions:
    """Create, inspect and pull one durable consumer, and acknowledge its messages."""
    return may_publish(
        f"$JS.API.CONSUMER.CREATE.{stream}.{durable}.{filter_subject}",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{durable}",  # as FastStream asks
        f"$JS.API.CONSUMER.INFO.{stream}.{durable}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
    )


READERS = 8
"""Processes of one reader that can read a stream at the same time."""


def reader_names(reader: str) -> tuple[str, ...]:
    """The names of its consumers, of which each process has its own."""
    return tuple(f"{reader}-{number}" for number in range(1, READERS + 1))


def follows(reader: str, filter_subject: str) -> Permissions:
    """Create, inspect and pull the consumers of a reader, which are not acknowledged, on any stream.

    The subject has name and filter: those of others are out of reach.
    """
    return may_publish(
        *(
            f"$JS.API.CONSUMER.{request}"
            for name in reader_names(reader)
            for request in (
                f"CREATE.*.{name}.{filter_subject}",
                f"INFO.*.{name}",
                f"MSG.NEXT.*.{name}",
            )
        )
    )


def writes_bucket(*buckets: str) -> Permissions:
    """Read and write the keys of key-value buckets."""
    streams = [subjects.bucket_stream(bucket) for bucket in buckets]
    keys = (subjects.bucket_subject(bucket, ">") for bucket in buckets)
    return reads_bucket(*buckets) | may_publish(*keys) | inspects(*streams)


def reads_bucket(*buckets: str) -> Permissions:
    streams = [subjects.bucket_stream(bucket) for bucket in buckets]
    return reads(*streams) | inspects(*streams)


def writes_objects(*stores: str) -> Permissions:
    """Read and write the objects of object stores; a put that fails purges its chunks."""
    streams = [subjects.object_stream(store) for store in stores]
    return (
        reads_objects(*stores)
        | may_publish(*(f"$O.{store}.>" for store in stores))
        | purges(*streams)
        | probes_storage(*streams)
    )


def reads_objects(*stores: str) -> Permissions:
    streams = [subjects.object_stream(store) for store in stores]
    return reads(*streams) | inspects(*streams)


def settles(service: str, *durables: str) -> Permissions:
    """Count failed attempts of a consumer's messages, and store their dead letters."""
    return (
        writes_bucket(subjects.ATTEMPTS)
        | may_publish(*(f"mozaiks.dlq.{durable}.>" for durable in durables))
        | may_publish(f"mozaiks.dlq.{service}.>")
        | inspects(subjects.DEAD_LETTERS)
        | probes_storage(subjects.DEAD_LETTERS)
    )
