"""All routes of the HTTP API, and the route of the document that describes them."""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from litestar import Response, get
from litestar.datastructures import CacheControlHeader
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from litestar.router import Router
from litestar.static_files import create_static_files_router

from services.transport.auth.principal import access
from services.transport.http import (
    agui,
    answer_links,
    auth,
    budgets,
    chat_list,
    chats,
    dead_letters,
    effects,
    erasures,
    explanations,
    exports,
    files,
    forks,
    general_chats,
    health,
    inbox,
    inspections,
    messages,
    metrics_pages,
    operations,
    reference,
    rewinds,
    runtime_log,
    timelines,
    values,
    workflows,
)
from services.transport.http.api_document import answer, build_document, documented
from services.transport.http.conditional import accepts_gzip
from services.transport.http.json_request import AnyRequest
from services.transport.http.parameters import KnownVersionHeader

_YEAR_SECONDS = 31_536_000


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """The OpenAPI document as it is sent, and the name of this version of it."""

    body: bytes
    compressed: bytes
    etag: str


@cache
def schema_file() -> SchemaFile:
    body = json.dumps(build_document(HANDLERS), separators=(",", ":")).encode()
    return SchemaFile(body, gzip.compress(body, mtime=0), f'W/"{sha256(body).hexdigest()[:32]}"')


@get(
    "/schema",
    sync_to_thread=True,  # the first request builds it
    **documented(
        "Reference",
        "This document",
        400,
        open_to="everyone",
        answers={
            200: answer(dict[str, Any], "OpenAPI 3.1."),
            304: answer(None, "The client has this version."),
        },
    ),
)
def schema(request: AnyRequest, if_none_match: KnownVersionHeader = None) -> ASGIResponse:  # noqa: ARG001
    """Rendered at `/schema/docs`."""
    file = schema_file()
    headers = {"etag": file.etag, "cache-control": "no-cache", "vary": "Accept-Encoding"}
    if not accepts_gzip(request.headers.get("accept-encoding", "")):
        return ASGIResponse(body=file.body, headers=headers)
    # Compressed once: everybody may read it, and compression would take the time of others.
    headers["content-encoding"] = "gzip"
    return ASGIResponse(body=file.compressed, headers=headers)


HANDLERS: list[HTTPRouteHandler] = [
    *workflows.HANDLERS,
    *chats.HANDLERS,
    *chat_list.HANDLERS,
    *forks.HANDLERS,
    *effects.HANDLERS,
    *explanations.HANDLERS,
    *timelines.HANDLERS,
    *inspections.HANDLERS,
    *operations.HANDLERS,
    *dead_letters.HANDLERS,
    *exports.HANDLERS,
    *runtime_log.HANDLERS,
    *erasures.HANDLERS,
    *budgets.HANDLERS,
    *messages.HANDLERS,
    *rewinds.HANDLERS,
    *answer_links.HANDLERS,
    *inbox.HANDLERS,
    *auth.HANDLERS,
    *files.HANDLERS,
    *values.HANDLERS,
    *general_chats.HANDLERS,
    *agui.HANDLERS,
    *health.HANDLERS,
    *metrics_pages.HANDLERS,
    schema,
    *reference.HANDLERS,
]


def console_files() -> list[Router]:
    """The files that the build names by their content, which never change, and the others."""
    forever = CacheControlHeader(max_age=_YEAR_SECONDS, immutable=True, public=True)
    return [
        _files("/console/assets", health.CONSOLE / "assets", forever),
        _files("/console", health.CONSOLE, CacheControlHeader(no_cache=True)),
    ]


def _files(path: str, folder: Path, cache_control: CacheControlHeader) -> Router:
    return create_static_files_router(
        path,
        [folder],
        name=path,
        opt=access("everyone"),
        cache_control=cache_control,
        after_request=_allow_own_files,
    )


def _allow_own_files(response: Response[Any]) -> Response[Any]:
    response.headers["content-security-policy"] = health.CONSOLE_POLICY
    return response
