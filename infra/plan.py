"""The plan of `make run`: what to start, decided from the environment before anything starts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from infra.ports import LOOPBACK

Service = Literal["transport", "metrics", "orchestrator", "persistence"]
SERVICES: tuple[Service, ...] = get_args(Service)
"""In the order of their ports, from PORT upwards."""

STEADY_SECONDS = 30.0
"""A process that ran this long has recovered: its next exit counts as the first."""
MAX_BACKOFF_SECONDS = 15.0
SYNC_INTERVAL = "10s"
"""How much acknowledged data a power failure may lose; a killed process loses none."""

_ONLY: dict[Service, tuple[str, ...]] = {
    "orchestrator": (
        *("OPENAI_", "DEFAULT_LLM_", "DEEPSEEK_", "GEMINI_", "GROQ_", "MISTRAL_", "OPENROUTER_"),
        *("XAI_", "LLM_", "ANTHROPIC_", "GOOGLE_API_KEY", "GOOGLE_GEMINI_"),
    ),
    "persistence": ("MONGODB_",),
    "metrics": ("METRICS_TOKEN",),
}
"""Prefixes of variables that only one service gets: a secret goes where it is used."""


_NATS_CREDENTIALS = (
    *("NATS_USER", "NATS_PASSWORD", "NATS_NKEY_SEED_FILE", "NATS_CREDENTIALS_FILE"),
    *("NATS_CA_FILE", "NATS_CERT_FILE", "NATS_KEY_FILE", "NATS_INBOX_PREFIX"),
)
MONGODB_CREDENTIALS = ("MONGODB_PASSWORD_FILE", "MONGODB_CA_FILE", "MONGODB_CERT_KEY_FILE")
"""Of servers of one's own: the embedded ones have others."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable that `make run` itself reads, for the Configuration Reference."""

    name: str
    type: str
    default: str
    description: str


VARIABLES = (
    Variable(
        "PORT",
        "port",
        "8000",
        "Port of the transport with the console. Metrics, orchestrator and persistence take the next three; 0: any free ones.",
    ),
    Variable("METRICS_PORT", "port", "PORT + 1", "Port of the metrics service."),
    Variable("ORCHESTRATOR_PORT", "port", "PORT + 2", "Port of the orchestrator."),
    Variable("PERSISTENCE_PORT", "port", "PORT + 3", "Port of persistence."),
    Variable("DATA_DIR", "path", ".data", "Folder of the embedded servers' data and of all logs."),
    Variable(
        "NATS_URL",
        "text",
        "",
        "NATS servers of your own; without it an embedded nats-server is started.",
    ),
    Variable("NATS_PORT", "port", "4222", "Port of the embedded nats-server; 0: any free one."),
    Variable(
        "NATS_SYNC_INTERVAL",
        "time",
        SYNC_INTERVAL,
        "How often the embedded nats-server syncs to disk: `10s`, or `always`, before each acknowledgement.",
    ),
    Variable(
        "SECURE",
        "true or false",
        "false",
        "Whether the embedded servers take encrypted connections only (TLS), by certificates that are generated "
        "in `DATA_DIR/credentials`. Users with rights of their own they have always.",
    ),
    Variable(
        "MONGODB_URI",
        "text",
        "",
        "A MongoDB of your own; without it an embedded one is started.",
    ),
    Variable("MONGO_PORT", "port", "0", "Port of the embedded MongoDB; 0: any free one."),
    Variable(
        "ENSURE_STREAMS",
        "true or false",
        "true",
        "Whether streams are created and upgraded before the services start.",
    ),
)
"""Every variable that `build_plan` reads, besides those of the services."""


