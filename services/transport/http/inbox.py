"""HTTP routes of the inbox: the open questions that wait for a user, page by page and live."""

import asyncio
import contextlib
import logging
from collections.abc import Collection

from litestar import get
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from contracts.ids import AppId, UserId
from contracts.inbox import of_role, of_user
from contracts.lookups import InboxCursor
from contracts.subjects import InvalidSubjectError, token
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.tasks import run_until_first_ends, wait_for_event
from services.transport.auth.expiry import wait_until_expired
from services.transport.auth.principal import Identity, Principal
from services.transport.context import RequestContext
from services.transport.errors import ApiError, bad_request
from services.transport.http.api_document import EventStreamOperation, answer, documented
from services.transport.http.json_request import AnyRequest
from services.transport.http.models.inbox import InboxPage
from services.transport.http.parameters import (
    AppIdPath,
    InboxCursorQuery,
    InboxLimitQuery,
    RolesQuery,
    UserIdPath,
    WaitQuery,
)
from services.transport.http.sse import (
    RETRY,
    SlowClientError,
    SseWriter,
    wait_for_disconnect,
)
from services.transport.path_segments import decode_segment

log = logging.getLogger(__name__)

TAG = "Inbox"
READ_AGAIN_SECONDS = 15.0
"""When a stream reads the inbox again, as the message about a change may be lost."""
RETRY_SECONDS = 2.0
QUIET_SECONDS = 0.1
"""Changes within this time are shown together."""
MAX_ROLES = 50


class InboxEventsOperation(EventStreamOperation):
    """The operation that answers with events or, with `wait`, with one page."""

    example = ("page", 'data: {"questions":[],"next":null}\n\n')


@get(
    "/api/inbox/{app_id:str}/{user_id:str}",
    **documented(TAG, "The questions that wait for a user", 400),
)
async def user_inbox(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    user_id: UserIdPath,
    role: RolesQuery = None,
    cursor: InboxCursorQuery = None,
    limit: InboxLimitQuery = 50,
) -> InboxPage:
    """Those that ask the user by name, and those that ask a role of the token; a back end names roles."""
    app, recipients = _recipients(context.identity, app_id, user_id, role)
    return InboxPage.of(await context.read_models.inbox(app, recipients, _checked(cursor), limit))


@get(
    "/api/inbox/{app_id:str}/{user_id:str}/events",
    operation_class=InboxEventsOperation,
    **documented(
        TAG,
        "Follow the questions that wait for a user",
        400,
        answers={200: answer(InboxPage, "Pages as server-sent events, or one of them.")},
    ),
)
async def follow_inbox(
    context: NamedDependency[RequestContext],
    request: AnyRequest,
    app_id: AppIdPath,
    user_id: UserIdPath,
    role: RolesQuery = None,
    limit: InboxLimitQuery = 50,
    wait: WaitQuery = None,
) -> ASGIResponse:
    """The first page as server-sent events, at once and after every change; with `wait`, or where the
    client accepts JSON only, as one JSON page, after a change or that time."""
    app, recipients = _recipients(context.identity, app_id, user_id, role)
    accepts_json = request.headers.get("accept", "").startswith("application/json")
    if wait:
        changed = asyncio.Event()
        async with context.services.gateway.inbox.changes(app, recipients, changed.set):
            await wait_for_event(changed, wait)
    first = InboxPage.of(await context.read_models.inbox(app, recipients, None, limit))
    if wait is not None or accepts_json:
        return ASGIResponse(body=first.model_dump_json())
    return InboxStream(context, app, recipients, limit, first)


@get(
    "/api/inbox/{app_id:str}",
    **documented(TAG, "All questions that wait in an app", 400, open_to="administrators"),
)
async def app_inbox(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    cursor: InboxCursorQuery = None,
    limit: InboxLimitQuery = 50,
) -> InboxPage:
    app = AppId(decode_segment(app_id, "app_id"))
    token(app, "app_id")
    return InboxPage.of(await context.read_models.inbox(app, None, _checked(cursor), limit))


def _checked(cursor: str | None) -> str | None:
    """Raises ApiError for a cursor that no page had."""
    if cursor is not None:
        try:
            InboxCursor.parse(cursor)
        except InvalidSubjectError as error:
            raise bad_request("cursor", "must be the `next` of a page") from error
    return cursor


def _recipients(
    identity: Identity, app_id: str, user_id: str, roles: list[str] | None
) -> tuple[AppId, frozenset[str]]:
    """The app, and the user and roles whose questions are listed. Raises ApiError, InvalidIdError.

    Guards have checked that the identity may act for the user of the path.
    """
    app, user = AppId(decode_segment(app_id, "app_id")), UserId(decode_segment(user_id, "user_id"))
    token(app, "app_id")
    if roles is not None and len(roles) > MAX_ROLES:
        raise ApiError("SCHEMA_VALIDATION_FAILED", "role", f"at most {MAX_ROLES} roles")
    asked = frozenset(roles or ())
    if isinstance(identity, Principal) and not identity.has_scope("internal"):
        if not asked <= identity.roles:
            raise ApiError("NOT_YOURS", "role", "not a role of this token")
        asked = asked or frozenset(sorted(identity.roles)[:MAX_ROLES])
    return app, frozenset([of_user(user), *map(of_role, asked)])


class InboxStream(ASGIResponse):
    """Streams the first page of an inbox: at once, and again whenever it has changed."""

    _should_set_content_length = False

    def __init__(
        self,
        context: RequestContext,
        app: AppId,
        recipients: Collection[str],
        limit: int,
        first: InboxPage,
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(media_type="text/event-stream", headers=headers)
        self._context = context
        self._app = app
        self._recipients = recipients
        self._limit = limit
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        services = self._context.services
        with services.connections.acquire(self._app), contextlib.suppress(SlowClientError):
            await self.start_response(send)
            writer = SseWriter(services.settings.client_send_timeout_seconds, send)
            await writer.write(RETRY)
            try:
                await run_until_first_ends(
                    self._follow(writer),
                    writer.send_heartbeats(asyncio.Event()),
                    wait_for_disconnect(receive),
                    services.shutdown.wait(),
                    wait_until_expired(self._context.identity, services.clock),
                )
            except NatsUnavailableError as error:
                log.warning("an inbox is no longer followed", extra={"why": str(error)})
            await writer.close()

    async def _follow(self, writer: SseWriter) -> None:
        changed, page, sent = asyncio.Event(), self._first, b""
        channel = self._context.services.gateway.inbox
        async with channel.changes(self._app, self._recipients, changed.set):
            while True:
                data = b"data: " + page.model_dump_json().encode() + b"\n\n"
                if data != sent:
                    await writer.write(data)
                    sent = data
                    # What has changed before the subscription is found by the first read.
                    pause = QUIET_SECONDS if page is self._first else READ_AGAIN_SECONDS
                else:
                    pause = READ_AGAIN_SECONDS
                await wait_for_event(changed, pause)
                await asyncio.sleep(QUIET_SECONDS)
                changed.clear()
                page = await self._read(page)

    async def _read(self, before: InboxPage) -> InboxPage:
        """The page now; the one before where it cannot be read, which is tried again."""
        try:
            found = await self._context.read_models.inbox(
                self._app, self._recipients, None, self._limit
            )
        except (ApiError, NatsUnavailableError):
            await asyncio.sleep(RETRY_SECONDS)
            return before
        return InboxPage.of(found)


HANDLERS = [user_inbox, follow_inbox, app_inbox]
