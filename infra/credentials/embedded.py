"""Users, keys and certificates of the embedded servers: generated at the first start, kept in one folder of the data."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from infra.credentials.certificates import Certificates
from infra.credentials.mongo_users import MongoUsers
from infra.credentials.nats_users import OPERATOR, NatsUsers
from infra.credentials.private_files import write_if_changed

FOLDER = "credentials"
"""Below the data folder."""
OPERATOR_FILE = "operator.env"
"""Addresses and credentials of the operator, which commands read: services/chassis/local_access.py."""


class Credentials:
    """Users of NATS and MongoDB, and with `tls` the certificates of the servers, in `data/credentials`."""

    def __init__(self, data: Path, *, tls: bool = False) -> None:
        self._folder = (data / FOLDER).resolve()
        self.nats = NatsUsers(self._folder / "nats")
        self.mongo = MongoUsers(self._folder / "mongodb")
        self.certificates = Certificates(self._folder / "tls") if tls else None

    @classmethod
    def found_in(cls, data: Path) -> "Credentials":
        """Those of the product that runs, or last ran, with this data folder."""
        found = cls(data)
        return cls(
            data, tls=bool({"NATS_CA_FILE", "MONGODB_CA_FILE"} & found.operator_access().keys())
        )

    def ensure(self) -> None:
        """Create what is missing."""
        self.nats.ensure()
        self.mongo.ensure()
        if self.certificates:
            self.certificates.ensure(datetime.now(UTC))  # noqa: TID251  an edge of infra

    def nats_options(self, folder: Path) -> str:
        """Lines of the configuration file of a nats-server in `folder`: its users, and TLS."""
        # Relative to the file, as nats-server wants it.
        users = os.path.relpath(self.nats.configuration, folder.resolve())
        lines = f"include {users}\n"
        if self.certificates:
            server = self.certificates.server
            lines += f'tls {{ cert_file: "{server}", key_file: "{server}" }}\n'
        return lines

    def mongo_options(self) -> list[str]:
        """Arguments of mongod: that users sign in, and TLS."""
        if self.certificates is None:
            return ["--auth"]
        return [
            *("--auth", "--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"),
            *("--tlsCertificateKeyFile", str(self.certificates.server)),
            *("--tlsCAFile", str(self.certificates.ca)),
        ]

    def mongo_environment_of(self, user: str, port: int) -> dict[str, str]:
        """The variables by which a user signs in to the embedded MongoDB."""
        variables = self.mongo.environment_of(user, port)
        if self.certificates:
            variables["MONGODB_CA_FILE"] = str(self.certificates.ca)
        return variables

    def environment_of(self, user: str) -> dict[str, str]:
        """The variables by which a user signs in to the embedded NATS."""
        variables = self.nats.environment_of(user)
        if self.certificates:
            variables["NATS_CA_FILE"] = str(self.certificates.ca)
        return variables

    def write_operator_file(self, variables: Mapping[str, str]) -> None:
        """What commands on this machine read. `variables` are the addresses of the servers."""
        lines = sorted(f"{name}={value}\n" for name, value in variables.items())
        write_if_changed(self._folder / OPERATOR_FILE, "".join(lines))

    def operator_access(self) -> dict[str, str]:
        """What `write_operator_file` wrote last."""
        file = self._folder / OPERATOR_FILE
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def files(self) -> tuple[Path, ...]:
        """The files that a running nats-server reads again when they change."""
        server = (self.certificates.server,) if self.certificates else ()
        return (self.nats.configuration, *server)


__all__ = ["FOLDER", "OPERATOR", "OPERATOR_FILE", "Credentials"]
