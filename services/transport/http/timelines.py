"""HTTP routes that show a chat as a timeline, and two chats side by side."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from litestar import get
from litestar.di import NamedDependency

from contracts.chat_comparison import compare
from contracts.codec import Fact
from contracts.timeline import Timeline, TimelineEntry
from services.transport.context import RequestContext
from services.transport.http.api_document import documented
from services.transport.http.models.base import ForkOrigin
from services.transport.http.models.timelines import ChatHead, ComparisonPage, TimelinePage
from services.transport.http.parameters import (
    AppIdPath,
    ChatIdPath,
    EntryLimitQuery,
    OtherChatIdPath,
    TimelineBeforeQuery,
    UserIdQuery,
)
from services.transport.http.raw_events import require_raw_events
from services.transport.path_segments import chat_key
from services.transport.protocol.chat_projection import ChatView

TAG = "Traces"


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/timeline",
    **documented(TAG, "A chat as a timeline", 400, 404, open_to="operators"),
)
async def timeline(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    before: TimelineBeforeQuery = None,
    limit: EntryLimitQuery = 500,
) -> TimelinePage:
    """Of any user's chat of the operator's apps: turns, model calls, tools, questions and takeovers."""
    view = await context.chats.find_for_operator(chat_key(app_id, chat_id))
    folded = Timeline()
    async for fact in _facts(context, view):
        folded.add(fact)
    entries = [one for one in folded.entries if before is None or one.seq < before]
    first = _start_of_page(entries, limit)
    return TimelinePage(
        chat=head_of(view),
        entries=entries[first:],
        earlier=entries[first].seq if first > 0 else None,
        trace_url=context.services.settings.trace_url,
    )


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/compare/{other_id:str}",
    **documented(TAG, "Two chats side by side", 400, 404, open_to="operators"),
)
async def comparison(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    other_id: OtherChatIdPath,
    user_id: UserIdQuery,
) -> ComparisonPage:
    """Turn by turn, with what was said: of two chats of the operator's own, as for whole events."""
    require_raw_events(context)
    left = await context.chats.find(chat_key(app_id, chat_id), user=user_id)
    right = await context.chats.find(chat_key(app_id, other_id), user=user_id)
    facts = [[fact async for fact in _facts(context, view)] for view in (left, right)]
    found = await asyncio.to_thread(compare, *facts)  # two long chats take a second
    return ComparisonPage.of(head_of(left), head_of(right), found)


def _start_of_page(entries: Sequence[TimelineEntry], limit: int) -> int:
    """The place of the first of the newest entries; those of the same event are on one page."""
    first = max(len(entries) - limit, 0)
    while first > 0 and entries[first - 1].seq == entries[first].seq:
        first -= 1
    return first


def head_of(view: ChatView) -> ChatHead:
    return ChatHead(
        app_id=view.app_id,
        chat_id=view.chat_id,
        workflow_name=view.workflow_name,
        user_id=view.user,
        chat_status=view.status,
        created_at=view.created_at,
        last_updated_at=view.last_updated_at,
        last_sequence=view.last_seq,
        total_tokens=view.totals.total_tokens,
        cost=view.totals.cost,
        origin=ForkOrigin.of(view.origin),
    )


async def _facts(context: RequestContext, view: ChatView) -> AsyncIterator[Fact]:
    """The events of a chat that this release knows. Raises NatsUnavailableError."""
    async for commit in context.services.gateway.events.read(view.key):
        for stored in commit.events:
            if stored.fact is not None:
                yield stored.fact


HANDLERS = [timeline, comparison]
