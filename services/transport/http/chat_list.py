"""HTTP routes by which users keep their list of chats: rename, archive, delete, undelete."""

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from contracts.chat_pages import MAX_WORKFLOWS, ChatCursor, ChatsRequested
from contracts.ids import AppId, UserId, WorkflowName, new_message_id
from contracts.subjects import InvalidSubjectError, token
from services.transport.auth.principal import require_owner
from services.transport.context import RequestContext
from services.transport.errors import bad_request
from services.transport.http.api_document import documented
from services.transport.http.models.chat_list import (
    ChatOwner,
    ListChangeAccepted,
    RenameRequest,
    UserChats,
)
from services.transport.http.parameters import (
    AppIdPath,
    ChatIdPath,
    ChatPlaceQuery,
    ChatStatusQuery,
    SearchQuery,
    UserChatCursorQuery,
    UserChatLimitQuery,
    UserIdPath,
    UserIdQuery,
    WithForksQuery,
    WorkflowNamesQuery,
)
from services.transport.path_segments import chat_key, decode_segment
from services.transport.protocol.chat_projection import ChatView

TAG = "Chat lists"


@get(
    "/api/users/{app_id:str}/{user_id:str}/chats",
    **documented(TAG, "List and search a user's chats, page by page", 400),
)
async def user_chats(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    user_id: UserIdPath,
    search: SearchQuery = "",
    place: ChatPlaceQuery = "active",
    status: ChatStatusQuery = None,
    workflow: WorkflowNamesQuery = None,
    cursor: UserChatCursorQuery = None,
    limit: UserChatLimitQuery = 50,
) -> UserChats:
    """From persistence; 503 where it does not answer in time. A chat that does not change is neither
    left out nor repeated, whatever others do meanwhile; one that changes moves to the front."""
    app, user = AppId(decode_segment(app_id, "app_id")), UserId(decode_segment(user_id, "user_id"))
    token(user, "user_id")
    require_owner(context.identity, app, user)
    names = workflow or []
    if len(names) > MAX_WORKFLOWS:
        raise bad_request("workflow", f"found {len(names)} names, at most {MAX_WORKFLOWS}")
    query = ChatsRequested(
        request_id=new_message_id(),
        app_id=app,
        user_id=user,
        place=place,
        statuses=list(dict.fromkeys(status or [])),
        workflows=[WorkflowName(name) for name in names],
        search=search,
        visible_agents=await context.services.workflows.all_visible_agents() if search else {},
        cursor=_checked(cursor),
        limit=limit,
    )
    return UserChats.of(await context.read_models.chats(query))


def _checked(cursor: str | None) -> str | None:
    """Raises ApiError for a cursor that no page had."""
    if cursor is not None:
        try:
            ChatCursor.parse(cursor)
        except (InvalidSubjectError, OverflowError) as error:
            raise bad_request("cursor", "must be the `next` of a page") from error
    return cursor


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
    **documented(TAG, "Delete a chat", 400, 404, 409),
)
async def delete_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    user_id: UserIdQuery,
    with_forks: WithForksQuery = False,  # noqa: FBT002
) -> ListChangeAccepted:
    """The running answer is stopped, and the chat is hidden. After DELETED_CHAT_GRACE_DAYS it may be
    erased; until then it can be undeleted. A deleted chat stays deleted. One from which forks go on is
    deleted with all of them, or not (409)."""
    view = await context.chats.find(chat_key(app_id, chat_id), user=user_id, deleted=True)
    await context.chat_list.delete(view, with_forks=with_forks)
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


HANDLERS = [user_chats, rename_chat, archive_chat, unarchive_chat, delete_chat, undelete_chat]
