"""Key providers: who holds the keys that wrap the data keys of chats.

A provider for a key management service has the same two methods, and is chosen in `provider_of`.
Neither key nor data key may be logged, and an error names no key.
"""

import base64
import os
from binascii import Error as Base64Error
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from contracts.ids import AppId

KEY_BYTES = 32
NONCE_BYTES = 12


class KeysError(Exception):
    """The setting ENCRYPTION_KEYS cannot be used: the message says why, without the keys."""


class KeyProvider(Protocol):
    """Wraps data keys with a key of their app. Both methods may ask another service.

    They raise KeysError where the key is not there, and what that service raises otherwise.
    """

    async def wrap(self, app: AppId, place: bytes, data_key: bytes) -> bytes:
        """The data key, encrypted and bound to its place."""
        ...

    async def unwrap(self, app: AppId, place: bytes, wrapped: bytes) -> bytes | None:
        """The data key; None where no key that the provider has opens it."""
        ...


class _Named(NamedTuple):
    name: str
    key: bytes


class LocalKeys:
    """Master keys in this process: the first wraps, all unwrap, so that keys can be replaced.

    The key of an app is derived from a master key by HKDF (RFC 5869) with SHA-256.
    """

    def __init__(self, masters: list[_Named]) -> None:
        self._masters = masters

    async def wrap(self, app: AppId, place: bytes, data_key: bytes) -> bytes:
        master = self._masters[0]
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(_of_app(master, app)).encrypt(nonce, data_key, place)
        return master.name.encode() + b":" + base64.b64encode(nonce + sealed)

    async def unwrap(self, app: AppId, place: bytes, wrapped: bytes) -> bytes | None:
        name, _, text = wrapped.partition(b":")
        for master in self._masters:
            if master.name.encode() == name:
                data = base64.b64decode(text)
                cipher = AESGCM(_of_app(master, app))
                try:
                    return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], place)
                except InvalidTag as foreign:
                    raise KeysError(
                        f"ENCRYPTION_KEYS: key {master.name} is another one"
                    ) from foreign
        return None


def _of_app(master: _Named, app: AppId) -> bytes:
    info = b"mozaiks app key " + app.encode()
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(master.key)


def provider_of(setting: str, environment: Mapping[str, str]) -> KeyProvider:
    """The provider that ENCRYPTION_KEYS names: `file:/path` or `env:NAME`. Raises KeysError."""
    kind, _, where = setting.partition(":")
    match kind:
        case "file":
            try:
                text = Path(where).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise KeysError(f"ENCRYPTION_KEYS: cannot read {where}: {error!r}") from error
        case "env":
            text = environment.get(where, "")
        case _:
            raise KeysError(f"ENCRYPTION_KEYS: expected file:/path or env:NAME, got {kind:.20}:...")
    return LocalKeys(_parsed(text, f"{kind}:{where}"))


def _parsed(text: str, where: str) -> list[_Named]:
    """Keys, one a line: a name, a space, and 32 bytes in base64; the first is used for new chats."""
    found: list[_Named] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, encoded = line.strip().partition(" ")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (Base64Error, ValueError):
            key = b""
        if not name.isalnum() or len(key) != KEY_BYTES:
            raise KeysError(
                f"ENCRYPTION_KEYS: line {number} of {where}: expected a name of letters and digits,"
                " a space, and 32 bytes in base64: openssl rand -base64 32"
            )
        found.append(_Named(name, key))
    if not found:
        raise KeysError(f"ENCRYPTION_KEYS: no key in {where}")
    return found
