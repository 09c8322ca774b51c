"""Opens MongoDB for a starting process: tries until it can be used, for a limited time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pymongo.errors import ConfigurationError, OperationFailure
from pymongo.monitoring import CommandListener

from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.process.asgi_front import CannotStartError
from services.chassis.process.probes import Probes
from services.persistence.settings import Settings
from services.persistence.store.interface import StoreIncompatibleError, StoreUnavailableError
from services.persistence.store.mongo.access import MongoAccess, UnusableFileError
from services.persistence.store.mongo.client import Client, build_client
from services.persistence.store.mongo.renewal import CredentialRenewal
from services.persistence.store.mongo.store import MongoStore, open_store

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


@asynccontextmanager
async def open_mongo(
    settings: Settings,
    probes: Probes | None = None,
    listeners: Sequence[CommandListener] = (),
    *,
    reads_only: bool = False,
) -> AsyncIterator[tuple[Client, MongoStore]]:
    """A client and the store on it; until then `probes` show what prevents it.

    `listeners` are told of each command. Raises CannotStartError if MongoDB is incompatible, or still unusable after MONGODB_WAIT_SECONDS.
    """
    opening = _Opening(settings, listeners, reads_only=reads_only)
    if probes is not None:
        probes.starting_until(mongodb=lambda: opening.problem)
    client, store = await opening.open()
    try:
        yield client, store
    finally:
        await client.close()


def access_of(settings: Settings) -> MongoAccess:
    return MongoAccess(
        uri=settings.mongodb_uri,
        password_file=settings.mongodb_password_file,
        ca_file=settings.mongodb_ca_file,
        cert_key_file=settings.mongodb_cert_key_file,
    )


class _Opening:
    """One attempt after the other; `problem` is why the last one failed."""

    def __init__(
        self, settings: Settings, listeners: Sequence[CommandListener], *, reads_only: bool
    ) -> None:
        self._access = access_of(settings)
        self._database = settings.mongodb_database
        self._wait_seconds = settings.mongodb_wait_seconds
        self._reads_only = reads_only
        self._listeners = listeners
        self.problem: str | None = None

    async def open(self) -> tuple[Client, MongoStore]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._wait_seconds
        sparing = RateLimitedLog(log)
        while True:
            try:
                return await self._try()
            except (StoreUnavailableError, OperationFailure, ConfigurationError) as error:
                self.problem = self._access.problem_of(error.__cause__ or error)
            except UnusableFileError as unusable:
                self.problem = str(unusable)
            if clock() > deadline:
                limit = f"MONGODB_WAIT_SECONDS={self._wait_seconds:g}"
                raise CannotStartError(f"{self.problem}; {limit} exceeded")
            sparing.warning(f"{self.problem}; trying again")
            await asyncio.sleep(RETRY_SECONDS)

    async def _try(self) -> tuple[Client, MongoStore]:
        try:
            renewal = CredentialRenewal(self._access)
            client = build_client(
                self._access.uri,
                event_listeners=[*self._listeners, renewal],
                **self._access.options(),
            )
            renewal.watch(client)
        except (ConfigurationError, ValueError) as wrong:
            raise CannotStartError(f"MONGODB_URI: {wrong}") from wrong
        try:
            return client, await open_store(client, self._database, reads_only=self._reads_only)
        except StoreIncompatibleError as incompatible:
            await client.close()
            raise CannotStartError(str(incompatible)) from incompatible
        except BaseException:
            await client.close()
            raise
