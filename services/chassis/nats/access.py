"""Access to NATS: servers, credentials, TLS, and error messages that name the setting at fault.

Files are read at each connect, so that one that appears late, or is renewed, needs no restart.
"""

import errno
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from nats.errors import Error as NatsError
from nats.errors import UnexpectedEOF

from services.chassis.nats.nkeys import Nkey, NkeyError, user_key
from services.chassis.settings import Settings, nats_urls

DEFAULT_PORT = 4222


class UnusableFileError(NatsError):
    """A file of the settings cannot be used. The message names the setting, the file and why."""

    def __init__(self, setting: str, path: Path, why: object) -> None:
        super().__init__(f"{setting} {path}: {why}")


class NoTlsError(NatsError):
    """The server does not offer the TLS that the settings require: nothing was sent to it."""


@dataclass(frozen=True, slots=True)
class NoCredentials:
    """Connect without credentials."""


@dataclass(frozen=True, slots=True)
class Token:
    token: str
    setting: str


@dataclass(frozen=True, slots=True)
class UserPassword:
    user: str
    password: Callable[[], str]
    setting: str


@dataclass(frozen=True, slots=True)
class NkeySeed:
    """A user identified by the public half of its nkey."""

    key: Callable[[], Nkey]
    setting: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user identified by a JWT, with the nkey that signs for it."""

    jwt: Callable[[], str]
    key: Callable[[], Nkey]
    setting: str


SignIn = NoCredentials | Token | UserPassword | NkeySeed | Credentials


@dataclass(frozen=True, slots=True)
class TlsFiles:
    ca: Path | None
    cert: Path | None
    key: Path | None

    def context(self) -> ssl.SSLContext:
        """Raises UnusableFileError."""
        _readable("NATS_CA_FILE", self.ca)
        _readable("NATS_CERT_FILE", self.cert)
        _readable("NATS_KEY_FILE", self.key)
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (ssl.SSLError, OSError) as broken:
            if self.ca is None:
                raise
            raise UnusableFileError("NATS_CA_FILE", self.ca, "no certificate in PEM") from broken
        if self.cert is not None and self.key is not None:
            try:
                # An encrypted key must fail here: without a password it would be asked for.
                context.load_cert_chain(self.cert, self.key, password="")
            except (ssl.SSLError, OSError, ValueError) as broken:
                why = "no certificate and key in PEM that belong together"
                raise UnusableFileError("NATS_CERT_FILE", self.cert, why) from broken
        return context


@dataclass(frozen=True, slots=True)
class Access:
    """`servers` are URLs without user and password: they may be logged."""

    servers: tuple[str, ...]
    sign_in: SignIn
    tls: TlsFiles
    needs_tls: bool
    inbox_prefix: str


def access_of(settings: Settings, service: str) -> Access:
    urls = nats_urls(settings.nats_url)
    return Access(
        servers=tuple(f"{u.scheme}://{_host(u.hostname)}:{u.port or DEFAULT_PORT}" for u in urls),
        sign_in=_sign_in(settings),
        tls=TlsFiles(settings.nats_ca_file, settings.nats_cert_file, settings.nats_key_file),
        needs_tls=any(u.scheme == "tls" for u in urls)
        or settings.nats_ca_file is not None
        or settings.nats_cert_file is not None,
        inbox_prefix=settings.nats_inbox_prefix or f"_INBOX_{service}",
    )


def _host(name: str | None) -> str:
    return f"[{name}]" if name and ":" in name else str(name)


def _sign_in(settings: Settings) -> SignIn:
    if settings.nats_credentials_file is not None:
        return _credentials(settings.nats_credentials_file)
    if settings.nats_nkey_seed_file is not None:
        return _seed(settings.nats_nkey_seed_file)
    if settings.nats_user is not None:
        return _user(settings.nats_user, settings)
    for url in nats_urls(settings.nats_url):
        if url.username is not None:
            return _user_of_url(unquote(url.username), url.password)
    return NoCredentials()


def _credentials(file: Path) -> Credentials:
    setting = "NATS_CREDENTIALS_FILE"
    return Credentials(
        lambda: _between(setting, file, "NATS USER JWT"),
        lambda: _key(setting, file, _between(setting, file, "USER NKEY SEED")),
        setting,
    )


def _seed(file: Path) -> NkeySeed:
    setting = "NATS_NKEY_SEED_FILE"
    return NkeySeed(lambda: _key(setting, file, text_of(setting, file)), setting)


def _user(user: str, settings: Settings) -> UserPassword:
    file, given = settings.nats_password_file, settings.nats_password
    if file is not None:
        setting = "NATS_PASSWORD_FILE"
        return UserPassword(user, lambda: text_of(setting, file), f"NATS_USER and {setting}")
    password = given.get_secret_value() if given else ""
    return UserPassword(user, lambda: password, "NATS_USER and NATS_PASSWORD")


def _user_of_url(user: str, password: str | None) -> Token | UserPassword:
    if password is None:
        return Token(user, "NATS_URL")
    return UserPassword(user, lambda: unquote(password), "NATS_URL")


def text_of(setting: str, path: Path) -> str:
    """The text of a file, stripped. Raises UnusableFileError."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableFileError(setting, path, _reason(error)) from error


