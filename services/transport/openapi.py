"""What every page takes and answers, written beside the page, gathered into one OpenAPI document."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from litestar.handlers import HTTPRouteHandler
from pydantic import BaseModel

from services.transport.signin.principal import OpenTo, open_to

VERSION = "3.1.0"

Json = dict[str, Any]

_PARAMETER = re.compile(r"{(\w+):(?:str|path)}")

EXAMPLES = {
    "app_id": "acme",
    "workflow_name": "HelloWorld",
    "chat_id": "6f1c2b9e-6d0f-5c1e-9a55-0a7f5a3c2d11",
    "user_id": "ana",
    "general_chat_id": "6f1c2b9e-6d0f-5c1e-9a55-0a7f5a3c2d11",
    "attachment_id": "att_5f2b9c1e6d0f5c1e9a550a7f5a3c2d11",
    "rest": "aggregate",
}
"""Of the ids in a path."""

REFUSALS = {
    400: "user_id: is required in the query",
    401: "token: has run out",
    403: "app_id: is not an app of this token",
    404: "chat_id: there is no such chat",
    409: "chat_id: the chat is completed",
    413: "body: is too large",
    415: "file: is neither text nor of a type we know",
    429: "user_id: asks more than 600 times a minute",
    503: "service: NATS is away, try again shortly",
}


@dataclass(frozen=True, slots=True)
class Query:
    """One value in a page's query."""

    name: str
    about: str
    example: Any
    required: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a page says of itself; `answer` and `said` are examples."""

    summary: str
    answer: Any = None
    body: type[BaseModel] | None = None
    said: Json | None = None
    query: tuple[Query, ...] = ()
    refusals: tuple[int, ...] = ()
    status: int = 200
    media_type: str = "application/json"
    sent_as: str = "application/json"
    open_to: OpenTo = "users"

    @property
    def all_refusals(self) -> list[int]:
        """Its own, and those of the door."""
        door = () if self.open_to == "everyone" else (401, 403, 429, 503)
        return sorted({*self.refusals, *door})


def told(page: Told) -> dict[str, Any]:
    """How a page is told of: `@get(path, opt=told(...))`; the door reads whom it is open to."""
    return {"told": page, **open_to(page.open_to)}


USER = Query("user_id", "Whose it is.", "ana", required=True)


def document(pages: Iterable[HTTPRouteHandler], title: str, version: str) -> Json:
    """The OpenAPI 3.1 document of all pages that tell of themselves."""
    paths: dict[str, Json] = {}
    schemas: Json = {"Refusal": _REFUSAL}
    for page in pages:
        own = page.opt.get("told")
        if not isinstance(own, Told):
            continue
        if own.body is not None:
            schemas |= _schemas(own.body)
        for path in sorted(page.paths):
            for method in sorted(page.http_methods):
                operation = _operation(own, page.handler_name, path)
                paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = operation
    return {
        "openapi": VERSION,
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"bearer": _BEARER}},
        "security": [{"bearer": []}],
    }


_BEARER: Json = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token of the issuer, where sign-in is on.",
}


_REFUSAL: Json = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {"type": "string", "description": "The field, and what is wrong."}},
}


def _operation(page: Told, name: str, path: str) -> Json:
    suffix = "_".join(part for part in path.split("/") if part and "{" not in part)
    operation: Json = {
        "operationId": f"{name}_{suffix}" if suffix else name,
        "summary": page.summary,
        "parameters": [_in_path(one) for one in _PARAMETER.findall(path)]
        + [_in_query(one) for one in page.query],
        "responses": _answers(page),
    }
    if page.open_to == "everyone":
        operation["security"] = []
    if page.body is not None:
        ref = {"$ref": f"#/components/schemas/{page.body.__name__}"}
        content = {page.sent_as: {"schema": ref, "example": page.said}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _in_path(name: str) -> Json:
    schema = {"type": "string", "minLength": 1}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": schema,
        "example": EXAMPLES[name],
    }


def _in_query(one: Query) -> Json:
    kind = {str: "string", int: "integer", float: "number"}[type(one.example)]
    return {
        "name": one.name,
        "in": "query",
        "required": one.required,
        "description": one.about,
        "schema": {"type": kind},
        "example": one.example,
    }


def _answers(page: Told) -> Json:
    good: Json = {"description": page.summary}
    if page.answer is not None:
        schema = {"type": "string" if isinstance(page.answer, str) else "object"}
        good["content"] = {page.media_type: {"schema": schema, "example": page.answer}}
    return {str(page.status): good, **{str(one): _refusal(one) for one in page.all_refusals}}


def _refusal(status: int) -> Json:
    schema = {"$ref": "#/components/schemas/Refusal"}
    content = {"application/json": {"schema": schema, "example": {"detail": REFUSALS[status]}}}
    return {"description": REFUSALS[status], "content": content}


def _schemas(body: type[BaseModel]) -> Json:
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), body.__name__: schema}
