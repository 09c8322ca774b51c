"""nkeys of NATS users: Ed25519 keys, with type and checksum, in base32.

The services read seeds by `services.chassis.nats.nkeys`, which infra does not import.
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


@dataclass(frozen=True, slots=True)
class Nkey:
    """A user's key: `public` is known to the server, `seed` to the user only."""

    public: str
    seed: str


def new_user_key() -> Nkey:
    # Imported when a key is made: each start of the product would take longer.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    head = bytes([_SEED | _USER >> 5, (_USER & 31) << 3])
    return Nkey(_public(key), _encoded(head + key.private_bytes_raw()))


def public_key(seed: str) -> str:
    """What the server knows of a user's seed."""
    return _public(_private(seed))


def signature(seed: str, nonce: str) -> str:
    """The signature of a server's nonce by a user's seed, in base64."""
    return base64.b64encode(_private(seed).sign(nonce.encode())).decode()


def _private(seed: str) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    return Ed25519PrivateKey.from_private_bytes(raw[2:-_CHECKSUM_BYTES])


def _public(key: "Ed25519PrivateKey") -> str:
    return _encoded(bytes([_USER]) + key.public_key().public_bytes_raw())


def _encoded(raw: bytes) -> str:
    checksum = binascii.crc_hqx(raw, 0).to_bytes(_CHECKSUM_BYTES, "little")
    return base64.b32encode(raw + checksum).decode().rstrip("=")
