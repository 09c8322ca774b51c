"""Certificates, nkeys and JWTs for tests."""

import base64
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from services.chassis.nats.nkeys import encoded, user_seed

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its own, in PEM, is the file `ca`."""

    ca: Path
    _key: ec.EllipticCurvePrivateKey
    _name: x509.Name

    def issue(self, name: str) -> tuple[Path, Path, Path]:
        """A certificate for 127.0.0.1, its key, and both in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        signed = _certificate(subject, self._name, key).add_extension(names, critical=False)
        cert = signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        folder = self.ca.parent
        files = folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.pem"
        for file, content in zip(files, (cert, _pem(key), cert + _pem(key)), strict=True):
            file.write_bytes(content)
        return files


def authority(folder: Path, name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = _certificate(subject, subject, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    ca = folder / f"{name}.ca"
    cert = signed.sign(key, hashes.SHA256())
    ca.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return Authority(ca, key, subject)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@dataclass(frozen=True)
class Identity:
    """A key of an operator, an account or a user, and its public name."""

    kind: int
    secret: bytes

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)

    @property
    def public(self) -> str:
        return encoded(bytes([self.kind]) + self._private.public_key().public_bytes_raw())

    def says(self, of: "Identity", **nats: object) -> str:
        """A NATS JWT that this key signs about another."""
        claims = {
            "jti": "none",
            "iat": 1_700_000_000,
            "iss": self.public,
            "sub": of.public,
            "name": "test",
            "nats": {"version": 2, **nats},
        }
        said = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(claims)}"
        return f"{said}.{_base64(self._private.sign(said.encode()))}"


def identity(kind: int) -> Identity:
    return Identity(kind, os.urandom(32))


def credentials(jwt: str, user: Identity) -> str:
    """The text of a `.creds` file."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user_seed(user.secret)}\n------END USER NKEY SEED------\n"
    )


def _part(said: dict[str, object]) -> str:
    return _base64(json.dumps(said).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
