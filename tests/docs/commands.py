"""Shell commands of the documentation, checked without running them: program, options, targets, routes."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from docs.generators import configuration, http_routes
from docs.generators.pages import ROOT
from infra.images.plan import image_name
from infra.plan import SERVICES
from services.chassis.logs.log_file import FILE_NAME
from services.orchestrator.cli.__main__ import app as author_commands

PORTS = {8000: "transport", 8001: "metrics", 8002: "orchestrator", 8003: "persistence"}
PROBES = {"/health", "/ready", "/metrics"}
METRICS_ROUTES = {
    "/metrics/perf/aggregate",
    "/metrics/perf/chats",
    "/metrics/perf/chats/{chat_id}",
    "/metrics/perf/stalled",
    "/metrics/prometheus",
}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_OF_MAKE = {"PYTHON", "TESTS", "THOROUGH", "CHAOS", "BENCH", "UPGRADE", "BASE", "RELEASE", "IMAGES"}
"""Variables of targets, which no service reads."""
_CURL_FLAGS = {"-N", "-s"}
_CURL_OPTIONS = {"-X", "-H", "-d"}


class UnknownCommandError(AssertionError):
    """A command that the product does not have; says what is wrong with it."""


@dataclass(slots=True)
class CurlRequest:
    method: str = ""
    url: str = ""
    body: str | None = None
    headers: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


def commands(text: str) -> list[list[str]]:
    """The commands of a shell snippet, each as its words; comments are left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return _lines_to_words(joined)


def _lines_to_words(text: str) -> list[list[str]]:
    found: list[list[str]] = []
    pending = ""
    for line in text.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quoted text goes on in the next line
            continue
        pending = ""
        if words:
            found.append(words)
    if pending:
        raise UnknownCommandError(f"a quote is not closed: {pending}")
    return found


def check(words: list[str]) -> None:
    """Raises UnknownCommandError."""
    words = _without_assignments(words)
    match words:
        case []:
            return
        case ["make", *arguments]:
            _check_make(arguments)
        case ["python", "-m", module, *arguments]:
            _check_module(module, arguments)
        case [".venv/bin/mozaiks" | "mozaiks", *arguments]:
            _check_author_command(arguments)
        case ["python", script, *_]:
            _require((ROOT / script).is_file(), f"there is no {script}")
        case ["curl", *arguments]:
            _check_curl(curl_request(arguments))
        case ["kubectl", "kustomize", folder]:
            _require((ROOT / folder / "kustomization.yaml").is_file(), f"there is no {folder}")
        case ["helm", "upgrade", "--install", _, chart, *_]:
            _require((ROOT / chart / "Chart.yaml").is_file(), f"there is no {chart}")
        case ["kubectl", "create", "secret", "generic", *_] | ["kubectl", "delete", "job", *_]:
            return  # of the reader's own cluster
        case ["buildah", "push", "--digestfile", _, image, _]:
            _require(image in map(image_name, SERVICES), f"make images makes no {image}")
        case ["docker", "compose", "up", "--wait"]:
            _require((ROOT / "compose.yaml").is_file(), "there is no compose.yaml")
        case ["cosign", "sign" | "attest" | "verify" | "verify-attestation", *_]:
            return  # not installed here
        case ["tail", *arguments]:
            _check_log(arguments[-1])
        case _:
            raise UnknownCommandError(f"no check for the program {words[0]}")


def _without_assignments(words: list[str]) -> list[str]:
    rest = list(words)
    while rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
        _require_variable(found[1])
        rest.pop(0)
    return rest


def _require_variable(name: str) -> None:
    known = name in configuration.variables() or name in _OF_MAKE
    _require(known, f"{name} is no setting")


def _check_make(arguments: Iterable[str]) -> None:
    for argument in arguments:
        if found := _ASSIGNMENT.fullmatch(argument):
            _require_variable(found[1])
        else:
            _require(argument in make_targets(), f"there is no target {argument}")


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _check_module(module: str, arguments: list[str]) -> None:
    spec = find_spec(module)
    _require(spec is not None, f"there is no module {module}")
    source = _source_of(module)
    for argument in arguments:
        if argument.startswith("--"):
            option = argument.partition("=")[0]
            _require(f'"{option}"' in source, f"{module} has no option {option}")
    if arguments and re.fullmatch(r"[a-z]+", arguments[0]):
        _require(f'"{arguments[0]}"' in source, f"{module} has no command {arguments[0]}")


def _check_author_command(arguments: list[str]) -> None:
    """Looks each word up, without running anything."""
    command: Any = typer.main.get_command(author_commands)
    name, rest = "mozaiks", list(arguments)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        word = rest.pop(0)
        _require(word in command.commands, f"{name} has no command {word}")
        name, command = f"{name} {word}", command.commands[word]
    known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
    for argument in rest:
        if argument.startswith("-"):
            _require(argument.partition("=")[0] in known, f"{name} has no {argument}")


def _source_of(module: str) -> str:
    """What the program consists of: its module, and its package's other modules."""
    path = ROOT.joinpath(*module.split("."))
    files = (
        path.glob("*.py") if path.is_dir() else [path.with_suffix(".py"), *path.parent.glob("*.py")]
    )
    return "\n".join(file.read_text() for file in files)


def curl_request(arguments: list[str]) -> CurlRequest:
    """What curl would send. Raises UnknownCommandError for an option that no check knows."""
    request = CurlRequest()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in _CURL_FLAGS:
            continue
        if word in _CURL_OPTIONS:
            value = rest.pop(0)
            match word:
                case "-X":
                    request.method = value
                case "-d":
                    request.body = value
                case _:
                    request.headers.append(value)
        elif word.startswith("http"):
            request.url = word
        else:
            raise UnknownCommandError(f"no check for curl {word}")
    request.method = request.method or ("POST" if request.body is not None else "GET")
    return request


def _check_curl(request: CurlRequest) -> None:
    port = urlsplit(request.url).port or 0
    _require(port in PORTS, f"no service has port {port}")
    path = request.path
    if request.method == "GET" and path in PROBES:
        return
    if PORTS[port] == "metrics":
        _require(any(_fits(route, path) for route in METRICS_ROUTES), f"metrics has no {path}")
        return
    _require(PORTS[port] == "transport", f"{PORTS[port]} has no {path}")
    if any(_fits(route, path) for route in METRICS_ROUTES):
        return
    _require(has_route(request.method, path), f"the transport has no {request.method} {path}")


def has_route(method: str, path: str) -> bool:
    """Whether the OpenAPI document has the route that a path belongs to, or the path itself."""
    return any(_fits(route, path) and method.lower() in item for route, item in _routes().items())


@cache
def _routes() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = http_routes.document()["paths"]
    return found


def _fits(route: str, path: str) -> bool:
    steps = (r"[^/]+" if part.startswith("{") else re.escape(part) for part in route.split("/"))
    return re.fullmatch("/".join(steps), path) is not None


def _check_log(path: str) -> None:
    name = Path(path).name
    known = {f"{service}.log" for service in PORTS.values()} | {"nats-server.log", "mongod.log"}
    known.add(FILE_NAME)
    _require(path == f".data/logs/{name}" and name in known, f"make run writes no {path}")


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    if not condition:
        raise UnknownCommandError(otherwise)
