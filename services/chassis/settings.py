"""Settings that every service reads from its environment, once, in `__main__`."""

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

    # Errors name the variable without its value, which may hold a password. The text below each field
    # is its description in the Configuration Reference.
    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    nats_url: str = "nats://127.0.0.1:4222"
    """NATS servers, separated by commas: `nats://a:4222,nats://b:4222`, or `tls://`."""
    nats_user: Text = None
    """NATS user. The ways to authenticate (URL, user, nkey, credentials file) exclude each other."""
    nats_password: Secret = None
    """Password of `NATS_USER`."""
    nats_password_file: FilePath = None
    """File with the password of `NATS_USER`, read at each connect."""
    nats_nkey_seed_file: FilePath = None
    """File with the seed of an nkey."""
    nats_credentials_file: FilePath = None
    """A `.creds` file with a user's JWT and seed."""
    nats_ca_file: FilePath = None
    """PEM file with the certificate authority of the server, instead of the system's; requires TLS."""
    nats_cert_file: FilePath = None
    """PEM file with the client certificate; goes with `NATS_KEY_FILE`."""
    nats_key_file: FilePath = None
    """PEM file with the key of the client certificate."""
    nats_inbox_prefix: Text = None
    """Subject prefix of answers to this service; by default `_INBOX_` and the name of the service. Its
    NATS user must be allowed to publish and subscribe below it."""
    encryption_keys: Text = None
    """Encrypts what is said in chats, in NATS and in MongoDB, with a key for each chat: `file:/path` or
    `env:NAME` of the keys that wrap those, one a line: a name, a space, 32 bytes in base64. All services
    but metrics need the same. Unset: nothing is encrypted."""
    host: str = "127.0.0.1"
    """Address that the service listens on."""
    allowed_hosts: str = ""
    """Host names by which clients may call this service, separated by commas: `*.example.com` for its
    subdomains, `*` for every name. IP addresses and `localhost` are always accepted. Unset: on a
    loopback address without authentication no other name, else every name."""
    auth_allow_insecure: bool = False
    """Listen on the network without authentication, because something else authenticates requests."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level of log lines."""
    logs_as_json: bool = False
    """Log JSON Lines instead of text."""
    logs_base_dir: FilePath = None
    """Folder of `mozaiks.log`, which has all lines of all services that are given the same folder, and
    is rotated at 10 MB; five old ones are kept. Unset: lines go to standard error only."""
    no_color: Text = None
    """Whatever it is set to: no colours on a terminal."""
    stream_replicas: int = Field(default=1, ge=1, le=5)
    """Replicas of each stream, bucket and object store: 1 on one server, 3 on a NATS cluster."""
    event_streams: Literal[1, 2, 4, 8, 16] = 1
    """Streams that the events are spread over: where there is none yet, so many are created. Events of
    an existing stream are moved by `mozaiks streams spread`, never by a service."""
    ensure_streams: bool = True
    """Create and upgrade streams at the start. If false: only check them, and wait for missing ones."""
    drain_seconds: float = Field(default=10.0, gt=0)
    """Seconds that a stopping process may take to hand over what it has open."""

    otel_traces_exporter: Text = None
    """Exporters of OpenTelemetry traces, separated by commas: `otlp`, `console` (to standard output), or
    `none`. Unset: `otlp` if one of the two endpoints below is set, else none. The other standard
    variables, as OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES or OTEL_TRACES_SAMPLER, count, too."""
    otel_exporter_otlp_endpoint: Text = None
    """Base address of the receiver of traces: `http://127.0.0.1:4318`, to which `/v1/traces` is added."""
    otel_exporter_otlp_traces_endpoint: Text = None
    """Whole address of the receiver of traces, instead of the base address."""
    otel_exporter_otlp_protocol: Text = None
    """Protocol of the exporter `otlp`; only `http/protobuf` is supported."""
    otel_sdk_disabled: Text = None
    """`true`: export no traces, whatever the other variables say."""
    otel_bsp_max_queue_size: int = Field(default=2048, ge=1)
    """Spans that wait to be exported; more are dropped and counted."""
    otel_bsp_max_export_batch_size: int = Field(default=512, ge=1)
    """Spans that are exported at once."""
    otel_bsp_schedule_delay: float = Field(default=5000.0, gt=0)
    """Milliseconds after which spans are exported that are no full batch."""
    otel_instrumentation_genai_capture_message_content: Text = None
    """`true`, `span_only` or `span_and_event`: spans have the text of prompts, answers, arguments and
    results of tools, shortened and without known secrets. Unset: no such text."""

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
    def hosts(self) -> frozenset[str]:
        """The host names by which clients may call this service, in lower case."""
        if names := comma_separated(self.allowed_hosts.lower()):
            return names
        return frozenset() if self.is_loopback and not self.authenticates else frozenset({"*"})

    @property
    def authenticates(self) -> bool:
        """Whether requests need a credential, which a page of another origin does not have."""
        return False

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can come in."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def comma_separated(text: str) -> frozenset[str]:
    return frozenset(part for item in text.split(",") if (part := item.strip()))


def nats_urls(given: str) -> list[SplitResult]:
    """The servers of NATS_URL, with their user and password; a bare `host` is `nats://host`."""
    each = (one.strip() for one in given.split(","))
    return [urlsplit(one if "://" in one else f"nats://{one}") for one in each if one]


def _has_port(url: SplitResult) -> bool:
    try:
        return url.port is None or url.port > 0
    except ValueError:
        return False
