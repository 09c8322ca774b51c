"""Certificates of the embedded servers: an authority of this data folder, and one for both servers."""

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from infra.credentials.private_files import write_private
from infra.ports import LOOPBACK

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY_DAYS = 3650
SERVER_DAYS = 365
RENEWED_BEFORE = timedelta(days=60)
"""How long before its end a start replaces the servers' certificate."""
_NAME = "Mozaiks embedded servers"


class Certificates:
    """`ca` signs `server`, which has certificate and key in one file, for nats-server and mongod."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.ca = self._folder / "ca.crt"
        self.server = self._folder / "server.pem"
        self._ca_key = self._folder / "ca.key"

    def ensure(self, now: datetime) -> None:
        """Issue what is missing, and what ends soon."""
        if not (self.ca.exists() and self._ca_key.exists()):
            self._create_authority(now)
            self.rotate(now)
        elif not self.server.exists() or self._ends(self.server) < now + RENEWED_BEFORE:
            self.rotate(now)

    def rotate(self, now: datetime) -> None:
        """Replace the servers' certificate; the authority stays, so that no client needs another one."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        authority = x509.load_pem_x509_certificate(self.ca.read_bytes())
        signing = load_pem_private_key(self._ca_key.read_bytes(), None)
        assert isinstance(signing, ec.EllipticCurvePrivateKey)  # noqa: S101  we wrote it
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address(LOOPBACK))]
        builder = _builder("localhost", authority.subject, key, now, SERVER_DAYS).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        write_private(self.server, _signed(builder, signing) + _pem(key))

    def _create_authority(self, now: datetime) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_NAME, _subject(_NAME), key, now, AUTHORITY_DAYS).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        write_private(self._ca_key, _pem(key))
        write_private(self.ca, _signed(builder, key))

    @staticmethod
    def _ends(file: Path) -> datetime:
        from cryptography import x509

        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc


def _subject(name: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    name: str,
    issuer: "x509.Name",
    key: "ec.EllipticCurvePrivateKey",
    now: datetime,
    days: int,
) -> "x509.CertificateBuilder":
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _signed(builder: "x509.CertificateBuilder", key: "ec.EllipticCurvePrivateKey") -> str:
    from cryptography.hazmat.primitives import hashes, serialization

    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _pem(key: "ec.EllipticCurvePrivateKey") -> str:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
