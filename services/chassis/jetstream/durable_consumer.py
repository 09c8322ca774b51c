"""Create a consumer, or upgrade an existing durable one without losing what it knows."""

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError, NotFoundError

log = logging.getLogger(__name__)

API_SECONDS = 10.0
_EXISTS = 10148
"""JSConsumerAlreadyExists."""


class NoFreeNameError(NatsError):
    """Every name that a reader's consumer may have is in use."""


@dataclass
class ReaderConsumer(ConsumerConfig):
    """A consumer of one process, with the first of its names that no other process has.

    Names are few and fixed, so that a user's permissions can list them.
    """

    names: tuple[str, ...] = ()


async def existing_or_created(
    nc: Client, js: JetStreamContext, stream: str, config: ConsumerConfig
) -> str:
    """The name of the consumer, which is created where there is none. Raises nats errors.

    A durable of an earlier release stays as it is, but for its limit of unacknowledged messages: that
    is raised where ours is higher, as with a lower one the commands of one app keep out all others.
    """
    if config.durable_name is not None:
        with suppress(NotFoundError):
            found = await js.consumer_info(stream, config.durable_name)
            limit = None if found.config is None else found.config.max_ack_pending
            if 0 < (limit or 0) < (config.max_ack_pending or 0):
                await _raise_limit(nc, stream, config)
            return config.durable_name
    if isinstance(config, ReaderConsumer):
        return await _first_free(nc, stream, config)
    created = await js.add_consumer(stream, config)
    return str(created.name)


async def _first_free(nc: Client, stream: str, config: "ReaderConsumer") -> str:
    for name in config.names:
        fields = {**config.as_dict(), "name": name}
        fields.pop("names")
        # "create": an existing consumer is never changed, nor shared with the process that has it.
        request = {"stream_name": stream, "config": fields, "action": "create"}
        try:
            await _ask(nc, f"CREATE.{stream}.{name}.{config.filter_subject}", request)
        except APIError as refused:
            if refused.err_code != _EXISTS:
                raise
        else:
            return name
    raise NoFreeNameError(f"{stream}: {', '.join(config.names)} all have a process")


async def _raise_limit(nc: Client, stream: str, config: ConsumerConfig) -> None:
    """Update one field. In the server's own JSON: nats-py drops the fields that it does not know."""
    durable, wanted = config.durable_name, config.max_ack_pending
    try:
        info = await _ask(nc, f"INFO.{stream}.{durable}", {})
        request = {
            "stream_name": stream,
            "config": {**info["config"], "max_ack_pending": wanted},
            "action": "update",
        }
        await _ask(nc, f"CREATE.{stream}.{durable}.{config.filter_subject}", request)
    except (NatsError, APIError) as rejected:  # without permission, or with several filters
        fields = {"stream": stream, "consumer": durable, "why": repr(rejected)}
        log.warning("the limit of unacknowledged messages is not raised", extra=fields)
    else:
        fields = {"stream": stream, "consumer": durable, "to": f"{wanted}"}
        log.info("raised the limit of unacknowledged messages", extra=fields)


async def _ask(nc: Client, request: str, body: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(body).encode() if body else b""
    reply = await nc.request(f"$JS.API.CONSUMER.{request}", data, timeout=API_SECONDS)
    answer: dict[str, Any] = json.loads(reply.data)
    if "error" in answer:
        raise APIError.from_error(answer["error"])
    return answer
