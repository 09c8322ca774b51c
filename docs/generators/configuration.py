"""The Configuration Reference, from the settings classes of all services."""

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from infra.plan import VARIABLES
from services.chassis.answer_links import AnswerLinkSettings
from services.chassis.budgets.limits import BudgetSettings
from services.chassis.settings import Settings as EveryService
from services.metrics.settings import Settings as Metrics
from services.orchestrator.settings import Settings as Orchestrator
from services.orchestrator.workflows.known_providers import ENDPOINTS, Wire
from services.persistence.settings import Settings as Persistence
from services.transport.auth.settings import AuthSettings
from services.transport.settings import Settings as Transport

PAGE = Path(__file__).parents[1] / "runtime" / "configuration_reference.md"
Row = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Section:
    """One table: the fields of a class that its bases do not have already."""

    title: str
    introduction: str
    settings: type[BaseSettings]
    without: tuple[type[BaseSettings], ...] = (EveryService,)


SECTIONS = (
    Section("All services", "Every service reads these.", EveryService, without=()),
    Section(
        "Transport",
        "HTTP, WebSocket, limits.",
        Transport,
        (EveryService, AuthSettings, AnswerLinkSettings, BudgetSettings),
    ),
    Section("Authentication", "Read by the transport.", AuthSettings),
    Section("Answer links", "Read by the transport and the orchestrator.", AnswerLinkSettings),
    Section("Budgets", "Read by the transport and the orchestrator.", BudgetSettings),
    Section(
        "Orchestrator",
        "Models, workflows, runs.",
        Orchestrator,
        (EveryService, AnswerLinkSettings, BudgetSettings),
    ),
    Section("Persistence", "MongoDB and lookups.", Persistence),
    Section("Metrics", "Counts of all tenants.", Metrics),
)
_HEAD = """# Configuration Reference

All settings are environment variables. Each service reads its own once, when it starts, and ends with an error that names the
variable where a value is wrong. `make run` passes its environment on to the services that need it.

This page is generated from the settings classes: change the text in the class, then run `make reference`.
"""


class UndescribedError(Exception):
    """A setting without a description: a string below the field."""

    def __init__(self, settings: type[BaseSettings], field: str) -> None:
        super().__init__(f"{settings.__module__}: {field} has no description below it")


def text() -> str:
    """The page. Raises UndescribedError."""
    return "\n".join(
        [_HEAD, *_make_run(), *(line for one in SECTIONS for line in _section(one)), *_providers()]
    )


def variables() -> set[str]:
    """Every environment variable that the product documents."""
    named = {name for section in SECTIONS for name, *_ in rows(section)}
    keys = {
        name
        for one in ENDPOINTS.values()
        for name in (one.key_env, one.other_key_env, one.base_url_env)
        if name
    }
    return named | keys | {one.name for one in VARIABLES} | {"PORT"}


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}\n"
    yield f"{section.introduction}\n"
    yield from _table(rows(section))


def _make_run() -> Iterator[str]:
    yield "## make run\n"
    yield "Read by `python -m infra`, which starts everything on one machine.\n"
    yield from _table(
        (one.name, one.type, f"`{one.default}`" if one.default else "none", one.description)
        for one in VARIABLES
    )


def _providers() -> Iterator[str]:
    yield "## Model providers\n"
    yield "`DEFAULT_LLM_PROVIDER`, or `provider` in an agent's `llm_config`. A base URL that ends in `/openai` selects the"
    yield "OpenAI-compatible API of a provider that has two.\n"
    yield "| provider | API | key | address |"
    yield "|---|---|---|---|"
    for name, endpoint in ENDPOINTS.items():
        keys = [f"`{one}`" for one in (endpoint.key_env, endpoint.other_key_env) if one]
        other = f", or `{endpoint.base_url_env}`" if endpoint.base_url_env else ""
        key, api = " or ".join(keys) or "none", _APIS[endpoint.wire]
        yield f"| `{name}` | {api} | {key} | {endpoint.base_url}{other} |"
    yield ""


_APIS: Mapping[Wire, str] = {
    "openai": "OpenAI's chat completions",
    "anthropic": "Anthropic's Messages",
    "gemini": "Gemini's generateContent",
}


def _table(rows: Iterator[Row]) -> Iterator[str]:
    yield "| variable | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, kind, default, meaning in rows:
        yield f"| `{name}` | {kind} | {default} | {meaning} |"
    yield ""


def rows(section: Section) -> Iterator[Row]:
    described = _descriptions(section.settings)
    inherited = {name for base in section.without for name in base.model_fields}
    for name, field in section.settings.model_fields.items():
        if name in inherited:
            continue
        if name not in described:
            raise UndescribedError(section.settings, name)
        meaning = " ".join(described[name].split()).replace("|", "\\|")
        yield name.upper(), _type(field), _default(field), meaning


def _descriptions(settings: type[BaseSettings]) -> dict[str, str]:
    """The string below each field.

    pydantic can find these, too, but would read the source of the class at each start of a service.
    """
    found: dict[str, str] = {}
    for base in settings.__mro__:
        if issubclass(base, BaseSettings) and base is not BaseSettings:
            definition = ast.parse(dedent(inspect.getsource(base))).body[0]
            assert isinstance(definition, ast.ClassDef)  # noqa: S101
            for field, below in pairwise(definition.body):
                match field, below:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        found.setdefault(name, text)
                    case _:
                        pass
    return found


def _type(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    bounds = [
        f"{sign} {getattr(one, attribute):g}"
        for one in field.metadata
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(one, attribute, None) is not None
    ]
    return ", ".join([kind, *bounds])


_KINDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret",
}


def _kind(annotation: Any) -> str:
    if annotation in _KINDS:
        return _KINDS[annotation]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(annotation))
    if get_origin(annotation) is dict:
        return "JSON object"
    options = [one for one in get_args(annotation) if one is not NoneType]
    if get_origin(annotation) is Annotated:
        return _kind(options[0])
    if options:
        return ", ".join(_kind(one) for one in options)
    raise TypeError(f"no words for a setting of type {annotation!r}")


def _default(field: FieldInfo) -> str:
    match field.get_default(call_default_factory=True, validated_data={}):
        case None | "":
            return "none"
        case bool() as switch:
            return f"`{str(switch).lower()}`"
        case {} as empty:
            return f"`{json.dumps(empty)}`"
        case other:
            return f"`{other:g}`" if isinstance(other, float) else f"`{other}`"
