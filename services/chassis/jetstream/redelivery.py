"""Return messages of a consumer for redelivery, without the deliveries that have them.

JetStream accepts an acknowledgement of a message from anyone who may publish to its subject (NATS
reference, "JetStream wire API": `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer
sequence>.<time>.<pending>`). It checks that the message is unacknowledged and that the consumer
sequence is one it has given out; a message that waits for redelivery already is not returned again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from nats.aio.msg import Msg

from contracts.ids import StreamSeq
from services.chassis.jetstream.gateway import JetStreamGateway


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """The messages of a consumer that were delivered and are not acknowledged."""

    positions: frozenset[StreamSeq]
    consumer_sequence: int
    """The number of the consumer's last delivery."""


async def list_unacknowledged(
    gateway: JetStreamGateway, stream: str, durable: str, subject: str
) -> Unacknowledged:
    """What the consumer of a work queue has delivered and the stream still holds, from one replica.

    `subject` is the filter of the consumer. Also those that it is to deliver again. Raises nats
    errors (NotFoundError without the consumer) and NatsUnavailableError.
    """
    info = await gateway.js.consumer_info(stream, durable)
    if info.delivered is None or info.ack_floor is None or not info.num_ack_pending:
        return Unacknowledged(frozenset(), 0)
    found: set[StreamSeq] = set()
    pages = gateway.reader.pages(stream, subject, StreamSeq(info.ack_floor.stream_seq))
    async for message in pages:
        if message.position > info.delivered.stream_seq:
            break
        found.add(message.position)
    return Unacknowledged(frozenset(found), info.delivered.consumer_seq)


async def return_messages(
    gateway: JetStreamGateway,
    stream: str,
    durable: str,
    positions: Iterable[StreamSeq],
    consumer_sequence: int,
) -> None:
    """Have messages redelivered at once. Raises nats errors."""
    for position in positions:
        reply = f"$JS.ACK.{stream}.{durable}.1.{position}.{consumer_sequence}.0.0"
        await gateway.nc.publish(reply, Msg.Ack.Nak)
