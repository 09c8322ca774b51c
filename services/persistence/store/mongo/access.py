"""Address and credentials of MongoDB, and connection errors as one line that names the setting."""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

_UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18


class UnusableFileError(Exception):
    """A file that the settings name cannot be used; the message has the setting, the file and why."""


@dataclass(frozen=True, slots=True)
class MongoAccess:
    """Files are read when a client is built, so that they may be created after the process starts."""

    uri: str
    password_file: Path | None
    ca_file: Path | None
    cert_key_file: Path | None

    def options(self) -> dict[str, Any]:
        """The options of the driver beside the URI. Raises UnusableFileError."""
        options: dict[str, Any] = {}
        if self.password_file is not None:
            options["password"] = read_text("MONGODB_PASSWORD_FILE", self.password_file)
        if self.ca_file is not None:
            read_text("MONGODB_CA_FILE", self.ca_file)
            _check_pem("MONGODB_CA_FILE", self.ca_file, of_client=False)
            options |= {"tls": True, "tlsCAFile": str(self.ca_file)}
        if self.cert_key_file is not None:
            read_text("MONGODB_CERT_KEY_FILE", self.cert_key_file)
            _check_pem("MONGODB_CERT_KEY_FILE", self.cert_key_file, of_client=True)
            options |= {"tls": True, "tlsCertificateKeyFile": str(self.cert_key_file)}
        return options

    @property
    def hosts(self) -> str:
        """The servers of the URI: without user, password and options."""
        return self.uri.partition("://")[2].rpartition("@")[2].partition("/")[0].partition("?")[0]

    def problem_of(self, error: BaseException | None) -> str:
        """Why MongoDB cannot be used, in one line: the setting, the server, the reason."""
        match error:
            case OperationFailure(code=code) if code == AUTHENTICATION_FAILED:
                setting = "MONGODB_PASSWORD_FILE" if self.password_file else "MONGODB_URI"
                return f"{setting}: {self.hosts} refuses user and password: authentication failed"
            case OperationFailure(code=code) if code == _UNAUTHORIZED:
                return f"MONGODB_URI: {self.hosts} requires a user that may read and write"
            case PyMongoError():
                return self._unreachable(_reason(str(error)).removeprefix(f"{self.hosts}: "))
            case _:
                return f"MONGODB_URI {self.hosts}: no answer"

    def _unreachable(self, reason: str) -> str:
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            why = reason.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
            return (
                f"MONGODB_CA_FILE {self.ca_file or '(not set)'}: certificate of {self.hosts}: {why}"
            )
        if "[SSL" in reason or re.search("connection (is already )?closed", reason):
            tls = "(if it requires TLS or a client certificate, set MONGODB_CA_FILE, MONGODB_CERT_KEY_FILE)"
            return f"MONGODB_URI {self.hosts}: connection closed {tls}"
        if "Errno 111" in reason:
            return f"MONGODB_URI {self.hosts}: connection refused"
        if "timed out" in reason or "No servers found yet" in reason:
            return f"MONGODB_URI {self.hosts}: no answer"
        return f"MONGODB_URI {self.hosts}: {reason}"


def read_text(setting: str, path: Path) -> str:
    """The text of a file, stripped. Raises UnusableFileError."""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise UnusableFileError(f"{setting} {path}: {(error.strerror or '').lower()}") from error
    except UnicodeDecodeError as error:
        raise UnusableFileError(f"{setting} {path}: not a text file") from error


def _check_pem(setting: str, path: Path, *, of_client: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if of_client:
            context.load_cert_chain(path, password="")  # else OpenSSL prompts for one
        else:
            context.load_verify_locations(path)
    except (ssl.SSLError, OSError, ValueError) as broken:
        what = "certificate and key" if of_client else "certificate"
        raise UnusableFileError(f"{setting} {path}: no {what} in PEM") from broken


def _reason(message: str) -> str:
    """The driver's message without its settings and its description of the servers."""
    short = re.split(
        r" \(configured timeouts|, Timeout: |, Topology Description|, full error", message
    )[0]
    return " ".join(short.split()) or "no answer"
