"""Settings of authentication; a process without sign-in starts only on a loopback address."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import SettingsConfigDict

from contracts.ids import AppId
from services.chassis import settings as chassis
from services.chassis.settings import comma_separated
from services.transport.auth.claims import Expected
from services.transport.auth.issuer import CacheTtl, Issuer, is_https_or_loopback

WELL_KNOWN = "/.well-known/openid-configuration"
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Public-key algorithms only: with a shared secret everyone who can verify a token can also forge one."""

_EMPTY_IS_NONE = BeforeValidator(lambda value: None if value == "" else value)
OptionalText = Annotated[str | None, _EMPTY_IS_NONE]
"""An empty value is the same as none."""


class AuthSettings(chassis.Settings):
    """Sign-in is on where an issuer is configured, unless `auth_enabled` says otherwise.

    The `MOZAIKS_*` names are those of the original runtime.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    auth_enabled: Annotated[bool | None, _EMPTY_IS_NONE] = None
    """Whether requests need a token; unset: whether an issuer is configured."""
    auth_issuer: OptionalText = None
    """The required `iss` of tokens; without the other URLs it is also the base of discovery."""
    auth_jwks_url: OptionalText = None
    """URL of the JWK set; unset: found by discovery."""
    mozaiks_oidc_discovery_url: OptionalText = None
    """URL of the OpenID Connect discovery document."""
    mozaiks_oidc_authority: OptionalText = None
    """Base URL from which the discovery URL is built."""
    mozaiks_oidc_tenant_id: OptionalText = None
    """Tenant of Microsoft Entra: part of the path of the authority."""
    auth_audience: str = "api://mozaiks-auth"
    """Accepted audiences (`aud`), separated by commas; one of them is enough."""
    auth_algorithms: str = "RS256"
    """Accepted signing algorithms (`alg`), separated by commas."""
    auth_required_scope: str = "access_as_user"
    """Scope that a token of a user needs; empty: none."""
    auth_internal_scope: str = "mozaiks.internal"
    """Scope of the back end of an app, which acts for any user of its apps."""
    auth_operator_scope: str = "mozaiks.operator"
    """Scope of operators: diagnostics, counts, and raw events, which contain prompts."""
    auth_user_id_claim: str = "sub"
    """Claim that holds the user id."""
    auth_app_id_claim: str = "app_id"
    """Claim that holds the app id, or a list of app ids."""
    auth_roles_claim: str = "roles"
    """Claim with the roles of a user, who may answer questions to these roles; a role also counts as a
    scope, beside `scope` and `scp`."""
    auth_app_id: OptionalText = None
    """App of tokens without an app claim: for an installation with a single app."""
    auth_clock_skew: float = Field(default=120.0, ge=0, le=600)
    """Seconds by which the clocks of issuer and transport may differ."""
    auth_jwks_cache_ttl: float = Field(default=3600.0, gt=0)
    """Seconds after which the keys are fetched again."""
    auth_discovery_cache_ttl: float = Field(default=86400.0, gt=0)
    """Seconds after which the discovery document is fetched again."""
    auth_jwks_min_refresh_seconds: float = Field(default=5.0, ge=0)
    """Least number of seconds between two fetches of the keys because of an unknown key id."""
    mozaiks_ws_allow_query_token: bool = False
    """Whether sockets accept `?access_token=`; URLs end up in proxy logs, so prefer a ticket."""
    rate_per_user: int = Field(default=600, ge=0)
    """Requests and messages per minute of one user; 0: no limit."""
    rate_per_app: int = Field(default=6000, ge=0)
    """Requests and messages per minute of one app; 0: no limit."""
    rate_per_address: int = Field(default=3000, ge=0)
    """Requests per minute of one client address to pages that are open to everyone; 0: no limit. Behind a
    proxy, uvicorn takes the address from `X-Forwarded-For` where `FORWARDED_ALLOW_IPS` trusts the proxy."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.authenticates:
            self._check_issuer()
        elif not (self.is_loopback or self.auth_allow_insecure):
            raise ValueError(
                f"HOST={self.host} would give everyone access without sign-in: set AUTH_ISSUER (and "
                "AUTH_AUDIENCE), or AUTH_ALLOW_INSECURE=true where a proxy authenticates requests"
            )
        return self

    def _check_issuer(self) -> None:
        if not self._issuer_is_configured:
            raise ValueError(
                "AUTH_ENABLED=true needs AUTH_ISSUER, MOZAIKS_OIDC_DISCOVERY_URL or MOZAIKS_OIDC_AUTHORITY"
            )
        if self.auth_jwks_url and not (self.auth_issuer or self._discovery):
            raise ValueError("AUTH_JWKS_URL needs AUTH_ISSUER, the required `iss` of tokens")
        if not self.audiences:
            raise ValueError("AUTH_AUDIENCE must not be empty")
        if not self.algorithms or self.algorithms - ALGORITHMS:
            raise ValueError(
                f"AUTH_ALGORITHMS must be one or more of {', '.join(sorted(ALGORITHMS))}"
            )
        for url in self.issuer.urls:
            if not (is_https_or_loopback(url) or self.auth_allow_insecure):
                raise ValueError(f"{url}: must be https, unless AUTH_ALLOW_INSECURE=true")

    @property
    def authenticates(self) -> bool:
        return self._issuer_is_configured if self.auth_enabled is None else self.auth_enabled

    @property
    def _issuer_is_configured(self) -> bool:
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
        return comma_separated(self.auth_audience)

    @property
    def algorithms(self) -> frozenset[str]:
        return comma_separated(self.auth_algorithms)

    @property
    def issuer(self) -> Issuer:
        return Issuer(
            name=self.auth_issuer,
            jwks_url=self.auth_jwks_url,
            discovery_url=self._discovery,
            allow_http=self.auth_allow_insecure,
        )

    @property
    def jwks_cache_ttl(self) -> CacheTtl:
        return CacheTtl(
            keys=self.auth_jwks_cache_ttl,
            discovery=self.auth_discovery_cache_ttl,
            min_refresh_interval=self.auth_jwks_min_refresh_seconds,
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
            clock_skew=timedelta(seconds=self.auth_clock_skew),
        )
