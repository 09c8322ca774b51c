"""What a transport is told about sign-in; where it would let in the world, it does not start."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import SettingsConfigDict

from contracts.ids import AppId
from services.chassis import settings as chassis
from services.transport.signin.claims import Expected
from services.transport.signin.keys import Issuer, Patience, is_private

WELL_KNOWN = "/.well-known/openid-configuration"
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""All of public keys: with a shared secret everyone who can check a token can also make one."""

_NOTHING = BeforeValidator(lambda value: None if value == "" else value)
Given = Annotated[str | None, _NOTHING]
"""What is set to nothing is not given."""


class SignInSettings(chassis.Settings):
    """Sign-in is on where an issuer is given, unless `auth_enabled` says otherwise.

    Lists are separated by commas; names of variables are those of the original, where it had them.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    auth_enabled: Annotated[bool | None, _NOTHING] = None
    auth_issuer: Given = None
    auth_jwks_url: Given = None
    mozaiks_oidc_discovery_url: Given = None
    mozaiks_oidc_authority: Given = None
    mozaiks_oidc_tenant_id: Given = None
    """Of Microsoft Entra: part of the authority's path."""
    auth_audience: str = "api://mozaiks-auth"
    auth_algorithms: str = "RS256"
    auth_required_scope: str = "access_as_user"
    """What makes a token a user's; empty: nothing more than its audience."""
    auth_internal_scope: str = "mozaiks.internal"
    auth_operator_scope: str = "mozaiks.operator"
    auth_user_id_claim: str = "sub"
    auth_app_id_claim: str = "app_id"
    auth_roles_claim: str = "roles"
    auth_app_id: Given = None
    """The app of a token that names none: for an installation that has only one."""
    auth_clock_skew: float = Field(default=120.0, ge=0, le=600)
    auth_jwks_cache_ttl: float = Field(default=3600.0, gt=0)
    auth_discovery_cache_ttl: float = Field(default=86400.0, gt=0)
    auth_jwks_pause: float = Field(default=5.0, ge=0)
    """At least so long lies between two looks for a key that is not known."""
    mozaiks_ws_allow_query_token: bool = False
    """Addresses end up in logs of proxies: a ticket or the subprotocol is better."""
    rate_per_user: int = Field(default=600, ge=0)
    rate_per_app: int = Field(default=6000, ge=0)
    """Requests and messages a minute; 0: no limit."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.signs_in:
            self._refuse_half_an_issuer()
        elif not (self.is_loopback or self.auth_allow_insecure):
            raise ValueError(
                f"HOST={self.host} would let everyone in without sign-in: set AUTH_ISSUER (and "
                "AUTH_AUDIENCE), or AUTH_ALLOW_INSECURE=true where something else keeps the door"
            )
        return self

    def _refuse_half_an_issuer(self) -> None:
        if not self._names_an_issuer:
            raise ValueError(
                "AUTH_ENABLED=true needs AUTH_ISSUER, MOZAIKS_OIDC_DISCOVERY_URL or MOZAIKS_OIDC_AUTHORITY"
            )
        if self.auth_jwks_url and not (self.auth_issuer or self._discovery):
            raise ValueError("AUTH_JWKS_URL needs AUTH_ISSUER: what a token has to say in `iss`")
        if not self.audiences:
            raise ValueError("AUTH_AUDIENCE must not be empty")
        if not self.algorithms or self.algorithms - ALGORITHMS:
            raise ValueError(f"AUTH_ALGORITHMS must be some of {', '.join(sorted(ALGORITHMS))}")
        for url in self.issuer.addresses:
            if not (is_private(url) or self.auth_allow_insecure):
                raise ValueError(f"{url}: keys are read by https, or AUTH_ALLOW_INSECURE=true")

    @property
    def signs_in(self) -> bool:
        return self._names_an_issuer if self.auth_enabled is None else self.auth_enabled

    @property
    def _names_an_issuer(self) -> bool:
        return bool(self.auth_issuer or self.auth_jwks_url or self._discovery)

    @property
    def _discovery(self) -> str | None:
        if self.mozaiks_oidc_discovery_url:
            return self.mozaiks_oidc_discovery_url
        tenant = f"/{self.mozaiks_oidc_tenant_id}/v2.0" if self.mozaiks_oidc_tenant_id else ""
        authority = self.mozaiks_oidc_authority
        base = authority.rstrip("/") + tenant if authority else self.auth_issuer
        return base.rstrip("/") + WELL_KNOWN if base else None

    @property
    def audiences(self) -> frozenset[str]:
        return listed(self.auth_audience)

    @property
    def algorithms(self) -> frozenset[str]:
        return listed(self.auth_algorithms)

    @property
    def issuer(self) -> Issuer:
        return Issuer(
            name=self.auth_issuer,
            jwks_url=self.auth_jwks_url,
            discovery_url=self._discovery,
            may_be_plain=self.auth_allow_insecure,
        )

    @property
    def patience(self) -> Patience:
        return Patience(
            keys=self.auth_jwks_cache_ttl,
            discovery=self.auth_discovery_cache_ttl,
            pause=self.auth_jwks_pause,
        )

    @property
    def expected(self) -> Expected:
        return Expected(
            audiences=self.audiences,
            user_claim=self.auth_user_id_claim,
            app_claim=self.auth_app_id_claim,
            roles_claim=self.auth_roles_claim,
            default_app=AppId(self.auth_app_id) if self.auth_app_id else None,
            user_scope=self.auth_required_scope,
            internal_scope=self.auth_internal_scope,
            operator_scope=self.auth_operator_scope,
            skew=timedelta(seconds=self.auth_clock_skew),
        )


def listed(text: str) -> frozenset[str]:
    return frozenset(part for one in text.split(",") if (part := one.strip()))
