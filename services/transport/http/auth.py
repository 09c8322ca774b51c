"""HTTP routes of sign-in: the identity of the token, and tickets that open a WebSocket."""

from litestar import get, post
from litestar.di import NamedDependency

from services.chassis.streams.definitions import TICKET_SECONDS
from services.transport.auth.principal import Principal
from services.transport.context import RequestContext
from services.transport.http.api_document import documented
from services.transport.http.models.auth import CallerIdentity, WebSocketTicket

TAG = "Sign-in"


@get("/api/me", sync_to_thread=False, **documented(TAG, "The identity of the token"))
def me(context: NamedDependency[RequestContext]) -> CallerIdentity:
    """Everything but `signed_in` is null where sign-in is off."""
    identity = context.identity
    if not isinstance(identity, Principal):
        return CallerIdentity(signed_in=False)
    return CallerIdentity(
        signed_in=True,
        user_id=identity.user,
        app_ids=sorted(identity.apps),
        scopes=sorted(identity.scopes),
        roles=sorted(identity.roles),
        expires_at=identity.expires_at,
    )


@post("/api/ws-ticket", status_code=200, **documented(TAG, "A ticket that opens one WebSocket"))
async def issue_ticket(context: NamedDependency[RequestContext]) -> WebSocketTicket:
    """For browsers, which cannot set headers of a WebSocket: pass it as `?ticket=` in the URL."""
    ticket = await context.services.tickets.issue(context.identity)
    return WebSocketTicket(ticket=ticket, expires_in=TICKET_SECONDS)


HANDLERS = [me, issue_ticket]
