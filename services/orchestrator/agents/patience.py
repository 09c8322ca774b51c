"""Ask a model again while it cannot answer for now: how often, and how long to wait in between."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import openai
from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelResponse

from services.orchestrator.agents.account import account_of
from services.orchestrator.agents.faults import (
    LIMITED,
    Fault,
    ModelFaultError,
    fault_in,
    fault_of,
)

log = logging.getLogger(__name__)

LONGEST_BACKOFF_SECONDS = 20.0

Clock = Callable[[], datetime]
Lot = Callable[[], float]
"""A number drawn from 0 to 1, so that those who wait do not all come back at once."""


@dataclass(frozen=True, slots=True)
class Patience:
    """`retries` is of one call; `seconds` is how long it waits in all for a provider that says so."""

    retries: int = 4
    seconds: float = 600.0
    backoff: float = 0.5
    """The first pause, where the provider names none; each further one is twice as long."""


def pause(patience: Patience, attempt: int, fault: Fault, lot: float) -> float:
    """How long to wait after the `attempt`-th (from 0) failure: as told, or more and more."""
    if fault.after is not None:
        return fault.after * (1 + 0.1 * lot)
    growing = min(patience.backoff * 2.0**attempt, LONGEST_BACKOFF_SECONDS)
    return growing * (0.5 + 0.5 * lot)


class PatientClient(LLMClient):
    """A provider's client that asks again. Raises ModelFaultError for every failure of a provider's."""

    def __init__(
        self, inner: LLMClient, model: str, patience: Patience, clock: Clock, lot: Lot
    ) -> None:
        self._inner = inner
        self._model = model
        self._patience = patience
        self._clock = clock
        self._lot = lot

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **more: Any
    ) -> ModelResponse:
        attempt, waited = 0, 0.0
        while True:
            answer = await self._once(messages, context, more)
            if isinstance(answer, ModelResponse):
                return answer
            wait = pause(self._patience, attempt, answer, self._lot())
            waited += wait
            if self._is_final(answer, attempt, waited):
                raise ModelFaultError(self._dated(answer))
            await asyncio.sleep(wait)
            account_of(context).speak_again()
            attempt += 1

    async def _once(
        self, messages: Sequence[BaseEvent], context: ConversationContext, more: dict[str, Any]
    ) -> ModelResponse | Fault:
        try:
            response = await self._inner(messages, context, **more)
        except Exception as trouble:
            fault = fault_of(trouble, self._model, self._clock())
            if fault is None:
                raise
            self._note(fault, trouble, context)
            return fault
        fault = fault_in(response)
        if fault is None:
            return response
        self._note(fault, None, context)
        return fault

    def _is_final(self, fault: Fault, attempt: int, waited: float) -> bool:
        spent = attempt >= self._patience.retries or waited > self._patience.seconds
        return spent or not fault.passes

    def _dated(self, fault: Fault) -> Fault:
        if fault.code != LIMITED.code or fault.after is None:
            return fault
        until = self._clock() + timedelta(seconds=fault.after)
        return replace(fault, message=f"{fault.message} It ends at {until:%Y-%m-%d %H:%M} UTC.")

    def _note(self, fault: Fault, trouble: Exception | None, context: ConversationContext) -> None:
        """The evidence, without the provider's words: they may quote a key or the conversation."""
        app, chat = account_of(context).key or (None, None)
        evidence: dict[str, object] = {
            "app": app,
            "chat": chat,
            "model": self._model,
            "fault": fault.code,
            "after": fault.after,
            "why": type(trouble).__name__,
        }
        if isinstance(trouble, openai.APIStatusError):
            evidence |= {"status": trouble.status_code, "request": trouble.request_id}
        log.warning("a model call failed", extra=evidence)
