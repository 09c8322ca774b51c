"""Lists a user's chats, and searches their titles and messages, one page after the other."""

import asyncio
from collections.abc import Sequence

from contracts.chat_pages import (
    ChatCursor,
    ChatsFound,
    ChatsRequested,
    ListedChat,
    StartedChatsFound,
    StartedChatsRequested,
)
from services.persistence.domain.projection import summary_of
from services.persistence.store.interface import ChatFilter, Session, StartedChats, Store
from services.persistence.store.word_search import excerpt_of, has_words

SEARCHED_CHATS = 200
"""Chats that one request searches at most: its answer then says where the next one goes on."""
SEARCHED_AT_ONCE = 10


async def list_chats(store: Store, query: ChatsRequested) -> ChatsFound:
    """The answer to a request. Raises StoreUnavailableError."""
    wanted = ChatFilter(
        app=query.app_id,
        user=query.user_id,
        place=query.place,
        statuses=tuple(query.statuses),
        workflows=tuple(query.workflows),
    )
    after = None if query.cursor is None else ChatCursor.parse(query.cursor)
    most = SEARCHED_CHATS if query.words else query.limit
    sessions = await store.chats(wanted, after, most + 1)
    if not query.words:
        rows = [_row(session) for session in sessions[:most]]
        return _answer(query, rows, sessions[:most], has_more=len(sessions) > most)
    return await _search(store, query, sessions, most)


async def list_started(store: Store, query: StartedChatsRequested) -> StartedChatsFound:
    """The answer to a request. Raises StoreUnavailableError."""
    wanted = StartedChats(query.app_id, query.user_id, query.workflow_name, query.before)
    sessions, count = await asyncio.gather(
        store.started(wanted, query.limit), store.count_started(wanted)
    )
    chats = [_row(session).summary for session in sessions]
    return StartedChatsFound(request_id=query.request_id, chats=chats, count=count)


async def _search(
    store: Store, query: ChatsRequested, sessions: Sequence[Session], most: int
) -> ChatsFound:
    rows, searched = list[ListedChat](), list[Session]()
    for start in range(0, min(len(sessions), most), SEARCHED_AT_ONCE):
        part = sessions[start : min(start + SEARCHED_AT_ONCE, most)]
        found = await asyncio.gather(*(_match(store, query, session) for session in part))
        for session, row in zip(part, found, strict=True):
            if len(rows) == query.limit:
                break
            searched.append(session)
            rows += [] if row is None else [row]
        if len(rows) == query.limit:
            break
    return _answer(query, rows, searched, has_more=len(searched) < len(sessions))


async def _match(store: Store, query: ChatsRequested, session: Session) -> ListedChat | None:
    """The row of a chat that has the words; None if it has not."""
    if has_words(session.title, query.words):
        return _row(session)
    agents = query.visible_agents.get(session.workflow_name, [])
    text = await store.newest_with_words(session.key, query.words, agents, session.dropped)
    return None if text is None else _row(session, excerpt_of(text, query.words))


def _row(session: Session, excerpt: str | None = None) -> ListedChat:
    summary = summary_of(session)
    assert summary is not None  # noqa: S101  the filter names its user
    return ListedChat(summary=summary, excerpt=excerpt)


def _answer(
    query: ChatsRequested, rows: list[ListedChat], read: Sequence[Session], *, has_more: bool
) -> ChatsFound:
    next_ = None
    if has_more and read:
        last = read[-1]
        next_ = str(ChatCursor(updated_at=last.last_updated_at, chat_id=last.chat_id))
    return ChatsFound(request_id=query.request_id, chats=rows, next=next_)
