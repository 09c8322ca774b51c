"""NATS nkeys: Ed25519 seeds in base32, as `nsc` and `nk` write them, and their signatures.

Format: https://docs.nats.io/reference/reference-protocols/nats-protocol/nkeys
"""

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SEED = 18 << 3  # "S"
_USER = 20 << 3  # "U"
_CHECKSUM_BYTES = 2
_SEED_BYTES = 32


class NkeyError(ValueError):
    """Not a valid seed of a user. The message never contains it."""


@dataclass(frozen=True, slots=True)
class Nkey:
    """A user's key. `public` identifies the user at the server: `U...`."""

    public: str
    _private: "Ed25519PrivateKey"

    def sign(self, nonce: str) -> bytes:
        """The signature of the server's nonce, in base64."""
        return base64.b64encode(self._private.sign(nonce.encode()))


def user_key(seed: str) -> Nkey:
    """The key of a user's seed, `SU...`. Raises NkeyError."""
    # Imported with the first key: it takes 7 MB, and most processes have no nkey.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = seed.strip()
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except (binascii.Error, ValueError):
        raise NkeyError("not an nkey seed: expected SU... in base32") from None
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if len(body) != 2 + _SEED_BYTES or _checksum(body) != checksum:
        raise NkeyError("not an nkey seed: its length or checksum is wrong")
    if body[0] & 0xF8 != _SEED or ((body[0] & 7) << 5 | body[1] >> 3) != _USER:
        raise NkeyError("not the seed of a user: expected SU...")
    private = Ed25519PrivateKey.from_private_bytes(body[2:])
    public = bytes([_USER]) + private.public_key().public_bytes_raw()
    return Nkey(encoded(public), private)


def user_seed(secret: bytes) -> str:
    """The seed of a user, `SU...`, from its 32 secret bytes."""
    head = bytes([_SEED | _USER >> 5, (_USER & 31) << 3])
    return encoded(head + secret)


def encoded(raw: bytes) -> str:
    """A key as text: its type and bytes with a checksum, in base32."""
    return base64.b32encode(raw + _checksum(raw)).decode().rstrip("=")


def _checksum(raw: bytes) -> bytes:
    return binascii.crc_hqx(raw, 0).to_bytes(_CHECKSUM_BYTES, "little")
