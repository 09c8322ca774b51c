"""Models of the routes about sign-in."""

from pydantic import Field

from contracts.ids import AppId, UserId
from services.transport.auth.principal import Scope
from services.transport.http.models.base import LATER, ResponseModel, Timestamp


class CallerIdentity(ResponseModel):
    """The identity of the request's token; everything is null where sign-in is off."""

    signed_in: bool = Field(description="Whether there is a token.", examples=[True])
    user_id: UserId | None = Field(default=None, description="The token's user.", examples=["ana"])
    app_ids: list[AppId] | None = Field(
        default=None, description="The token's apps, sorted.", examples=[["acme"]]
    )
    scopes: list[Scope] | None = Field(
        default=None, description="What the token allows, sorted.", examples=[["user"]]
    )
    roles: list[str] | None = Field(
        default=None, description="The roles of the token, sorted.", examples=[["finance"]]
    )
    expires_at: Timestamp | None = Field(
        default=None, description="When the token expires.", examples=[LATER]
    )


class WebSocketTicket(ResponseModel):
    ticket: str = Field(
        description="Opens one WebSocket, once: `?ticket=` in its address.",
        examples=["kW9cJf0n0m3pQd1x7Yb2"],
    )
    expires_in: float = Field(ge=0, description="Seconds until it expires.", examples=[60])
