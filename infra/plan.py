"""What `make run` is going to start, decided from the environment before anything is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from infra.ports import LOOPBACK

Service = Literal["transport", "metrics", "orchestrator", "persistence"]
SERVICES: tuple[Service, ...] = get_args(Service)
"""In the order of their ports, from PORT upwards."""

STEADY_SECONDS = 30.0
"""A process that lived this long has recovered: the next death starts the count anew."""
LONGEST_PAUSE = 15.0

_ONLY: dict[Service, tuple[str, ...]] = {
    "orchestrator": (
        *("OPENAI_", "DEFAULT_LLM_", "DEEPSEEK_", "GEMINI_", "GROQ_", "MISTRAL_", "OPENROUTER_"),
        *("XAI_", "LLM_"),
    ),
    "persistence": ("MONGODB_",),
    "metrics": ("METRICS_TOKEN",),
}
"""Variables, by how they begin, that only one service is told: a secret goes where it is used."""


class PlanError(Exception):
    """The environment asks for something that cannot be; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A port of ours, and the variable that moves it."""

    name: str
    port: int
    variable: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Ports and places. `nats_url` and `mongodb_uri` are those given; none: we run our own."""

    data: Path
    ports: Mapping[Service, int]
    nats_url: str | None
    nats_port: int
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
        mongodb_uri=environ.get("MONGODB_URI") or None,
        mongo_port=_port(environ, "MONGO_PORT", 0),
        real_model=_has_model(environ),
    )
    _refuse_doubles(plan.listeners())
    return plan


def _has_model(environ: Mapping[str, str]) -> bool:
    other = environ.get("DEFAULT_LLM_PROVIDER", "openai") != "openai"
    return other or bool(environ.get("OPENAI_API_KEY"))


def environment_of(
    service: Service, plan: Plan, environ: Mapping[str, str], *, nats_url: str, mongodb_uri: str
) -> dict[str, str]:
    """What one service is told: everything we were, less what is another's, plus the addresses."""
    foreign = tuple(begin for name, begins in _ONLY.items() if name != service for begin in begins)
    told = {key: value for key, value in environ.items() if not key.startswith(foreign)}
    told |= {f"{name.upper()}_PORT": str(port) for name, port in plan.ports.items()}
    told |= {"NATS_URL": nats_url, "PYTHONUNBUFFERED": "1"}
    if service == "persistence":
        told["MONGODB_URI"] = mongodb_uri
    if service == "transport":
        told.setdefault("METRICS_PUBLIC_URL", f"http://{LOOPBACK}:{plan.ports['metrics']}")
    return told


def after_death(deaths: int, lived: float) -> tuple[int, float]:
    """How many deaths in a row this makes, and the seconds to wait before the next start."""
    in_a_row = 1 if lived >= STEADY_SECONDS else deaths + 1
    return in_a_row, min(0.25 * 2.0 ** min(in_a_row - 1, 10), LONGEST_PAUSE)


def summary(plan: Plan, *, nats_url: str, mongodb_uri: str) -> str:
    """What runs where, for the person who started it; a given address may hold a password."""
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


def _port(environ: Mapping[str, str], variable: str, default: int) -> int:
    given = environ.get(variable) or str(default)
    if not given.isascii() or not given.isdigit() or not 0 <= int(given) <= 65535:
        raise PlanError(f"{variable} must be a port from 1 to 65535, not {given!r}")
    port = int(given)
    if port == 0 and default:
        raise PlanError(f"{variable} must be a port from 1 to 65535, not {given!r}")
    return port


def _refuse_doubles(listeners: list[Listener]) -> None:
    taken: dict[int, Listener] = {}
    for listener in listeners:
        if other := taken.get(listener.port):
            raise PlanError(
                f"{other.name} and {listener.name} would both listen on port {listener.port}: "
                f"change {other.variable} or {listener.variable}"
            )
        taken[listener.port] = listener
