"""An OpenID issuer on loopback whose keys and availability a test controls."""

import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIENCE = "api://mozaiks-auth"
DISCOVERY = "/.well-known/openid-configuration"


@lru_cache
def private_key(name: str) -> RSAPrivateKey:  # noqa: ARG001
    """A key of that name; making one takes a while."""
    return generate_private_key(public_exponent=65537, key_size=2048)


def shown(kid: str, **more: Any) -> dict[str, Any]:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(private_key(kid).public_key(), as_dict=True)
    return {**public, "kid": kid, "use": "sig", **more}


class Issuer:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.kids = ["first"]
        self.more: list[Any] = []
        self.away = False
        self.asked: Counter[str] = Counter()

    def page(self, path: str) -> bytes | None:
        self.asked[path] += 1
        if self.away:
            return None
        if path == DISCOVERY:
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        keys = [*(shown(kid) for kid in self.kids), *self.more]
        return json.dumps({"keys": keys}).encode()

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ana",
            "app_id": "acme",
            "scope": "openid access_as_user",
            "iat": now,
            "exp": now + 600,
        }
        return {name: value for name, value in {**usual, **more}.items() if value is not None}

    def token(
        self,
        *,
        kid: str | None = None,
        key: str | None = None,
        typ: str | None = "JWT",
        **claims: Any,
    ) -> str:
        """Signed with the newest key, unless another one is named."""
        kid = kid or self.kids[-1]
        signed_with = private_key(key or kid)
        return jwt.encode(
            self.claims(**claims), signed_with, "RS256", headers={"kid": kid, "typ": typ}
        )

    def by_hand(self, algorithm: str) -> str:
        """Tokens that PyJWT does not make: unsigned, or signed with the public key as a shared secret."""
        header = {"alg": algorithm, "typ": "JWT", "kid": self.kids[-1]}
        signed = f"{_part(header)}.{_part(self.claims())}"
        if algorithm == "none":
            return f"{signed}."
        public = private_key(self.kids[-1]).public_key()
        secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return f"{signed}.{_base64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


@contextmanager
def issuing() -> Iterator[Issuer]:
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = issuer.page(self.path)
            self.send_response(503 if page is None else 200)
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, format: str, *values: Any) -> None:  # noqa: A002
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    issuer = Issuer(server.server_port)
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
