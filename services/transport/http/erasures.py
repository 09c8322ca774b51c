"""HTTP routes that erase a chat, all chats of a user, or all of an app: for operators only."""

from http import HTTPStatus

from litestar import delete, get
from litestar.di import NamedDependency
from nats.errors import Error as NatsError
from nats.js.errors import APIError, KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic import ValidationError

from contracts import subjects
from contracts.erasure import Erasure
from contracts.ids import AppId, ChatId, UserId
from services.chassis.jetstream.errors import NatsUnavailableError
from services.transport.auth.principal import require_owner
from services.transport.context import RequestContext
from services.transport.errors import ApiError, bad_request
from services.transport.http.api_document import documented
from services.transport.http.models.erasures import ErasureStatus
from services.transport.http.parameters import (
    AppIdPath,
    OptionalChatIdQuery,
    OptionalUserIdQuery,
    WithForksQuery,
)
from services.transport.path_segments import decode_segment

TAG = "Erasure"
_ERRORS = (NatsError, APIError, TimeoutError)


@delete(
    "/api/erasures/{app_id:str}",
    status_code=HTTPStatus.ACCEPTED,
    **documented(TAG, "Erase a chat, a user's chats, or an app", 400, open_to="operators"),
)
async def erase(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    user_id: OptionalUserIdQuery = None,
    chat_id: OptionalChatIdQuery = None,
    *,
    with_forks: WithForksQuery = False,
) -> ErasureStatus:
    """Persistence erases what is asked for, and goes on with it after a restart; numbers are kept.

    Without `user_id` and `chat_id` it is all of the app. Asked again, it is done again: chats that
    have begun since are erased, too. A chat that forks read fails with `CHAT_HAS_FORKS` and their ids,
    unless `with_forks` says that they are erased, too.
    """
    asked = _asked(context, app_id, user_id, chat_id, with_forks=with_forks)
    found = await _find(context, asked.key)
    if found is not None and found.state == "requested":
        return ErasureStatus.of(found)
    try:
        bucket = await _bucket(context)
        await bucket.put(asked.key, asked.model_dump_json().encode())
    except _ERRORS as error:
        raise NatsUnavailableError("bucket erasures") from error
    return ErasureStatus.of(asked)


@get(
    "/api/erasures/{app_id:str}",
    **documented(TAG, "How far an erasure is", 400, 404, open_to="operators"),
)
async def erasure(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    user_id: OptionalUserIdQuery = None,
    chat_id: OptionalChatIdQuery = None,
) -> ErasureStatus:
    """It is known for 30 days."""
    found = await _find(context, _asked(context, app_id, user_id, chat_id).key)
    if found is None:
        raise ApiError("ERASURE_NOT_FOUND", "app_id", "no such erasure was asked for")
    return ErasureStatus.of(found)


def _asked(
    context: RequestContext,
    app_id: str,
    user_id: str | None,
    chat_id: str | None,
    *,
    with_forks: bool = False,
) -> Erasure:
    app = AppId(decode_segment(app_id, "app_id"))
    require_owner(context.identity, app, None)
    if user_id is not None and chat_id is not None:
        raise bad_request("chat_id", "give chat_id or user_id, not both")
    return Erasure(
        app_id=app,
        user_id=None if user_id is None else UserId(user_id),
        chat_id=None if chat_id is None else ChatId(chat_id),
        with_forks=with_forks,
        requested_at=context.services.clock(),
    )


async def _find(context: RequestContext, key: str) -> Erasure | None:
    try:
        entry = await (await _bucket(context)).get(key)
        return Erasure.model_validate_json(entry.value or b"")
    except (KeyNotFoundError, ValidationError):
        return None
    except _ERRORS as error:
        raise NatsUnavailableError("bucket erasures") from error


async def _bucket(context: RequestContext) -> KeyValue:
    return await context.services.gateway.key_values.bucket(subjects.ERASURES)


HANDLERS = [erase, erasure]
