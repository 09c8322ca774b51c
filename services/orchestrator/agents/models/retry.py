"""Retries of model calls: which failures are retried, how often, and after which delay."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessageChunk, ModelResponse

from services.chassis.consumers.slots import FairSlots
from services.orchestrator.agents.ag2.codec import tokens_of
from services.orchestrator.agents.models.errors import (
    RATE_LIMITED,
    ModelError,
    ModelFailure,
    classify_exception,
)
from services.orchestrator.agents.models.metrics import ModelMetrics, ModelName
from services.orchestrator.agents.models.response_check import (
    CUT_MARK,
    classify_response,
    is_cut_text,
    with_cut_mark,
)
from services.orchestrator.agents.models.wire.provider_error import ProviderStatusError
from services.orchestrator.agents.session.call_meter import Wait, call_meter_of

log = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 20.0

Clock = Callable[[], datetime]
Jitter = Callable[[], float]
"""A random number from 0 to 1, so that clients that wait do not all retry at the same time."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retries` is per call; `max_wait_seconds` is how long one call waits in all between attempts."""

    retries: int = 4
    max_wait_seconds: float = 600.0
    first_backoff_seconds: float = 0.5
    """Used when the provider asks for no delay; each further delay is twice as long."""


def retry_delay(policy: RetryPolicy, attempt: int, failure: ModelFailure, jitter: float) -> float:
    """Seconds to wait after the failed attempt number `attempt` (from 0)."""
    if failure.retry_after is not None:
        return failure.retry_after * (1 + 0.1 * jitter)
    backoff = min(policy.first_backoff_seconds * 2.0**attempt, MAX_BACKOFF_SECONDS)
    return backoff * (0.5 + 0.5 * jitter)


class RetryingClient(LLMClient):
    """A provider's client with retries. Raises ModelError for every failure of the provider."""

    def __init__(
        self,
        inner: LLMClient,
        name: ModelName,
        policy: RetryPolicy,
        clock: Clock,
        jitter: Jitter,
        metrics: ModelMetrics,
        slots: FairSlots,
    ) -> None:
        """`slots` are those of the provider's calls; a call holds none between its attempts."""
        self._slots = slots
        self._inner = inner
        self._name = name
        self._model = name.model
        self._metrics = metrics
        self._policy = policy
        self._clock = clock
        self._jitter = jitter

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **options: Any
    ) -> ModelResponse:
        attempt, waited = 0, 0.0
        chat = call_meter_of(context).key
        app = "" if chat is None else chat.app
        while True:
            async with self._slots.using(app):
                response, outcome = await self._measured(messages, context, options)
            if response is not None and outcome is None:
                return await _marked_where_cut(response, context)
            assert outcome is not None  # noqa: S101  else there is a response
            delay = retry_delay(self._policy, attempt, outcome, self._jitter())
            waited += delay
            if self._is_final(outcome, attempt, waited):
                raise ModelError(self._with_end_of_limit(outcome), response)
            self._metrics.retried(self._name, outcome.code, delay)
            until = self._clock() + timedelta(seconds=delay)
            wait = Wait(outcome.code, delay, until, attempt + 2, self._policy.retries + 1)
            log.info(
                "waiting for the model provider", extra={"model": self._model, **wait._asdict()}
            )
            await call_meter_of(context).wait(wait)
            await asyncio.sleep(delay)
            await call_meter_of(context).restart_answer()
            attempt += 1

    async def _measured(
        self, messages: Sequence[BaseEvent], context: ConversationContext, options: dict[str, Any]
    ) -> tuple[ModelResponse, None] | tuple[ModelResponse | None, ModelFailure]:
        """An attempt, with its duration, its first chunk and its tokens in the metrics."""
        meter = call_meter_of(context)
        meter.begin_attempt()
        code: str | None = "interrupted"
        try:
            response, failure = attempt = await self._attempt(messages, context, options)
            code = None if failure is None else failure.code
            if response is not None:
                self._metrics.used(self._name, tokens_of(response.usage))
            return attempt
        finally:
            taken, first_chunk = meter.attempt_seconds()
            self._metrics.request(self._name, taken, first_chunk, code)

    async def _attempt(
        self, messages: Sequence[BaseEvent], context: ConversationContext, options: dict[str, Any]
    ) -> tuple[ModelResponse, None] | tuple[ModelResponse | None, ModelFailure]:
        """What the provider sent, and what is wrong with it."""
        try:
            response = await self._inner(messages, context, **options)
        except Exception as error:
            failure = classify_exception(error, self._model, self._clock())
            if failure is None:
                raise
            self._log(failure, error, context)
            return None, failure
        structured = options.get("response_schema") is not None
        failure = classify_response(response, structured=structured)
        if failure is None:
            return response, None
        self._log(failure, None, context)
        return response, failure

    def _is_final(self, failure: ModelFailure, attempt: int, waited: float) -> bool:
        policy = self._policy
        exhausted = attempt >= policy.retries or waited > policy.max_wait_seconds
        return exhausted or not failure.retryable

    def _with_end_of_limit(self, failure: ModelFailure) -> ModelFailure:
        """A rate limit with the time at which it ends, if the provider says so."""
        if failure.code != RATE_LIMITED.code or failure.retry_after is None:
            return failure
        until = self._clock() + timedelta(seconds=failure.retry_after)
        return replace(failure, message=f"{failure.message} It ends at {until:%Y-%m-%d %H:%M} UTC.")

    def _log(
        self, failure: ModelFailure, error: Exception | None, context: ConversationContext
    ) -> None:
        """Without the provider's message, which may quote a key or the conversation."""
        app, chat = call_meter_of(context).key or (None, None)
        fields: dict[str, object] = {
            "app": app,
            "chat": chat,
            "model": self._model,
            "code": failure.code,
            "retry_after": failure.retry_after,
            "error": type(error).__name__,
        }
        if isinstance(error, ProviderStatusError):
            fields |= {"status": error.status, "request": error.request_id}
        log.warning("model call failed", extra=fields)


async def _marked_where_cut(response: ModelResponse, context: ConversationContext) -> ModelResponse:
    """The response; where it is a text that was cut, it is shown and kept with a mark."""
    if is_cut_text(response):
        await context.send(ModelMessageChunk(CUT_MARK))
        response.message = with_cut_mark(response)
    return response
