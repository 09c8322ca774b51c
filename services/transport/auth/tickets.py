"""One-time tickets: what a browser puts into the URL of a WebSocket instead of its token."""

import secrets
from hashlib import sha256

from nats.js.errors import BadRequestError, NotFoundError
from pydantic import TypeAdapter

from contracts import subjects
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.auth.principal import Identity, Principal, Unrestricted
from services.transport.errors import ApiError

_IDENTITY: TypeAdapter[Principal | Unrestricted] = TypeAdapter(Principal | Unrestricted)
_WRONG_LAST_SEQUENCE = 10071
"""JSStreamWrongLastSequenceErrF: another message was stored for this subject in the meantime."""


class Tickets:
    """Issues and redeems tickets; one that another transport issued can be redeemed here, once."""

    def __init__(self, gateway: JetStreamGateway) -> None:
        self._js = gateway.js

    async def issue(self, identity: Identity) -> str:
        """A new ticket for an identity; it expires after `TICKET_SECONDS`. Raises errors of NATS."""
        ticket = secrets.token_urlsafe(32)
        await self._js.publish(_subject(ticket), identity.model_dump_json().encode())
        return ticket

    async def redeem(self, ticket: str) -> Identity:
        """The identity of a ticket, which is used up by it. Raises ApiError, errors of NATS."""
        stream, subject = subjects.bucket_stream(subjects.TICKETS), _subject(ticket)
        try:
            # Read from the leader: a replica may not have the ticket yet.
            stored = await self._js.get_last_msg(stream, subject)
        except NotFoundError as error:
            raise _invalid_ticket() from error
        if not stored.data or stored.seq is None:
            raise _invalid_ticket()
        await self._mark_used(subject, stored.seq)
        return _IDENTITY.validate_json(stored.data)

    async def _mark_used(self, subject: str, sequence: int) -> None:
        marker = {"KV-Operation": "DEL", "Nats-Expected-Last-Subject-Sequence": str(sequence)}
        try:
            await self._js.publish(subject, headers=marker)
        except BadRequestError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                raise _invalid_ticket() from error
            raise


def _subject(ticket: str) -> str:
    # Only a digest of the ticket is stored: who can read the bucket still has no ticket.
    return subjects.bucket_subject(subjects.TICKETS, sha256(ticket.encode()).hexdigest())


def _invalid_ticket() -> ApiError:
    return ApiError("TOKEN_INVALID", "ticket", "unknown, expired or already used")
