"""One-time tickets: what a browser may put into a socket's address instead of its token."""

import secrets
from hashlib import sha256

from nats.js.errors import BadRequestError, NotFoundError
from pydantic import TypeAdapter

from contracts import subjects
from services.chassis.bus import Bus
from services.transport.refusals import RefusalError
from services.transport.signin.principal import Anyone, Principal, Who

_WHO: TypeAdapter[Principal | Anyone] = TypeAdapter(Principal | Anyone)
_NOT_THE_LAST = 10071
"""JetStream: somebody else wrote to this subject since."""


class Tickets:
    """Tickets of all transports: any of them takes what another has given, once."""

    def __init__(self, bus: Bus) -> None:
        self._js = bus.js

    async def issue(self, who: Who) -> str:
        """A ticket for whoever asks; JetStream forgets it soon. Raises nats errors."""
        ticket = secrets.token_urlsafe(32)
        await self._js.publish(_subject(ticket), who.model_dump_json().encode())
        return ticket

    async def redeem(self, ticket: str) -> Who:
        """Whose it is; it opens nothing after that. Raises RefusalError, nats errors."""
        stream, subject = subjects.bucket_stream(subjects.TICKETS), _subject(ticket)
        try:
            # Asked of the leader: a replica may not have heard yet of what was just issued.
            found = await self._js.get_last_msg(stream, subject)
        except NotFoundError as unknown:
            raise _used() from unknown
        if not found.data or found.seq is None:
            raise _used()
        await self._spend(subject, found.seq)
        return _WHO.validate_json(found.data)

    async def _spend(self, subject: str, sequence: int) -> None:
        marker = {"KV-Operation": "DEL", "Nats-Expected-Last-Subject-Sequence": str(sequence)}
        try:
            await self._js.publish(subject, headers=marker)
        except BadRequestError as refused:
            if refused.err_code == _NOT_THE_LAST:
                raise _used() from refused
            raise


def _subject(ticket: str) -> str:
    # Its digest: who reads the bucket cannot open a socket.
    return subjects.bucket_subject(subjects.TICKETS, sha256(ticket.encode()).hexdigest())


def _used() -> RefusalError:
    return RefusalError("TOKEN_INVALID", "ticket", "was used, has run out, or never was one")
