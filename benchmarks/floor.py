"""The raw peers: the same bytes with nothing of ours around them."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts import codec, envelope, subjects
from contracts.envelope import Envelope
from contracts.ids import new_message_id

ACK_SECONDS = 5.0
PAGE = 1000


class FloorError(Exception):
    """JetStream did not do what a floor asked: there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A message as it goes over the wire, made before the clock runs."""

    subject: str
    payload: bytes
    headers: dict[str, str]


def ready(decision: Sequence[Envelope]) -> list[Ready]:
    """The messages of one atomic append, byte for byte what the bus sends."""
    batch = [
        Ready(subjects.event(one.key, one.category), codec.encode(one), envelope.headers(one))
        for one in decision
    ]
    expected = subjects.events_of(decision[0].key)
    batch[0].headers["Nats-Expected-Last-Subject-Sequence-Subject"] = expected
    if len(batch) > 1:
        name = new_message_id()
        for place, message in enumerate(batch, start=1):
            message.headers["Nats-Batch-Id"] = name
            message.headers["Nats-Batch-Sequence"] = str(place)
        batch[-1].headers["Nats-Batch-Commit"] = "1"
    return batch


async def publish(nc: Client, batch: Sequence[Ready], after: int) -> int:
    """Publish one atomic batch and wait for its acknowledgement; its position in the stream."""
    batch[0].headers["Nats-Expected-Last-Subject-Sequence"] = str(after)
    for message in batch[:-1]:
        await nc.publish(message.subject, message.payload, headers=message.headers)
    last = batch[-1]
    reply = await nc.request(last.subject, last.payload, timeout=ACK_SECONDS, headers=last.headers)
    ack = json.loads(reply.data)
    if "seq" not in ack:
        raise FloorError(str(ack))
    return int(ack["seq"])


@dataclass(slots=True)
class Counted:
    """What a raw batch direct get brought, looked at no further."""

    messages: int = 0
    size: int = 0


async def direct_get(nc: Client, stream: str, subject: str) -> Counted:
    """Every message of one subject, by as few requests as a reader would make."""
    counted = Counted()
    last, pending = 0, 1
    while pending:
        query = {"batch": PAGE, "seq": last + 1, "next_by_subj": subject}
        last, pending = await _page(nc, f"$JS.API.DIRECT.GET.{stream}", query, counted)
    return counted


async def _page(
    nc: Client, api: str, query: dict[str, object], counted: Counted
) -> tuple[int, int]:
    """The position that a page reached, and how many messages are left."""
    end: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def collect(message: Msg) -> None:
        if "Status" in (message.headers or {}):
            end.set_result(message)
        else:
            counted.messages += 1
            counted.size += len(message.data)

    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox, cb=collect)
    await nc.publish(api, json.dumps(query).encode(), reply=inbox)
    headers = (await asyncio.wait_for(end, ACK_SECONDS)).headers or {}
    await subscription.unsubscribe()
    if headers["Status"] != "204":
        raise FloorError(str(headers))
    return int(headers["Nats-Last-Sequence"]), int(headers["Nats-Num-Pending"])
