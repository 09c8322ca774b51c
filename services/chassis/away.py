"""Which errors say that a server is away: nothing is wrong with what was asked, ask again later."""

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

from services.chassis.logs import SparingLog

log = logging.getLogger(__name__)

T = TypeVar("T")

AGAIN_SECONDS = 0.5
NATS_AWAY = (
    NatsTimeoutError,
    NoRespondersError,
    ConnectionClosedError,
    ConnectionDrainingError,
    ConnectionReconnectingError,
    OutboundBufferLimitError,
)
"""What nats-py raises where a request was not answered."""


class AwayError(Exception):
    """A server that the work needs does not answer, or has no room: wait and try again."""


def is_away(trouble: BaseException) -> bool:
    """Whether a server is to blame; of several errors at once, whether it is for all of them."""
    if isinstance(trouble, BaseExceptionGroup):
        return all(is_away(one) for one in trouble.exceptions)
    return isinstance(
        trouble, (AwayError, *NATS_AWAY, NoStreamResponseError, ServiceUnavailableError)
    )


async def until_answered(work: Callable[[], Awaitable[T]], what: str) -> T:
    """What the work returns, tried again for as long as a server that it needs is away.

    For what a service needs before it is ready: it waits rather than ends. Raises what else the
    work raises.
    """
    sparing = SparingLog(log)
    while True:
        try:
            return await work()
        except Exception as trouble:
            if not is_away(trouble) and not isinstance(trouble, TimeoutError | OSError):
                raise
            sparing.warning(f"{what}: waiting for a server", why=repr(trouble))
        await asyncio.sleep(AGAIN_SECONDS)
