"""What every process is told by its environment; read once in `__main__`, handed down from there."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _none_if_empty(given: object) -> object:
    return None if given == "" else given


FilePath = Annotated[Path | None, BeforeValidator(_none_if_empty)]
"""A file that is read when it is needed, so that it may come later and change; empty: none."""
Text = Annotated[str | None, BeforeValidator(_none_if_empty)]
Secret = Annotated[SecretStr | None, BeforeValidator(_none_if_empty)]


class Settings(BaseSettings):
    """Settings that every service has. Raises pydantic.ValidationError naming the variable."""

    # What is wrong is named without what was given: that may hold a password.
    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    nats_url: str = "nats://127.0.0.1:4222"
    """One server or several, separated by commas: `nats://a:4222,nats://b:4222`, or `tls://`."""
    nats_user: Text = None
    nats_password: Secret = None
    nats_password_file: FilePath = None
    nats_nkey_seed_file: FilePath = None
    nats_credentials_file: FilePath = None
    """A `.creds` file: a user's JWT and seed. The ways to sign in exclude each other."""
    nats_ca_file: FilePath = None
    """Who signed the server's certificate, instead of the system's authorities; demands TLS."""
    nats_cert_file: FilePath = None
    nats_key_file: FilePath = None
    nats_inbox_prefix: Text = None
    """Where answers to this service arrive; by default `_INBOX_` and the name of the service."""
    host: str = "127.0.0.1"
    auth_allow_insecure: bool = False
    """Something else keeps the door: listen to the network though nobody has to sign in here."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    logs_as_json: bool = False
    stream_replicas: int = Field(default=1, ge=1, le=5)
    """Replicas of each stream and bucket: 1 on a laptop, 3 on a NATS cluster."""
    ensure_streams: bool = True
    """Create and upgrade streams at the start; false: only check them, and wait for missing ones."""
    drain_seconds: float = Field(default=10.0, gt=0)
    """How long a stopping process may take to hand over what it has open."""

    @field_validator("nats_url")
    @classmethod
    def _names_servers(cls, given: str) -> str:
        urls = nats_urls(given)
        if not urls:
            raise ValueError("NATS_URL names no server: expected nats://host:4222")
        for url in urls:
            if url.scheme not in ("nats", "tls") or not url.hostname or not _has_port(url):
                raise ValueError("NATS_URL: expected nats://host:4222 or tls://host:4222")
        if len({url.netloc.rpartition("@")[0] for url in urls if "@" in url.netloc}) > 1:
            raise ValueError("NATS_URL: all servers take the same user, and the same password")
        return given

    @model_validator(mode="after")
    def _signs_in_one_way(self) -> Self:
        passwords = [
            name
            for name, given in (
                ("NATS_PASSWORD", self.nats_password),
                ("NATS_PASSWORD_FILE", self.nats_password_file),
            )
            if given
        ]
        if bool(self.nats_user) != (len(passwords) == 1):
            raise ValueError(
                "NATS_USER goes with one of NATS_PASSWORD and NATS_PASSWORD_FILE, and they with it"
            )
        ways = {
            "NATS_URL": any("@" in url.netloc for url in nats_urls(self.nats_url)),
            "NATS_USER": bool(self.nats_user),
            "NATS_NKEY_SEED_FILE": bool(self.nats_nkey_seed_file),
            "NATS_CREDENTIALS_FILE": bool(self.nats_credentials_file),
        }
        chosen = [name for name, given in ways.items() if given]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} both say who signs in to NATS: keep one")
        if bool(self.nats_cert_file) != bool(self.nats_key_file):
            raise ValueError("NATS_CERT_FILE and NATS_KEY_FILE go together")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can come in."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def nats_urls(given: str) -> list[SplitResult]:
    """The servers of NATS_URL, with their user and password; a bare `host` is `nats://host`."""
    each = (one.strip() for one in given.split(","))
    return [urlsplit(one if "://" in one else f"nats://{one}") for one in each if one]


def _has_port(url: SplitResult) -> bool:
    try:
        return url.port is None or url.port > 0
    except ValueError:
        return False
