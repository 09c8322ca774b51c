"""HTTP routes of files: upload a file to a chat, and download it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from pydantic import ValidationError

from contracts import subjects
from contracts.events.chat import AttachmentUploaded
from contracts.ids import AppId, ChatId, ChatKey
from contracts.subjects import InvalidSubjectError
from services.transport.auth.principal import UNRESTRICTED, Principal
from services.transport.chats.attachments import attachment_id, attachment_not_found
from services.transport.chats.service import require_can_attach
from services.transport.context import RequestContext
from services.transport.errors import ApiError, bad_request, too_large
from services.transport.http.api_document import MultipartOperation, answer, documented
from services.transport.http.downloads import DownloadResponse
from services.transport.http.filetypes import detect_type, safe_name
from services.transport.http.json_request import AnyRequest
from services.transport.http.models.files import (
    Attachment,
    UploadAnswer,
    UploadForm,
    UploadFormOfUser,
)
from services.transport.http.multipart import UploadedFile, receive_form
from services.transport.http.parameters import (
    AppIdPath,
    AttachmentIdPath,
    ChatIdPath,
    OptionalUserIdQuery,
    StoredPathQuery,
    UserIdPath,
    UserIdQuery,
)
from services.transport.path_segments import chat_key, decode_segment
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.validation import validation_error

TAG = "Files"
UPLOAD_ERRORS = (400, 404, 409, 413, 415, 507)
DOWNLOAD = answer(bytes, "The file.", media_type="application/octet-stream")


class UploadOperation(MultipartOperation):
    form = UploadForm


class UploadOfUserOperation(MultipartOperation):
    form = UploadFormOfUser


@post(
    "/api/chat/upload",
    status_code=200,
    request_max_body_size=None,  # the parser enforces the limits of file and texts
    operation_class=UploadOperation,
    **documented(TAG, "Upload a file to a chat", *UPLOAD_ERRORS),
)
async def upload(context: NamedDependency[RequestContext], request: AnyRequest) -> UploadAnswer:
    """The file's type is judged by its bytes: text, images, PDF, office documents and archives."""
    return await _upload(context, request, {})


@post(
    "/api/chat/upload/{app_id:str}/{user_id:str}",
    status_code=200,
    request_max_body_size=None,
    operation_class=UploadOfUserOperation,
    **documented(TAG, "Upload a file to a chat: app and user in the path", *UPLOAD_ERRORS),
)
async def upload_of_user(
    context: NamedDependency[RequestContext],
    request: AnyRequest,
    app_id: AppIdPath,
    user_id: UserIdPath,
) -> UploadAnswer:
    """As `/api/chat/upload`, in its older form."""
    owner = {
        "appId": decode_segment(app_id, "app_id"),
        "userId": decode_segment(user_id, "user_id"),
    }
    return await _upload(context, request, owner)


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/attachments/{attachment_id:str}",
    **documented(TAG, "A file of a chat", 400, 404, answers={200: DOWNLOAD}),
)
async def attachment(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    attachment_id: AttachmentIdPath,
    user_id: UserIdQuery,
) -> ASGIResponse:
    """Only the chat's own user gets it."""
    file_id = decode_segment(attachment_id, "attachment_id")
    return await _download(context, chat_key(app_id, chat_id), user_id, file_id, "attachment_id")


@get(
    "/api/download/workflow-file",
    **documented(TAG, "A file by its `stored_path`", 400, 404, answers={200: DOWNLOAD}),
)
async def stored_file(
    context: NamedDependency[RequestContext],
    file_path: StoredPathQuery,
    user_id: OptionalUserIdQuery = None,
) -> ASGIResponse:
    """`user_id` is required where sign-in is off: else the token says who asks."""
    if context.identity == UNRESTRICTED and not user_id:
        raise bad_request("user_id", "is required")
    try:
        key, file_id = subjects.parse_attachment_key(file_path)
    except InvalidSubjectError as error:
        raise attachment_not_found("file_path") from error
    return await _download(context, key, user_id, file_id, "file_path")


async def _upload(
    context: RequestContext, request: AnyRequest, owner: dict[str, str]
) -> UploadAnswer:
    apps = context.identity.apps if isinstance(context.identity, Principal) else ()
    with context.services.uploads.acquire(apps):
        async with receive_form(request, context.services.attachments.max_bytes) as parts:
            form = parse_form({**parts, **owner})
            key = ChatKey(AppId(form.appId), ChatId(form.chatId))
            view = await context.chats.find(key, user=form.userId)
            require_can_attach(view)
            return await _store(context, form, view)


async def _store(context: RequestContext, form: UploadForm, view: ChatView) -> UploadAnswer:
    attachment = await _describe(context, form, view)
    stored = subjects.attachment_key(view.key, attachment.attachment_id)
    await _put(context, view.key.app, stored, form.file)
    await context.chats.attach_file(view, attachment)
    described = Attachment(
        **attachment.model_dump(), stored_path=stored, uploaded_at_utc=context.services.clock()
    )
    return UploadAnswer(
        chat_id=view.key.chat, app_id=view.key.app, user_id=view.user, attachment=described
    )


async def _put(context: RequestContext, app: AppId, name: str, file: UploadedFile) -> None:
    """Store a file within the quota of its app. Raises StorageUsedUpError, NatsUnavailableError."""
    attachments, quota = context.services.attachments, context.services.storage
    if not quota.applies(app, "upload_bytes") or await attachments.exists(name):
        await attachments.put(name, file.file)
        return
    async with quota.reserve(app, "upload_bytes", name, file.size) as reserved:
        if await attachments.put(name, file.file):
            reserved.stored = file.size


def parse_form(parts: Mapping[str, Any]) -> UploadForm:
    """Raises ApiError."""
    try:
        form = UploadForm.model_validate(parts)
    except ValidationError as error:
        raise validation_error(error, "body") from error
    if isinstance(form.file, str):
        raise bad_request("file", "must be a file, with its name")
    return form


async def _describe(
    context: RequestContext, form: UploadForm, view: ChatView
) -> AttachmentUploaded:
    """The event that describes the file. Raises ApiError."""
    file: UploadedFile = form.file
    name = safe_name(file.filename)
    max_bytes = context.services.attachments.max_bytes_for(form.intent)
    if not file.size:
        raise bad_request("file", "is empty")
    if file.size > max_bytes:
        raise too_large("file", max_bytes)
    media_type = await asyncio.to_thread(detect_type, file.file, name)
    if media_type is None:
        raise ApiError("TYPE_NOT_ALLOWED", "file", "is neither text nor of a supported type")
    return AttachmentUploaded(
        attachment_id=attachment_id(file.digest, name, form.intent, form.bundle_path or ""),
        user_id=view.user,
        filename=name,
        size_bytes=file.size,
        content_type=media_type,
        digest=file.digest,
        intent=form.intent,
        bundle_path=form.bundle_path,
    )


async def _download(
    context: RequestContext, key: ChatKey, user: str | None, file_id: str, field: str
) -> DownloadResponse:
    view = await context.chats.find(key, user=user)
    found = view.attachments.get(file_id)
    if found is None:
        raise attachment_not_found(field)
    attachment, holder = found.event, ChatKey(key.app, found.chat_id)
    chunks = await context.services.attachments.read(subjects.attachment_key(holder, file_id))
    return DownloadResponse(
        chunks,
        size=attachment.size_bytes,
        media_type=attachment.content_type,
        filename=attachment.filename,
        timeout=context.services.settings.client_send_timeout_seconds,
    )


HANDLERS = [upload, upload_of_user, attachment, stored_file]
