"""One run, one runner: a lease on a chat that outlives its holder by seconds only."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from nats.js.errors import KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from contracts import subjects
from contracts.ids import ChatKey, RunnerId
from services.chassis.ending import end
from services.chassis.streams import LEASE_SECONDS

log = logging.getLogger(__name__)


class Lease:
    """Held while the `async with` block runs, and renewed; `lost` is set when it is not ours any more.

    The lease keeps two runners from working; what keeps them from writing is the log itself.
    """

    def __init__(self, bucket: KeyValue, key: ChatKey, process: str, revision: int) -> None:
        self.runner = RunnerId(f"{process}.{revision}")
        self.lost = asyncio.Event()
        self._bucket = bucket
        self._name = subjects.lease_key(key)
        self._revision = revision
        self._holder = process.encode()
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._renewing = asyncio.create_task(self._renew(), name=f"lease {self._name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._renewing is not None:
            await end(self._renewing)
        if not self.lost.is_set():
            await self._release()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            try:
                self._revision = await self._bucket.update(
                    self._name, self._holder, last=self._revision
                )
            except KeyWrongLastSequenceError:
                if not await self._taken_again():
                    self.lost.set()
                    return
            except (NatsError, JetStreamError, OSError) as away:  # an outage hits everyone alike
                log.warning("lease not renewed", extra={"lease": self._name, "why": repr(away)})

    async def _taken_again(self) -> bool:
        """After an outage the lease may have run out unclaimed: then it is still ours."""
        try:
            self._revision = await self._bucket.create(self._name, self._holder)
        except KeyWrongLastSequenceError:
            return False
        return True

    async def _release(self) -> None:
        try:
            await self._bucket.delete(self._name, last=self._revision)
        except (NatsError, JetStreamError, OSError) as away:  # it runs out by itself
            log.warning("lease not released", extra={"lease": self._name, "why": repr(away)})


async def take_lease(bucket: KeyValue, key: ChatKey, process: str) -> Lease | None:
    """The lease on a chat, none while another holds it. Raises nats errors when JetStream is away."""
    try:
        revision = await bucket.create(subjects.lease_key(key), process.encode())
    except KeyWrongLastSequenceError:
        return None
    return Lease(bucket, key, process, revision)
