"""What one model call takes: its duration, cost and tokens, as an event and as a log line."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ag2.context import ConversationContext

from contracts.events.turn import ModelResponded, ModelWait, UsageRecorded
from contracts.ids import ChatKey

log = logging.getLogger(__name__)

CALL_METER = "mozaiks.call_meter"
"""The key in AG2's dependencies under which model clients find the meter of their call."""


async def _do_nothing() -> None:
    pass


class Wait(NamedTuple):
    """A model call waits `seconds` after a failure `code`, before attempt `attempt` of `attempts`."""

    code: str
    seconds: float
    until: datetime
    attempt: int
    attempts: int


async def _show_nothing(_: Wait) -> None:
    pass


@dataclass(slots=True)
class CallMeter:
    """The current model call of one caller; model clients report what they know to it.

    `key` is none when the call belongs to no chat. `restart_answer` is awaited before a call is
    tried again: what was streamed of its answer so far is void. `show_wait` shows the user why
    nothing comes.
    """

    key: ChatKey | None = None
    restart_answer: Callable[[], Awaitable[None]] = _do_nothing
    show_wait: Callable[[Wait], Awaitable[None]] = _show_nothing
    request_digest: str = ""
    duration: float = 0.0
    """Seconds."""
    cost: float | None = None
    """US dollars; none when the price is not known."""
    cached: bool = False
    attempts: int = 0
    """How often the model was requested for this call so far."""
    first_chunk: float | None = None
    """Seconds until the first part of the newest attempt's answer came, if one came."""
    waits: list[ModelWait] = field(default_factory=list)
    """Between the attempts of this call so far."""
    _attempt_began: float = 0.0

    def start_call(self) -> None:
        self.record_cost(None, cached=False)

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Measure the duration of the call that is made inside."""
        started = self._attempt_began = time.perf_counter()
        self.first_chunk, self.attempts, self.waits = None, 0, []
        try:
            yield
        finally:
            self.duration = time.perf_counter() - started

    async def wait(self, wait: Wait) -> None:
        """The call waits from now on."""
        self.waits.append(ModelWait(**wait._asdict()))
        await self.show_wait(wait)

    def begin_attempt(self) -> None:
        """A request to the model begins."""
        self._attempt_began, self.first_chunk = time.perf_counter(), None
        self.attempts += 1

    def note_chunk(self) -> None:
        """A part of the answer came."""
        if self.first_chunk is None:
            self.first_chunk = time.perf_counter() - self._attempt_began

    def attempt_seconds(self) -> tuple[float, float | None]:
        """How long the last request has taken until now, and until the first part of its answer."""
        return time.perf_counter() - self._attempt_began, self.first_chunk

    def record_cost(self, cost: float | None, *, cached: bool) -> None:
        """The cost of the call; `cached` when the answer was recorded earlier."""
        self.cost, self.cached = cost, cached

    def usage_of(self, response: ModelResponded) -> UsageRecorded:
        return UsageRecorded(
            turn=response.turn,
            call=response.call,
            agent=response.agent,
            model=response.model,
            provider=response.provider,
            tokens=response.tokens,
            duration=self.duration,
            cost=self.cost,
            cached=self.cached,
            time_to_first_chunk=self.first_chunk,
            request_digest=self.request_digest or None,
            waits=self.waits,
        )

    def log_usage(self, usage: UsageRecorded) -> None:
        """Log the call without anything of its content; the digest identifies the request."""
        app, chat = self.key or (None, None)
        log.info(
            "model call completed",
            extra={
                "app": app,
                "chat": chat,
                "turn": usage.turn,
                "call": usage.call,
                "agent": usage.agent,
                "provider": usage.provider,
                "model": usage.model,
                "prompt_tokens": usage.tokens.prompt,
                "completion_tokens": usage.tokens.completion,
                "duration": round(usage.duration, 3),
                "cost": usage.cost,
                "cached": usage.cached,
                "digest": self.request_digest,
            },
        )


def call_meter_of(context: ConversationContext) -> CallMeter:
    """The meter of the call in progress; one that nobody reads when no caller gave one."""
    meter: CallMeter = context.dependencies.get(CALL_METER) or CallMeter()
    return meter
