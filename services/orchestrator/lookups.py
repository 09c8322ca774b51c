"""Data that others keep: asked for over JetStream, waited for with a limit."""

import asyncio
import logging

from contracts.lookups import DataFound, DataRequested
from services.chassis.bus import Bus
from services.chassis.direct_get import RefusedError, UnavailableError

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
"""How long an answer may take; a chat goes on without it."""


async def look_up(bus: Bus, question: DataRequested) -> DataFound:
    """What is found; where nobody answers, or nobody may, a problem that is said in the log."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), bus.awaiting(question) as answer:
            await bus.ask(question)
            found = await answer
    except TimeoutError:
        found = _unanswered(question, f"no answer within {PATIENCE_SECONDS:g} s")
    except (UnavailableError, RefusedError) as trouble:
        found = _unanswered(question, str(trouble))
    if found.problem is not None:
        log.warning("data elsewhere was not found", extra=_where(question, found.problem))
    return found


def _unanswered(question: DataRequested, why: str) -> DataFound:
    return DataFound(request_id=question.request_id, problem=why)


def _where(question: DataRequested, why: str) -> dict[str, str]:
    return {
        "app": question.app_id,
        "chat": question.chat_id,
        "collection": f"{question.database}.{question.collection}",
        "why": why,
    }