def _readable(setting: str, path: Path | None) -> None:
    if path is not None:
        text_of(setting, path)


def _between(setting: str, path: Path, what: str) -> str:
    found = re.search(rf"-+BEGIN {what}-+\s+(\S+)\s+-+END {what}-+", text_of(setting, path))
    if found is None:
        raise UnusableFileError(setting, path, f"there is no {what} in it")
    return found[1]


def _key(setting: str, path: Path, seed: str) -> Nkey:
    try:
        return user_key(seed)
    except NkeyError as broken:
        raise UnusableFileError(setting, path, broken) from None


def describe_error(error: Exception, server: str, access: Access, seconds: float) -> str:
    """Why a server cannot be used, in one line: the setting, the server, the reason.

    `seconds` is the time limit of the connect. Neither user nor password is in it.
    """
    match error:
        case UnusableFileError():
            return str(error)
        case NoTlsError():
            setting = "NATS_CA_FILE" if access.tls.ca else "NATS_URL"
            return f"{setting}: {server} offers no TLS, which the settings require"
        case ssl.SSLCertVerificationError():
            ca = access.tls.ca or "(not set)"
            return f"NATS_CA_FILE {ca}: certificate of {server}: {error.verify_message}"
        case ssl.SSLError():
            cert = access.tls.cert or "(not set)"
            return f"NATS_CERT_FILE {cert}: {server} ended TLS: does it require a certificate, or another one?"
        case TimeoutError() if error.errno is None:
            return f"NATS_URL {server}: no answer within {seconds:g} s"
        case UnexpectedEOF():
            return f"NATS_URL {server}: the connection was lost"
        case OSError():
            return f"NATS_URL {server}: {_reason(error)}"
        case _:
            return _rejection(_plain(str(error).removeprefix("nats: ").strip("'")), server, access)


def _rejection(reason: str, server: str, access: Access) -> str:
    if "authorization" not in reason and "authentication" not in reason:
        return f"NATS_URL {server}: {reason}"
    if isinstance(access.sign_in, NoCredentials):
        return f"NATS_URL {server}: {reason}; no user, nkey or credentials file is set"
    return f"{access.sign_in.setting}: {server} rejects them: {reason}"


def _plain(reason: str | None) -> str:
    return " ".join((reason or "unknown").replace("_", " ").lower().split())


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not a text file"
    if isinstance(error, socket.gaierror):
        return f"unknown host ({error.strerror})"
    refused = f"[Errno {errno.ECONNREFUSED}]"  # of several addresses: no errno of its own
    if isinstance(error, ConnectionRefusedError) or refused in str(error):
        return "connection refused"
    return (error.strerror or str(error) or type(error).__name__).lower()
