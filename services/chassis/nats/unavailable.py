"""Which errors mean that a server is unavailable: the request is sound and may be repeated later."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nats.errors import (
    ConnectionClosedError,
    ConnectionDrainingError,
    ConnectionReconnectingError,
    NoRespondersError,
    OutboundBufferLimitError,
)
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError

from services.chassis.logs.repeats import RateLimitedLog

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 0.5
NATS_UNAVAILABLE = (
    NatsTimeoutError,
    NoRespondersError,
    ConnectionClosedError,
    ConnectionDrainingError,
    ConnectionReconnectingError,
    OutboundBufferLimitError,
)
"""What nats-py raises where a request was not answered."""


class ServerUnavailableError(Exception):
    """A server that the work needs does not answer or cannot store: wait and repeat."""


def is_unavailable(error: BaseException) -> bool:
    """Whether the cause is an unavailable server; of an exception group, whether it is for all."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_unavailable(one) for one in error.exceptions)
    return isinstance(
        error,
        (
            ServerUnavailableError,
            *NATS_UNAVAILABLE,
            NoStreamResponseError,
            ServiceUnavailableError,
        ),
    )


async def retry_until_available(work: Callable[[], Awaitable[T]], what: str) -> T:
    """What `work` returns; it is repeated for as long as a server that it needs is unavailable.

    For the start of a service, which waits for its servers. `what` names the work in the log.
    Raises whatever else the work raises.
    """
    limited = RateLimitedLog(log)
    while True:
        try:
            return await work()
        except Exception as error:
            if not is_unavailable(error) and not isinstance(error, TimeoutError | OSError):
                raise
            limited.warning(f"{what}: waiting for a server", why=repr(error))
        await asyncio.sleep(RETRY_SECONDS)
