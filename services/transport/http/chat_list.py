"""HTTP routes by which users keep their list of chats: rename, archive, delete, undelete."""

from litestar import delete, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.transport.context import RequestContext
from services.transport.http.api_document import documented
from services.transport.http.models.chat_list import ChatOwner, ListChangeAccepted, RenameRequest
from services.transport.http.parameters import AppIdPath, ChatIdPath, UserIdQuery
from services.transport.path_segments import chat_key
from services.transport.protocol.chat_projection import ChatView

TAG = "Chat lists"


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/rename",
    status_code=200,
    **documented(TAG, "Give a chat a title", 400, 404, 410, 413),
)
async def rename_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[RenameRequest],
) -> ListChangeAccepted:
    await context.chat_list.rename(await _find(context, app_id, chat_id, data), data.title)
    return ListChangeAccepted()


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/archive",
    status_code=200,
    **documented(TAG, "Take a chat out of the lists of its user", 400, 404, 410, 413),
)
async def archive_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[ChatOwner],
) -> ListChangeAccepted:
    """The chat goes on as before, and is found by its id and by a search for archived chats."""
    view = await _find(context, app_id, chat_id, data)
    await context.chat_list.set_archived(view, archived=True)
    return ListChangeAccepted()


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/unarchive",
    status_code=200,
    **documented(TAG, "Put an archived chat into the lists again", 400, 404, 410, 413),
)
async def unarchive_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[ChatOwner],
) -> ListChangeAccepted:
    view = await _find(context, app_id, chat_id, data)
    await context.chat_list.set_archived(view, archived=False)
    return ListChangeAccepted()


@delete(
    "/api/chats/{app_id:str}/{chat_id:str}",
    status_code=200,
    **documented(TAG, "Delete a chat", 400, 404),
)
async def delete_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    user_id: UserIdQuery,
) -> ListChangeAccepted:
    """The running answer is stopped, and the chat is hidden. After DELETED_CHAT_GRACE_DAYS it may be
    erased; until then it can be undeleted. A deleted chat stays deleted."""
    view = await context.chats.find(chat_key(app_id, chat_id), user=user_id, deleted=True)
    await context.chat_list.delete(view)
    return ListChangeAccepted()


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/undelete",
    status_code=200,
    **documented(TAG, "Take back the deletion of a chat", 400, 404, 413),
)
async def undelete_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[ChatOwner],
) -> ListChangeAccepted:
    """As long as it is not erased. A chat that is not deleted stays as it is."""
    view = await context.chats.find(chat_key(app_id, chat_id), user=data.user_id, deleted=True)
    await context.chat_list.undelete(view)
    return ListChangeAccepted()


async def _find(context: RequestContext, app_id: str, chat_id: str, owner: ChatOwner) -> ChatView:
    return await context.chats.find_for_command(chat_key(app_id, chat_id), user=owner.user_id)


HANDLERS = [rename_chat, archive_chat, unarchive_chat, delete_chat, undelete_chat]
