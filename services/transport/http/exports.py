"""HTTP route of exports: the chats of an app, of one of its users, or one chat, as one .tar file."""

import asyncio
from collections.abc import AsyncIterator

from litestar import get
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from contracts.ids import AppId, ChatId, UserId
from contracts.subjects import token
from services.transport.auth.principal import require_owner
from services.transport.chats.chat_export import ChatExporter, ExportScope
from services.transport.context import RequestContext
from services.transport.errors import ApiError
from services.transport.http.api_document import answer, documented
from services.transport.http.downloads import SAFE_HEADERS
from services.transport.http.parameters import (
    AppIdPath,
    OptionalChatIdQuery,
    OptionalUserIdQuery,
)
from services.transport.path_segments import decode_segment

EXPORT = answer(bytes, "The export.", media_type="application/x-tar")


class ExportResponse(ASGIResponse):
    """Sends the export as it is made; a client that does not read is disconnected."""

    _should_set_content_length = False

    def __init__(self, blocks: AsyncIterator[bytes], timeout: float) -> None:
        """`timeout` is for each block, in seconds."""
        disposition = {"content-disposition": 'attachment; filename="chats.tar"'}
        super().__init__(media_type="application/x-tar", headers={**SAFE_HEADERS, **disposition})
        self._blocks = blocks
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        del scope
        await self.start_response(send)
        async for block in self._blocks:
            try:
                async with asyncio.timeout(self._timeout):
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            except TimeoutError:
                return  # uvicorn closes the connection: the manifest is missing
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@get(
    "/api/exports/{app_id:str}",
    **documented(
        "Exports", "Export chats", 400, 404, open_to="administrators", answers={200: EXPORT}
    ),
)
async def export_chats(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    user_id: OptionalUserIdQuery = None,
    chat_id: OptionalChatIdQuery = None,
) -> ASGIResponse:
    """One chat, the chats of a user, or all of the app, as a .tar file that `verify.py` in it checks. It
    has the events as they are stored, prompts and hidden texts included. An export that breaks off has no
    end in its manifest."""
    app = AppId(decode_segment(app_id, "app_id"))
    token(app, "app_id")
    require_owner(context.identity, app, None)
    services = context.services
    if not services.settings.raw_events:
        problem = "exports have events as they are stored, which RAW_EVENTS=false forbids"
        raise ApiError("SCOPE_MISSING", "app_id", problem)
    scope = ExportScope(
        app,
        None if user_id is None else UserId(user_id),
        None if chat_id is None else ChatId(chat_id),
    )
    exporter = ChatExporter(services.gateway, services.attachments, context.read_models)
    if scope.chat is not None:
        token(scope.chat, "chat_id")
        key = await anext(exporter.chats(scope))
        if await services.gateway.events.first(key) is None:
            raise ApiError("CHAT_NOT_FOUND", "chat_id", "no such chat")
    blocks = exporter.export(scope, exporter.chats(scope), services.clock())
    return ExportResponse(blocks, services.settings.client_send_timeout_seconds)


HANDLERS = [export_chats]
