"""The fetch that FastStream's pull subscribers use, in place of nats-py's.

Everything else of these subscribers is FastStream's own. `tests/chassis/consumers/test_upstream.py` shows the
faults that this module works around, and fails as soon as one of them is gone:

* nats-py's `fetch` discards messages with a `Status` header, and raises the builtin TimeoutError,
  which FastStream does not expect: its subscriber drops the batch that it has fetched;
* a consumer that disappears, with its stream or with its server's memory, is never created again,
  while FastStream repeats a failing fetch thousands of times per second.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from contracts.ids import StreamSeq, new_message_id
from services.chassis.jetstream.durable_consumer import ReaderConsumer
from services.chassis.jetstream.in_flight import InFlightMessages
from services.chassis.jetstream.pull import PullSubscription
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.nats.permissions import reader_names

log = logging.getLogger(__name__)

FETCH_SECONDS = 2.0
"""How long a fetch waits for the first message; the next begins at once."""
DEFAULT_ACK_WAIT_SECONDS = 30.0
"""The server's own, of a consumer that is created without one."""
RETRY_SECONDS = 0.5
"""The pause after a failed fetch."""


class MissedDeliveryError(Exception):
    """A message of a consumer without acknowledgements was lost on its way."""


class ReaderConfig(ConsumerConfig):
    """An ephemeral consumer without acknowledgements, for a reader that knows its own position.

    Wherever the consumer disappears, or a message is lost, it is created again after
    `last_position()`. Its name is one of `reader_names(reader)`, perhaps another one each time;
    `reader` is its description, by which operators know it.
    """

    def __init__(
        self, last_position: Callable[[], StreamSeq], inactive_seconds: float, reader: str
    ) -> None:
        super().__init__()
        self.reader = reader
        self.last_position = last_position
        self.inactive_seconds = inactive_seconds

    def from_here(self, subject: str) -> ConsumerConfig:
        return ReaderConsumer(
            names=reader_names(self.reader),
            metadata={"process": new_message_id()},  # else two that begin alike would be one
            description=self.reader,
            filter_subject=subject,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self.last_position() + 1,
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=self.inactive_seconds,
        )


class HeartbeatConfig(ConsumerConfig):
    """A consumer whose messages have heartbeats from their fetch on, wherever they wait for a worker."""

    def __init__(self, in_flight: InFlightMessages, config: ConsumerConfig) -> None:
        super().__init__()
        self.in_flight = in_flight
        self.config = config


class FetchJetStream(JetStreamContext):
    """nats-py's JetStream as FastStream's broker uses it, with another pull subscription."""

    def __init__(self, nc: Client) -> None:
        super().__init__(nc)
        self._client = nc

    async def pull_subscribe(  # type: ignore[override]  # FastStream calls these two methods only
        self,
        subject: str,
        durable: str | None = None,
        stream: str | None = None,
        config: ConsumerConfig | None = None,
        **_: Any,
    ) -> "FetchSubscription":
        """The consumer is created, or found, by the first fetch: nothing fails before."""
        return FetchSubscription(
            self._client,
            self,
            stream or "",
            config_of(subject, durable, config),
            config.in_flight if isinstance(config, HeartbeatConfig) else None,
        )


def config_of(
    subject: str, durable: str | None, config: ConsumerConfig | None
) -> Callable[[], ConsumerConfig]:
    """What the consumer is created with, now or later."""
    if isinstance(config, ReaderConfig):
        return lambda: config.from_here(subject)
    if isinstance(config, HeartbeatConfig):
        return config_of(subject, durable, config.config)
    named = (config or ConsumerConfig()).evolve(durable_name=durable, filter_subject=subject)
    return lambda: named


class FetchSubscription:
    """Fetches for one FastStream subscriber."""

    def __init__(
        self,
        nc: Client,
        js: JetStreamContext,
        stream: str,
        config: Callable[[], ConsumerConfig],
        in_flight: InFlightMessages | None = None,
    ) -> None:
        self._nc = nc
        self._js = js
        self._stream = stream
        self._config = config
        self._in_flight = in_flight
        self._fetched: list[Msg] = []
        self._ack_wait = 0.0
        self._log = RateLimitedLog(log)
        self._pull: PullSubscription | None = None
        self._acknowledges = True
        self._delivered = 0

    async def fetch(self, batch: int, timeout: float | None = None) -> list[Msg]:  # noqa: ASYNC109
        """What arrives within `timeout` seconds after the first message, at most `batch`.

        Waits FETCH_SECONDS for the first message. Raises nats.errors.TimeoutError where there is
        none, or where the stream cannot be read now, and nothing else.
        """
        messages: list[Msg] = []
        try:
            await self._collect(messages, batch, timeout)
        except asyncio.CancelledError:
            await self.unsubscribe()
            if self._acknowledges:
                await self._release(messages)
            raise
        except Exception as error:
            await self.unsubscribe()
            self._log.warning(
                "a stream cannot be read, retrying", stream=self._stream, why=repr(error)
            )
            if not messages or not self._acknowledges:
                await asyncio.sleep(RETRY_SECONDS)
                raise NatsTimeoutError from error
        if not messages:
            raise NatsTimeoutError
        return messages

    async def unsubscribe(self) -> None:
        pull, self._pull = self._pull, None
        if pull is not None:
            await pull.close()

    async def release_unhandled(self) -> None:
        """Return what no handler has begun with for immediate redelivery: the subscriber has stopped."""
        if self._in_flight is not None:
            await self._release([one for one in self._fetched if one in self._in_flight])

    async def _collect(self, messages: list[Msg], batch: int, fill: float | None) -> None:
        pull = self._pull or await self._open()
        self._add(messages, await pull.fetch_available(batch) or await pull.wait(FETCH_SECONDS))
        if messages and len(messages) < batch and fill:
            await asyncio.sleep(fill)
            self._add(messages, await pull.fetch_available(batch - len(messages)))
        if not self._acknowledges:
            self._check_deliveries(messages)

    def _add(self, messages: list[Msg], received: list[Msg]) -> None:
        messages += received
        if self._in_flight is not None:
            self._in_flight.add(received, self._ack_wait)
            self._fetched = [one for one in self._fetched if one in self._in_flight] + received

    async def _open(self) -> PullSubscription:
        config = self._config()
        self._ack_wait = config.ack_wait or DEFAULT_ACK_WAIT_SECONDS
        self._acknowledges = config.ack_policy != AckPolicy.NONE
        self._delivered = 0
        self._pull = await PullSubscription.open(self._nc, self._js, self._stream, config)
        return self._pull

    def _check_deliveries(self, messages: list[Msg]) -> None:
        # What is not acknowledged is not redelivered: only the consumer's count shows a loss.
        for message in messages:
            number = message.metadata.sequence.consumer
            if number != self._delivered + 1:
                raise MissedDeliveryError(f"expected delivery {self._delivered + 1}, got {number}")
            self._delivered = number

    async def _release(self, messages: list[Msg]) -> None:
        """Return messages for immediate redelivery, to others."""
        if self._in_flight is not None:
            self._in_flight.remove(messages)
        with suppress(NatsError):  # without a connection they are redelivered without heartbeats
            for message in messages:
                await message.nak()
