"""Queries of persistence's read models: a request over JetStream, with a time limit for the answer."""

import asyncio
import logging
from collections.abc import Collection
from datetime import datetime
from typing import TypeVar

from contracts.chat_pages import (
    ChatIdsFound,
    ChatIdsRequested,
    ChatsFound,
    ChatsRequested,
    StartedChatsFound,
    StartedChatsRequested,
)
from contracts.ids import (
    AgentName,
    AppId,
    ChatId,
    ChatKey,
    Seq,
    UserId,
    WorkflowName,
    new_message_id,
)
from contracts.lookups import (
    AppEffectsRequested,
    ChatEffectsRequested,
    EffectsFound,
    ForksFound,
    ForksRequested,
    InboxFound,
    InboxRequested,
    LookupAnswer,
    MessagesFound,
    MessagesRequested,
    Query,
    WorkflowStatsFound,
    WorkflowStatsRequested,
)
from contracts.runtime_log import ModelCallsFound, ModelCallsRequested
from services.chassis.jetstream.lookups import LookupChannel
from services.transport.errors import ApiError
from services.transport.protocol.chat_projection import ChatView

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""How long persistence may take to answer."""
RETRY_SECONDS = 2.0
"""Sent as Retry-After."""

Answer = TypeVar("Answer", bound=LookupAnswer)


class ReadModels:
    """What persistence knows of chats and workflows. It trails the log by a moment.

    Every method raises NatsUnavailableError, and ApiError where persistence does not answer in time.
    """

    def __init__(self, lookups: LookupChannel) -> None:
        self._lookups = lookups

    async def messages(
        self,
        view: ChatView,
        cursor: str | None,
        limit: int,
        agents: Collection[AgentName] = (),
        at: Seq | None = None,
    ) -> MessagesFound:
        """A page of a chat's transcript, now or as of event `at`, with the messages of these agents;
        empty: of all."""
        query = MessagesRequested(
            request_id=new_message_id(),
            app_id=view.app_id,
            chat_id=view.chat_id,
            user_id=view.user,
            cursor=cursor,
            limit=limit,
            agents=sorted(agents),
            at=at,
        )
        return await self._ask(query, MessagesFound)

    async def forks(self, key: ChatKey, cursor: ChatId | None, limit: int) -> ForksFound:
        """A page of the forks that read events of a chat."""
        query = ForksRequested(
            request_id=new_message_id(),
            app_id=key.app,
            chat_id=key.chat,
            cursor=cursor,
            limit=limit,
        )
        return await self._ask(query, ForksFound)

    async def chat_effects(self, view: ChatView, cursor: str | None, limit: int) -> EffectsFound:
        """A page of a chat's effects."""
        query = ChatEffectsRequested(
            request_id=new_message_id(),
            app_id=view.app_id,
            chat_id=view.chat_id,
            user_id=view.user,
            cursor=cursor,
            limit=limit,
        )
        return await self._ask(query, EffectsFound)

    async def app_effects(
        self, app: AppId, since: datetime, until: datetime, cursor: str | None, limit: int
    ) -> EffectsFound:
        """A page of the effects of an app's chats in a time span."""
        query = AppEffectsRequested(
            request_id=new_message_id(),
            app_id=app,
            since=since,
            until=until,
            cursor=cursor,
            limit=limit,
        )
        return await self._ask(query, EffectsFound)

    async def model_calls(
        self,
        app: AppId,
        chat: ChatId | None,
        since: datetime,
        until: datetime,
        cursor: str | None,
        limit: int,
    ) -> ModelCallsFound:
        """A page of the runtime log of an app, or of one of its chats, in a time span."""
        query = ModelCallsRequested(
            request_id=new_message_id(),
            app_id=app,
            chat_id=chat,
            since=since,
            until=until,
            cursor=cursor,
            limit=limit,
        )
        return await self._ask(query, ModelCallsFound)

    async def workflow_stats(self, app: AppId, workflow: WorkflowName) -> WorkflowStatsFound:
        query = WorkflowStatsRequested(
            request_id=new_message_id(), app_id=app, workflow_name=workflow
        )
        return await self._ask(query, WorkflowStatsFound)

    async def inbox(
        self, app: AppId, recipients: Collection[str] | None, cursor: str | None, limit: int
    ) -> InboxFound:
        """A page of the open questions for these recipients, None: of all of the app."""
        query = InboxRequested(
            request_id=new_message_id(),
            app_id=app,
            recipients=None if recipients is None else sorted(recipients),
            cursor=cursor,
            limit=limit,
        )
        return await self._ask(query, InboxFound)

    async def chats(self, query: ChatsRequested) -> ChatsFound:
        """A page of a user's chats."""
        return await self._ask(query, ChatsFound)

    async def started_chats(self, query: StartedChatsRequested) -> StartedChatsFound:
        """A page of a user's chats of a workflow, in the order of their starts."""
        return await self._ask(query, StartedChatsFound)

    async def chat_ids(self, app: AppId, user: UserId | None, after: ChatId | None) -> list[ChatId]:
        """Ids of an app's chats after one of them; none at the end."""
        query = ChatIdsRequested(request_id=new_message_id(), app_id=app, user_id=user, after=after)
        return (await self._ask(query, ChatIdsFound)).chat_ids

    async def _ask(self, query: Query, kind: type[Answer]) -> Answer:
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._lookups.response(query, kind) as response,
            ):
                await self._lookups.request(query)
                answer = await response
        except TimeoutError:
            raise _unavailable() from None
        if answer.problem is not None:
            log.error("a query failed", extra={"subject": query.subject, "why": answer.problem})
            raise _unavailable()
        return answer


def _unavailable() -> ApiError:
    problem = "stored chats are temporarily unavailable, try again shortly"
    return ApiError("SERVICE_UNAVAILABLE", "service", problem, retry_after=RETRY_SECONDS)
