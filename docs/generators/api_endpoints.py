"""The API Reference: every HTTP route of the transport, from its OpenAPI document."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ag_ui import core
from ag_ui.core import RunAgentInput

from docs.generators.http_routes import document
from docs.generators.schema_tables import cell, field_table, kind, meaning

PAGE = Path(__file__).parents[1] / "reference" / "api_endpoints.md"
_AGUI_ROOT = RunAgentInput.__name__
_AGUI_PARTS = frozenset(name for name in vars(core) if name != _AGUI_ROOT)
"""Models of the AG-UI protocol, which its own documentation describes."""
_AGUI_INPUT = f"""### {_AGUI_ROOT}

The input of a run by the AG-UI protocol, described at [ag-ui.com](https://ag-ui.com). The OpenAPI document has its schema.
"""
METHODS = ("get", "post", "put", "patch", "delete")
Json = dict[str, Any]
_HEAD = """# API Reference

The HTTP routes of the transport, generated from its OpenAPI document. A running transport serves the document at `GET /schema`.
The WebSocket's messages are in the [WebSocket Reference](websocket.md).
"""


def text() -> str:
    whole = document()
    schemas = {n: s for n, s in whole["components"]["schemas"].items() if n not in _AGUI_PARTS}
    models = {name: f"#{name.lower()}" for name in schemas}
    lines = [_HEAD, cell(whole["info"].get("description", "")), ""]
    lines.extend(_errors(whole))
    for tag, routes in _by_tag(whole).items():
        lines.append(f"## {tag}\n")
        for method, path, operation in routes:
            lines.extend(_route(method, path, operation, models))
    lines.append("## Models\n")
    for name, schema in sorted(schemas.items()):
        lines.extend([_AGUI_INPUT] if name == _AGUI_ROOT else _model(name, schema, models))
    return "\n".join(lines).rstrip() + "\n"


def _by_tag(whole: Json) -> dict[str, list[tuple[str, str, Json]]]:
    tags: dict[str, list[tuple[str, str, Json]]] = {}
    for path, item in whole["paths"].items():
        for method in METHODS:
            if method in item:
                tag = (item[method].get("tags") or ["Other"])[0]
                tags.setdefault(tag, []).append((method.upper(), path, item[method]))
    return tags


def _route(method: str, path: str, operation: Json, models: dict[str, str]) -> Iterator[str]:
    yield f"### {method} {path}\n"
    yield _sentence(operation["summary"]) + "\n"
    if operation.get("description"):
        yield operation["description"].strip() + "\n"
    yield _who(operation.get("security")) + "\n"
    yield from _parameters(operation.get("parameters", []), models)
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{media_type}`: {kind(content['schema'], models)}\n"
    answers = operation["responses"]
    errors = [status for status, answer in answers.items() if _is_error(answer)]
    yield "| status | answer | meaning |"
    yield "|---|---|---|"
    for status, answer in sorted(answers.items()):
        if status not in errors:
            yield f"| {status} | {_contents(answer, models)} | {meaning(answer)} |"
    yield ""
    if errors:
        yield f"[Errors](#errors): {', '.join(sorted(errors))}.\n"


def _contents(answer: Json, models: dict[str, str]) -> str:
    contents = answer.get("content", {}).items()
    return (
        ", ".join(f"`{media}`: {kind(one.get('schema', {}), models)}" for media, one in contents)
        or "no content"
    )


def _is_error(answer: Json) -> bool:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).endswith("/ErrorAnswer")


def _errors(whole: Json) -> Iterator[str]:
    operations = [one for item in whole["paths"].values() for one in item.values()]
    found = {
        status: meaning(answer)
        for operation in operations
        for status, answer in operation["responses"].items()
        if _is_error(answer)
    }
    yield "## Errors\n"
    yield 'Every error is `{"detail": "field: what was found, what is accepted"}`.\n'
    yield "| status | meaning |"
    yield "|---|---|"
    yield from (f"| {status} | {about} |" for status, about in sorted(found.items()))
    yield ""


def _sentence(summary: str) -> str:
    return summary if summary.endswith(".") else f"{summary}."


def _who(security: list[dict[str, list[str]]] | None) -> str:
    scopes = [scope for option in security or [] for scope in option.get("bearer", [])]
    if scopes:
        return f"Needs a token with the scope {' or '.join(scopes)}, where authentication is on."
    return "Open to everyone."


def _parameters(parameters: list[Json], models: dict[str, str]) -> Iterator[str]:
    if not parameters:
        return
    yield "| parameter | in | type | required | meaning |"
    yield "|---|---|---|---|---|"
    for one in parameters:
        needed = "yes" if one.get("required") else "no"
        schema = one.get("schema", {})
        about = cell(one.get("description") or schema.get("description", ""))
        yield f"| `{one['name']}` | {one['in']} | {kind(schema, models)} | {needed} | {about} |"
    yield ""


def _model(name: str, schema: Json, models: dict[str, str]) -> Iterator[str]:
    yield f"### {name}\n"
    if schema.get("description"):
        yield schema["description"].strip() + "\n"
    rows = list(field_table(schema, models))
    yield from rows or [f"{kind(schema, models)}\n"]
