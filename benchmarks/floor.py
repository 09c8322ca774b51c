"""The raw peers: the same bytes with nothing of ours around them."""

import asyncio
import json
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts import subjects
from contracts.event_log import Decision

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


def ready(decision: Decision) -> Ready:
    """The message of one append, byte for byte what the log sends."""
    subject = subjects.event(decision.key, decision.first.category)
    expected = {
        "Nats-Expected-Last-Subject-Sequence-Subject": subjects.events_of(decision.key),
    }
    return Ready(subject, decision.data, {**decision.headers, **expected})


async def publish(nc: Client, message: Ready, after: int) -> int:
    """Publish one message and wait for its acknowledgement; its position in the stream."""
    message.headers["Nats-Expected-Last-Subject-Sequence"] = str(after)
    reply = await nc.request(
        message.subject, message.payload, timeout=ACK_SECONDS, headers=message.headers
    )
    ack = json.loads(reply.data)
    if "seq" not in ack:
        raise FloorError(str(ack))
    return int(ack["seq"])


@dataclass(slots=True)
class Counted:
    """What a raw batch direct get brought, looked at no further."""

    messages: int = 0
    size: int = 0


async def direct_get(nc: Client, stream: str, subject: str, after: int = 0) -> Counted:
    """Every message of one subject after a position, by as few requests as a reader would make."""
    counted = Counted()
    last, pending = after, 1
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
