"""JWT verification: the signature by the keys of the issuer, then the claims."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import jwt
from jwt.exceptions import PyJWTError
from jwt.types import Options

from services.transport.auth.claims import Expected, invalid_token, principal_from_claims
from services.transport.auth.jwks import JwksCache, SigningKey
from services.transport.auth.principal import Principal

MAX_TOKEN_BYTES = 16_384
ACCESS_TOKEN_TYPES = frozenset({"jwt", "at+jwt"})
"""Accepted `typ` of a token's header, without `application/` (RFC 9068, RFC 8725 section 3.11)."""

# Claims are validated by `claims.py`, which gets the time as an argument.
_SIGNATURE_ONLY: Options = {
    "verify_signature": True,
    "enforce_minimum_key_length": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class TokenVerifier:
    """Verifies the tokens of one issuer."""

    def __init__(self, jwks: JwksCache, expected: Expected, algorithms: Collection[str]) -> None:
        self._jwks = jwks
        self._expected = expected
        self._algorithms = algorithms

    async def verify(self, token: str, now: datetime) -> Principal:
        """The principal that the token is for. Raises ApiError."""
        kid, algorithm = self._header(token)
        keys = await self._jwks.keys_for(kid)
        key = keys.keys.get(kid)
        if key is None or key.algorithm not in (None, algorithm):
            raise invalid_token("signing key (kid) is not published by the issuer")
        return principal_from_claims(
            _claims(token, key, algorithm), keys.issuer, self._expected, now
        )

    def _header(self, token: str) -> tuple[str, str]:
        """Key id and algorithm, from the header that is not verified yet. Raises ApiError."""
        if len(token) > MAX_TOKEN_BYTES:
            raise invalid_token(f"longer than {MAX_TOKEN_BYTES} bytes")
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError) as error:
            raise invalid_token("not a signed JSON Web Token") from error
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise invalid_token("signing algorithm (alg) is not accepted")
        if not _is_access_token(header.get("typ")):
            raise invalid_token("type (typ) is not that of an access token")
        if not isinstance(kid, str):
            raise invalid_token("key id (kid) is missing")
        return kid, algorithm


def _claims(token: str, key: SigningKey, algorithm: str) -> dict[str, Any]:
    try:
        return jwt.decode(token, key.public_key, [algorithm], _SIGNATURE_ONLY)
    except (PyJWTError, TypeError, ValueError, RecursionError) as error:
        raise invalid_token("signature is not valid") from error


def _is_access_token(token_type: object) -> bool:
    """Whether a header's `typ` is that of an access token; most issuers leave it out or write JWT."""
    if token_type is None:
        return True
    if not isinstance(token_type, str):
        return False
    return token_type.lower().removeprefix("application/") in ACCESS_TOKEN_TYPES
