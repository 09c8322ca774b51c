"""Which errors say that a server is away: nothing is wrong with what was asked, ask again later."""

from nats.errors import (
    ConnectionClosedError,
    ConnectionDrainingError,
    ConnectionReconnectingError,
    NoRespondersError,
    OutboundBufferLimitError,
)
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError

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
