"""Files that a user gives a chat, and gets back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from contracts import subjects
from contracts.events.chat import AttachmentUploaded
from contracts.ids import AppId, ChatId, ChatKey
from contracts.subjects import InvalidSubjectError
from services.transport import cursors, inbound
from services.transport.addresses import key_of, plain
from services.transport.attachments import attachment_id, no_attachment
from services.transport.chats import must_take_files
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.filetypes import safe_name, type_of
from services.transport.forms import Uploaded, arriving
from services.transport.inbound import OlderUploadForm, UploadForm
from services.transport.openapi import EXAMPLES, USER, Query, Told, told
from services.transport.refusals import RefusalError, malformed, too_large
from services.transport.signin.principal import ANYONE

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

STORED = f"acme.{EXAMPLES['chat_id']}.{EXAMPLES['attachment_id']}"
ATTACHED = {
    "success": True,
    "chat_id": EXAMPLES["chat_id"],
    "app_id": "acme",
    "user_id": "ana",
    "attachment": {
        "attachment_id": EXAMPLES["attachment_id"],
        "filename": "prices.csv",
        "stored_path": STORED,
        "size_bytes": 11,
        "content_type": "text/csv",
        "intent": "context",
        "bundle_path": None,
        "uploaded_at_utc": "2026-11-25T12:00:00+00:00",
        "user_id": "ana",
    },
}
SAID = {"file": "loaf,price\n", "chatId": EXAMPLES["chat_id"], "intent": "context"}
UPLOADING = (400, 404, 409, 413, 415, 429, 503)
GUARDED = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "private, no-store",
}
"""What others have written is never to run on this origin."""


@post(
    "/api/chat/upload",
    status_code=200,
    request_max_body_size=None,  # the file is counted as it comes in, the texts are short
    opt=told(
        Told(
            "Give a chat a file; its type is judged by its bytes.",
            ATTACHED,
            body=UploadForm,
            said={**SAID, "appId": "acme", "userId": "ana"},
            sent_as="multipart/form-data",
            refusals=UPLOADING,
        )
    ),
)
async def upload(desk: NamedDependency[Desk], request: AnyRequest) -> Json:
    return await _taken(desk, request, {})


@post(
    "/api/chat/upload/{app_id:str}/{user_id:str}",
    status_code=200,
    request_max_body_size=None,
    opt=told(
        Told(
            "As `/api/chat/upload`, in its older form.",
            ATTACHED,
            body=OlderUploadForm,
            said=SAID,
            sent_as="multipart/form-data",
            refusals=UPLOADING,
        )
    ),
)
async def upload_of_user(
    desk: NamedDependency[Desk], request: AnyRequest, app_id: FromPath[str], user_id: FromPath[str]
) -> Json:
    whose = {"appId": plain(app_id, "app_id"), "userId": plain(user_id, "user_id")}
    return await _taken(desk, request, whose)


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/attachments/{attachment_id:str}",
    opt=told(
        Told(
            "A file of a chat, for the chat's own user.",
            "loaf,price\n",
            query=(USER,),
            refusals=(400, 404, 503),
            media_type="application/octet-stream",
        )
    ),
)
async def attachment(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    chat_id: FromPath[str],
    attachment_id: FromPath[str],
) -> ASGIResponse:
    user = cursors.required(request.query_params.get("user_id"), "user_id")
    wanted = plain(attachment_id, "attachment_id")
    return await _given_back(desk, key_of(app_id, chat_id), user, wanted, "attachment_id")


@get(
    "/api/download/workflow-file",
    opt=told(
        Told(
            "A file by the `stored_path` that its upload was answered with.",
            "loaf,price\n",
            query=(Query("file_path", "Which one.", STORED, required=True), USER),
            refusals=(400, 404, 503),
            media_type="application/octet-stream",
        )
    ),
)
async def stored_file(desk: NamedDependency[Desk], request: AnyRequest) -> ASGIResponse:
    stored = cursors.required(request.query_params.get("file_path"), "file_path")
    user = request.query_params.get("user_id")
    if desk.who == ANYONE:  # a token says who asks, and nobody else finds anything
        user = cursors.required(user, "user_id")
    try:
        key, wanted = subjects.parse_attachment_key(stored)
    except InvalidSubjectError as unknown:
        raise no_attachment("file_path") from unknown
    return await _given_back(desk, key, user, wanted, "file_path")


async def _taken(desk: Desk, request: AnyRequest, whose: dict[str, str]) -> Json:
    with desk.attachments.one_more():
        async with arriving(request, desk.attachments.most) as parts:
            form = inbound.form({**parts, **whose})
            key = ChatKey(AppId(form.appId), ChatId(form.chatId))
            view = await desk.chats.find(key, user=form.userId)
            must_take_files(view)
            return await _kept(desk, form, view)


async def _kept(desk: Desk, form: UploadForm, view: ChatView) -> Json:
    attached = await _judged(desk, form, view)
    stored = subjects.attachment_key(view.key, attached.attachment_id)
    await desk.attachments.keep(stored, form.file.file)
    await desk.chats.attach(view, attached)
    told_of = attached.model_dump(mode="json", exclude={"digest"})
    now = desk.clock().isoformat()
    return {
        "success": True,
        "chat_id": view.key.chat,
        "app_id": view.key.app,
        "user_id": view.user,
        "attachment": {**told_of, "stored_path": stored, "uploaded_at_utc": now},
    }


async def _judged(desk: Desk, form: UploadForm, view: ChatView) -> AttachmentUploaded:
    """The file as the chat will know it. Raises RefusalError."""
    file: Uploaded = form.file
    name, most = safe_name(file.filename), desk.attachments.most_of(form.intent)
    if not file.size:
        raise malformed("file", "is empty")
    if file.size > most:
        raise too_large("file", most)
    kind = await asyncio.to_thread(type_of, file.file, name)
    if kind is None:
        raise RefusalError("TYPE_NOT_ALLOWED", "file", "is neither text nor of a type we know")
    return AttachmentUploaded(
        attachment_id=attachment_id(file.digest, name, form.intent, form.bundle_path or ""),
        user_id=view.user,
        filename=name,
        size_bytes=file.size,
        content_type=kind,
        digest=file.digest,
        intent=form.intent,
        bundle_path=form.bundle_path,
    )


async def _given_back(
    desk: Desk, key: ChatKey, user: str | None, wanted: str, field: str
) -> "_Attachment":
    view = await desk.chats.find(key, user=user)
    attached = view.attachments.get(wanted)
    if attached is None:
        raise no_attachment(field)
    pieces = await desk.attachments.pieces(subjects.attachment_key(key, wanted))
    return _Attachment(attached, pieces, desk.send_seconds)


class _Attachment(ASGIResponse):
    """A file on its way out, piece by piece; a client that does not read is left."""

    def __init__(
        self, attached: AttachmentUploaded, pieces: AsyncIterator[bytes], patience: float
    ) -> None:
        super().__init__(
            media_type=attached.content_type,
            content_length=attached.size_bytes,
            headers={**GUARDED, "content-disposition": _disposition(attached.filename)},
        )
        self._pieces = pieces
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await self.start_response(send)
        async for piece in self._pieces:
            try:
                async with asyncio.timeout(self._patience):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                return  # the server hangs up: what was promised was not read
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _disposition(filename: str) -> str:
    # Browsers that know `filename*` prefer it (RFC 6266); the other one may hold ASCII only.
    plain_name = "".join(c if c.isascii() and c not in '"\\' else "_" for c in filename)
    return f"attachment; filename=\"{plain_name}\"; filename*=UTF-8''{quote(filename, safe='')}"


HANDLERS = [upload, upload_of_user, attachment, stored_file]
