"""Whom a token speaks for: its signature by the issuer's keys, then its claims."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import jwt
from jwt.exceptions import PyJWTError
from jwt.types import Options

from services.transport.signin.claims import Expected, invalid, judge
from services.transport.signin.keys import Key, KeyRing
from services.transport.signin.principal import Principal

LONGEST_TOKEN = 16_384

# The claims are judged by `claims.py`, which is told the time.
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


class SignIn:
    """Takes tokens of one issuer."""

    def __init__(self, ring: KeyRing, expected: Expected, algorithms: Collection[str]) -> None:
        self._ring = ring
        self._expected = expected
        self._algorithms = algorithms

    async def principal(self, token: str, now: datetime) -> Principal:
        """Raises RefusalError."""
        kid, algorithm = self._header(token)
        trusted = await self._ring.trusted(kid)
        key = trusted.keys.get(kid)
        if key is None or key.algorithm not in (None, algorithm):
            raise invalid("is signed with a key that the issuer does not show")
        return judge(_claims(token, key, algorithm), trusted.issuer, self._expected, now)

    def _header(self, token: str) -> tuple[str, str]:
        """Which key, and which algorithm: the one place that looks at what is not proven yet."""
        if len(token) > LONGEST_TOKEN:
            raise invalid(f"is longer than {LONGEST_TOKEN} bytes")
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError) as broken:
            raise invalid("is no signed JSON Web Token") from broken
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise invalid("is signed by an algorithm that is not allowed")
        if not isinstance(kid, str):
            raise invalid("does not say with which key it is signed")
        return kid, algorithm


def _claims(token: str, key: Key, algorithm: str) -> dict[str, Any]:
    try:
        return jwt.decode(token, key.material, [algorithm], _SIGNATURE_ONLY)
    except (PyJWTError, TypeError, ValueError, RecursionError) as broken:
        raise invalid("is not signed by the issuer") from broken
