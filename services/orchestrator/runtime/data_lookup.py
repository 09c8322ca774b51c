"""Look up data that another service stores: a request over JetStream, with a time limit."""

import asyncio
import logging

from contracts.lookups import DataFound, DataRequested
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.lookups import LookupChannel

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""How long a response may take; without one the chat continues with the default."""


async def look_up(lookups: LookupChannel, request: DataRequested) -> DataFound:
    """The response to a lookup request; a failure is a `problem` in it, and is logged."""
    try:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            lookups.response(request, DataFound) as response,
        ):
            await lookups.request(request)
            found = await response
    except TimeoutError:
        found = _failed(request, f"no response within {TIMEOUT_SECONDS:g} s")
    except (NatsUnavailableError, NatsRejectedError) as error:
        found = _failed(request, str(error))
    if found.problem is not None:
        log.warning("data lookup failed", extra=_log_fields(request, found.problem))
    return found


def _failed(request: DataRequested, why: str) -> DataFound:
    return DataFound(request_id=request.request_id, problem=why)


def _log_fields(request: DataRequested, why: str) -> dict[str, str]:
    return {
        "app": request.app_id,
        "chat": request.chat_id,
        "collection": f"{request.database}.{request.collection}",
        "why": why,
    }
