"""Who somebody is to us, and the ticket that opens their socket."""

from typing import Any

from litestar import get, post
from litestar.di import NamedDependency

from services.chassis.streams import TICKET_SECONDS
from services.transport.desk import Desk
from services.transport.openapi import Told, told
from services.transport.signin.principal import Principal, Who

Json = dict[str, Any]

ME = {
    "signed_in": True,
    "user_id": "ana",
    "app_ids": ["acme"],
    "scopes": ["user"],
    "expires_at": "2026-11-25T13:00:00+00:00",
}


@get(
    "/api/me",
    opt=told(Told("Whom the token speaks for; all null where sign-in is off.", ME)),
    sync_to_thread=False,
)
def me(desk: NamedDependency[Desk]) -> Json:
    return _told(desk.who)


@post(
    "/api/ws-ticket",
    status_code=200,
    opt=told(
        Told(
            "A ticket that opens one socket, once: `?ticket=` in its address.",
            {"ticket": "kW9cJf0n0m3pQd1x7Yb2", "expires_in": TICKET_SECONDS},
            refusals=(503,),
        )
    ),
)
async def ticket(desk: NamedDependency[Desk]) -> Json:
    return {"ticket": await desk.tickets.issue(desk.who), "expires_in": TICKET_SECONDS}


def _told(who: Who) -> Json:
    if not isinstance(who, Principal):
        return {**dict.fromkeys(ME), "signed_in": False}
    return {
        "signed_in": True,
        "user_id": who.user,
        "app_ids": sorted(who.apps),
        "scopes": sorted(who.scopes),
        "expires_at": who.until.isoformat(),
    }


HANDLERS = [me, ticket]