class PlanError(Exception):
    """The environment has an invalid value; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A port to listen on, and the variable that sets it."""

    name: str
    port: int
    variable: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Ports and folders. `nats_url` and `mongodb_uri` are those given; none: embedded servers run."""

    data: Path
    ports: Mapping[Service, int]
    nats_url: str | None
    nats_port: int
    nats_sync_interval: str
    """`always`, or a time that nats-server reads: `10s`."""
    secure: bool
    """Whether the embedded servers require TLS."""
    ensure_streams: bool
    """Whether streams are created and upgraded before the services start, or only checked by them."""
    mongodb_uri: str | None
    mongo_port: int
    """0: any free one."""
    real_model: bool

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['transport']}/"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    def listeners(self) -> list[Listener]:
        """Every port that must be free before anything is started."""
        found = [Listener(name, self.ports[name], _variable(name)) for name in SERVICES]
        if self.nats_url is None:
            found.append(Listener("nats-server", self.nats_port, "NATS_PORT"))
        if self.mongodb_uri is None and self.mongo_port:
            found.append(Listener("mongod", self.mongo_port, "MONGO_PORT"))
        return found


def build_plan(environ: Mapping[str, str]) -> Plan:
    """Raises PlanError."""
    base = _port(environ, "PORT", 8000)
    plan = Plan(
        data=Path(environ.get("DATA_DIR") or ".data"),
        ports={
            name: _port(environ, f"{name.upper()}_PORT", base + offset)
            for offset, name in enumerate(SERVICES)
        },
        nats_url=environ.get("NATS_URL") or None,
        nats_port=_port(environ, "NATS_PORT", 4222),
        nats_sync_interval=_sync_interval(environ),
        secure=_switch(environ, "SECURE", default=False),
        ensure_streams=_switch(environ, "ENSURE_STREAMS", default=True),
        mongodb_uri=environ.get("MONGODB_URI") or None,
        mongo_port=_port(environ, "MONGO_PORT", 0),
        real_model=_has_model(environ),
    )
    _require_distinct_ports(plan.listeners())
    return plan


def _has_model(environ: Mapping[str, str]) -> bool:
    other = environ.get("DEFAULT_LLM_PROVIDER", "openai") != "openai"
    return other or bool(environ.get("OPENAI_API_KEY"))


def environment_of(
    service: Service, plan: Plan, environ: Mapping[str, str], *, nats_url: str, mongodb_uri: str
) -> dict[str, str]:
    """Environment of one service: all variables but those of other services, plus the addresses."""
    variables = _shared(environ, service, plan) | {
        f"{name.upper()}_PORT": str(port) for name, port in plan.ports.items()
    }
    variables |= {"NATS_URL": nats_url, "ENSURE_STREAMS": "false", "PYTHONUNBUFFERED": "1"}
    variables.setdefault("LOGS_BASE_DIR", str(plan.logs.resolve()))
    if service == "persistence":
        variables["MONGODB_URI"] = mongodb_uri
    return variables


def environment_of_ensure(
    plan: Plan, environ: Mapping[str, str], *, nats_url: str
) -> dict[str, str]:
    """Environment of the program that creates and upgrades the streams."""
    return _shared(environ, None, plan) | {"NATS_URL": nats_url}


def _shared(environ: Mapping[str, str], service: Service | None, plan: Plan) -> dict[str, str]:
    """All variables but those that only another service gets, and credentials of other servers."""
    foreign = tuple(begin for name, begins in _ONLY.items() if name != service for begin in begins)
    if plan.nats_url is None:
        foreign += _NATS_CREDENTIALS
    if plan.mongodb_uri is None:
        foreign += MONGODB_CREDENTIALS
    return {key: value for key, value in environ.items() if not key.startswith(foreign)}


def backoff_after_exit(exits: int, lived: float) -> tuple[int, float]:
    """The number of exits in a row, and the seconds to wait before the next start."""
    in_a_row = 1 if lived >= STEADY_SECONDS else exits + 1
    return in_a_row, min(0.25 * 2.0 ** min(in_a_row - 1, 10), MAX_BACKOFF_SECONDS)


def summary(plan: Plan, *, nats_url: str, mongodb_uri: str) -> str:
    """What runs where, for the terminal; a given address is not shown, it may have a password."""
    nats = "as NATS_URL says" if plan.nats_url else f"{nats_url} (embedded)"
    mongo = "as MONGODB_URI says" if plan.mongodb_uri else f"{mongodb_uri} (embedded)"
    model = "as the provider's key allows" if plan.real_model else "demo model: no OPENAI_API_KEY"
    return "\n".join(
        [
            f"Mozaiks Runtime: {plan.address}",
            f"  metrics  http://{LOOPBACK}:{plan.ports['metrics']}/metrics/prometheus",
            f"  NATS     {nats}",
            f"  MongoDB  {mongo}",
            f"  data     {plan.data}, logs in {plan.logs}",
            f"  model    {model}",
            "Ctrl-C stops everything.",
        ]
    )


def _variable(name: Service) -> str:
    return "PORT" if name == "transport" else f"{name.upper()}_PORT"


def _sync_interval(environ: Mapping[str, str]) -> str:
    given = environ.get("NATS_SYNC_INTERVAL") or SYNC_INTERVAL
    if not re.fullmatch(r"always|[1-9][0-9]{0,5}(ms|s|m|h)", given, re.ASCII):
        raise PlanError(
            f"NATS_SYNC_INTERVAL must be `always` or a time like 500ms, 10s or 2m, not {given!r}"
        )
    return given


def _switch(environ: Mapping[str, str], variable: str, *, default: bool) -> bool:
    given = (environ.get(variable) or str(default)).lower()
    if given not in ("true", "false", "1", "0"):
        raise PlanError(f"{variable} must be true or false, not {given!r}")
    return given in ("true", "1")


def _port(environ: Mapping[str, str], variable: str, default: int) -> int:
    given = environ.get(variable) or str(default)
    if not given.isascii() or not given.isdigit() or not 0 <= int(given) <= 65535:
        raise PlanError(f"{variable} must be a port from 1 to 65535, not {given!r}")
    port = int(given)
    if port == 0 and default:
        raise PlanError(f"{variable} must be a port from 1 to 65535, not {given!r}")
    return port


def _require_distinct_ports(listeners: list[Listener]) -> None:
    taken: dict[int, Listener] = {}
    for listener in listeners:
        if other := taken.get(listener.port):
            raise PlanError(
                f"{other.name} and {listener.name} would both listen on port {listener.port}: "
                f"change {other.variable} or {listener.variable}"
            )
        taken[listener.port] = listener
