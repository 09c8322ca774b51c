"""Passwords and certificates of MongoDB that change while a client is open.

The driver keeps what it was built with for good: a connection that is opened after a rotation would be
refused. `tests/persistence/store/mongo/test_renewal.py` fails as soon as the driver reads a file itself.
"""

import logging
from typing import Any

from pymongo.monitoring import ConnectionPoolListener

from services.persistence.store.mongo.access import MongoAccess, UnusableFileError
from services.persistence.store.mongo.client import Client

log = logging.getLogger(__name__)


class CredentialRenewal(ConnectionPoolListener):
    """Reads the files of the settings before each connection, and gives the client what has changed."""

    def __init__(self, access: MongoAccess) -> None:
        self._access = access
        self._pool_options: Any = None
        self._times = _times(access)

    def watch(self, client: Client) -> None:
        self._pool_options = client.options.pool_options

    def connection_created(self, event: object) -> None:  # noqa: ARG002  the driver's
        """Called by the driver before it connects."""
        times = _times(self._access)
        if self._pool_options is None or times == self._times:
            return
        try:
            options = self._access.options()
        except UnusableFileError as unusable:  # it is being replaced: what was read before may do
            log.warning("%s; the one before is used", unusable)
            return
        self._times = times
        self._renew(options)

    def _renew(self, options: dict[str, Any]) -> None:
        credential = self._pool_options._credentials  # noqa: SLF001  the driver has no public way
        if credential is not None and "password" in options:
            fresh = credential._replace(
                password=options["password"], cache=type(credential.cache)()
            )
            self._pool_options._PoolOptions__credentials = fresh  # noqa: SLF001
        context = self._pool_options._ssl_context  # noqa: SLF001
        if context is None:
            return
        if certificate := options.get("tlsCertificateKeyFile"):
            context.load_cert_chain(certificate)
        if authority := options.get("tlsCAFile"):
            context.load_verify_locations(authority)

    def pool_created(self, event: object) -> None: ...
    def pool_ready(self, event: object) -> None: ...
    def pool_cleared(self, event: object) -> None: ...
    def pool_closed(self, event: object) -> None: ...
    def connection_ready(self, event: object) -> None: ...
    def connection_closed(self, event: object) -> None: ...
    def connection_check_out_started(self, event: object) -> None: ...
    def connection_check_out_failed(self, event: object) -> None: ...
    def connection_checked_out(self, event: object) -> None: ...
    def connection_checked_in(self, event: object) -> None: ...


def _times(access: MongoAccess) -> tuple[int, ...]:
    """When each file was last written; 0 for one that is not there."""
    files = (access.password_file, access.ca_file, access.cert_key_file)
    found = []
    for file in files:
        try:
            found.append(file.stat().st_mtime_ns if file else 0)
        except OSError:
            found.append(0)
    return tuple(found)
