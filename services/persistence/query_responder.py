"""Answers queries of the read models: transcripts, snapshots of chats, statistics of workflows."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import assert_never

from faststream import StreamMessage
from nats.aio.msg import Msg
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.chat_pages import (
    ChatIdsFound,
    ChatIdsRequested,
    ChatsRequested,
    StartedChatsRequested,
)
from contracts.chat_snapshot import ChatSnapshot
from contracts.codec import describe
from contracts.effects import CallEffect, effects_of, marked
from contracts.ids import ChatKey, Seq, UserId
from contracts.inbox import waiting_for, waiting_since
from contracts.lookups import (
    AppEffectsRequested,
    ChatEffectsRequested,
    EffectsFound,
    ForksFound,
    ForksRequested,
    FoundFork,
    InboxCursor,
    InboxFound,
    InboxQuestion,
    InboxRequested,
    LookupAnswer,
    LookupRequest,
    MessageCursor,
    MessagesFound,
    MessagesRequested,
    Query,
    RestoreFound,
    RestoreRequested,
    SnapshotFound,
    SnapshotRequested,
    WorkflowStatsFound,
    WorkflowStatsRequested,
)
from contracts.runtime_log import ModelCallsFound, ModelCallsRequested
from contracts.subjects import InvalidSubjectError
from services.chassis.consumers.errors import UnprocessableMessageError
from services.chassis.jetstream.lookups import opened_request
from services.chassis.nats.unavailable import ServerUnavailableError
from services.persistence.chat_lists import list_chats, list_started
from services.persistence.domain.effect_page import cursor_of, place_of, turns_by_chat
from services.persistence.domain.transcript_page import PageLimits, counting, cut_page, read_window
from services.persistence.maintenance.sources import IncompleteChatError
from services.persistence.store.interface import (
    EffectStart,
    Message,
    Session,
    Store,
    StoreUnavailableError,
    TimeSpan,
    place_of_call,
)

MAX_AGE = timedelta(seconds=10)
"""Who sent an older request has given up: it is not answered."""
MAX_PAGE_BYTES = 500_000
"""Of a page of messages; well below the largest message that NATS takes by default."""

Answer = Callable[[LookupRequest, LookupAnswer], Awaitable[None]]
Restore = Callable[[ChatKey], Awaitable[int]]
"""Restores the log of a chat; returns the number of events."""


class ReceivedQuery(BaseModel):
    """A query, and when JetStream stored it."""

    model_config = ConfigDict(frozen=True)

    query: Query
    stored_at: datetime


class QueryResponder:
    """The handler of queries. `max_payload` is the size of the largest message that NATS takes."""

    def __init__(
        self,
        store: Store,
        answer: Answer,
        max_payload: Callable[[], int],
        restore: Restore | None = None,
    ) -> None:
        self._store = store
        self._restore = restore
        self._answer = answer
        self._max_payload = max_payload

    async def on_query(self, received: ReceivedQuery, now: datetime) -> None:
        """Raises ServerUnavailableError: then the query is delivered again."""
        if now - received.stored_at > MAX_AGE:
            return
        try:
            found = await self._find(received.query)
        except StoreUnavailableError as unavailable:
            raise ServerUnavailableError(str(unavailable)) from unavailable
        await self._answer(received.query, found)

    async def on_dead_letter(self, message: Msg, reason: str) -> None:
        """Answers a dead-lettered query, so that nobody waits until the time limit."""
        del reason  # for operators only
        try:
            query = query_of(message, await opened_request(message.subject, message.data))
        except (UnprocessableMessageError, ValueError):
            return
        await self._answer(query, LookupAnswer(request_id=query.request_id, problem="query failed"))

    async def _find(self, query: Query) -> LookupAnswer:
        match query:
            case MessagesRequested():
                return await self._messages(query)
            case WorkflowStatsRequested():
                return await self._stats(query)
            case SnapshotRequested():
                return await self._snapshot(query)
            case RestoreRequested():
                return await self._restored(query)
            case InboxRequested():
                return await self._inbox(query)
            case ChatEffectsRequested():
                return await self._chat_effects(query)
            case AppEffectsRequested():
                return await self._app_effects(query)
            case ChatsRequested():
                return await list_chats(self._store, query)
            case ForksRequested():
                return await self._forks(query)
            case ChatIdsRequested(app_id=app, user_id=user, after=after, limit=limit):
                ids = await self._store.chat_ids(app, user, after, limit)
                return ChatIdsFound(request_id=query.request_id, chat_ids=ids)
            case StartedChatsRequested():
                return await list_started(self._store, query)
            case ModelCallsRequested():
                return await self._model_calls(query)
            case _:
                assert_never(query)

    async def _restored(self, query: RestoreRequested) -> RestoreFound:
        if self._restore is None:
            return RestoreFound(request_id=query.request_id, problem="nothing is restored here")
        try:
            events = await self._restore(query.key)
        except IncompleteChatError as incomplete:
            return RestoreFound(request_id=query.request_id, problem=str(incomplete))
        return RestoreFound(request_id=query.request_id, events=events)

    async def _messages(self, query: MessagesRequested) -> MessagesFound:
        session = (await self._store.sessions([query.key])).get(query.key)
        if session is None or session.user_id != query.user_id:
            return MessagesFound(request_id=query.request_id)
        first = MessageCursor(seq=Seq(1))
        cursor = first if query.cursor is None else MessageCursor.parse(query.cursor)
        limits = PageLimits(query.limit, min(MAX_PAGE_BYTES, self._max_payload() // 2))
        end = session.last_seq if query.at is None else query.at
        dropped = [one for one in session.dropped if one.before <= end]
        source = counting(self._transcript(session, cursor.seq, end), dropped)
        page = cut_page(await read_window(source, limits), cursor, limits, query.agents)
        return MessagesFound(
            request_id=query.request_id,
            messages=list(page.messages),
            next=None if page.next is None else str(page.next),
            last_seq=session.last_seq,
        )

    async def _transcript(self, session: Session, first: Seq, end: Seq) -> AsyncIterator[Message]:
        """The messages of a chat from event `first` to `end`; of a fork those of its origin, too.

        They end before a chat whose origin is not known up to there yet.
        """
        chats = [ChatKey(session.app_id, part.chat_id) for part in session.segments]
        known = await self._store.sessions(chats)
        for origin, part in zip(chats, session.segments, strict=True):
            if first <= part.last:
                async for message in self._store.messages_from(origin, first):
                    if message.seq > min(part.last, end):
                        break
                    yield message
                if origin not in known or known[origin].last_seq < part.last:
                    return
                first = Seq(part.last + 1)
        async for message in self._store.messages_from(session.key, first):
            if message.seq > end:
                break
            yield message

    async def _forks(self, query: ForksRequested) -> ForksFound:
        found = await self._store.forks_of(query.key, query.cursor, query.limit + 1)
        page = found[: query.limit]
        return ForksFound(
            request_id=query.request_id,
            forks=[fork for one in page if (fork := _fork_of(one)) is not None],
            next=page[-1].chat_id if len(found) > len(page) else None,
        )

    async def _chat_effects(self, query: ChatEffectsRequested) -> EffectsFound:
        session = (await self._store.sessions([query.key])).get(query.key)
        if session is None or session.user_id != query.user_id:
            return EffectsFound(request_id=query.request_id)
        after = Seq(0) if query.cursor is None else place_of(query.cursor).seq
        starts = await self._store.chat_effect_starts(query.key, after, query.limit + 1)
        return await self._effects(query, starts)

    async def _app_effects(self, query: AppEffectsRequested) -> EffectsFound:
        after = None if query.cursor is None else place_of(query.cursor)
        span = TimeSpan(query.since, query.until)
        starts = await self._store.app_effect_starts(query.app_id, span, after, query.limit + 1)
        return await self._effects(query, starts)

    async def _model_calls(self, query: ModelCallsRequested) -> ModelCallsFound:
        after = None if query.cursor is None else place_of(query.cursor)
        span = TimeSpan(query.since, query.until)
        calls = await self._store.model_calls(
            query.app_id, query.chat_id, span, after, query.limit + 1
        )
        page = calls[: query.limit]
        next_ = cursor_of(place_of_call(page[-1])) if len(calls) > len(page) else None
        return ModelCallsFound(request_id=query.request_id, calls=page, next=next_)

    async def _effects(
        self, query: ChatEffectsRequested | AppEffectsRequested, starts: Sequence[EffectStart]
    ) -> EffectsFound:
        """The page of as many of the effects as the query asks for, and as fit into an answer."""
        page = starts[: query.limit]
        found = await self._found_effects(page)
        next_ = cursor_of(page[-1].place) if len(starts) > len(page) else None
        effects, size = list[CallEffect](), 0
        for read, start in enumerate(page):
            effect = found.get((start.key, start.seq))
            size += 0 if effect is None else len(effect.model_dump_json().encode())
            if effects and size > min(MAX_PAGE_BYTES, self._max_payload() // 2):
                next_ = cursor_of(page[read - 1].place)
                break
            effects += [] if effect is None else [effect]
        return EffectsFound(request_id=query.request_id, effects=effects, next=next_)

    async def _found_effects(
        self, starts: Sequence[EffectStart]
    ) -> dict[tuple[ChatKey, Seq], CallEffect]:
        """The effects of the turns in which these begin."""
        turns = turns_by_chat(starts)
        sessions = await self._store.sessions(list(turns))
        found: dict[tuple[ChatKey, Seq], CallEffect] = {}
        for key, of in turns.items():
            session = sessions.get(key)
            workflow = None if session is None else session.workflow_name
            records = await self._store.effect_records(key, of)
            dropped = () if session is None else session.dropped
            effects = marked(effects_of(records, key.chat, workflow), dropped)
            found |= {(key, effect.seq): effect for effect in effects}
        return found

    async def _snapshot(self, query: SnapshotRequested) -> SnapshotFound:
        session = (await self._store.sessions([query.key])).get(query.key)
        if session is None:
            return SnapshotFound(request_id=query.request_id)
        fields = {one.name: getattr(session, one.name) for one in dataclasses.fields(ChatSnapshot)}
        return SnapshotFound(
            request_id=query.request_id,
            snapshot=ChatSnapshot(**fields),
            digest=session.last_digest,
            position=session.last_position,
        )

    async def _inbox(self, query: InboxRequested) -> InboxFound:
        after = None if query.cursor is None else InboxCursor.parse(query.cursor)
        chats = await self._store.waiting(query.app_id, query.recipients, after, query.limit + 1)
        questions: list[InboxQuestion] = []
        last: Session | None = None
        for chat in chats:
            if len(questions) >= query.limit:
                break
            questions += _questions_of(chat, query.recipients)
            last = chat
        since = None if last is None or last is chats[-1] else waiting_since(last)
        return InboxFound(
            request_id=query.request_id,
            questions=questions,
            next=None
            if last is None or since is None
            else str(InboxCursor(since=since, chat_id=last.chat_id)),
        )

    async def _stats(self, query: WorkflowStatsRequested) -> WorkflowStatsFound:
        found = await self._store.workflow_totals(query.app_id, query.workflow_name)
        return WorkflowStatsFound(
            request_id=query.request_id,
            chats=dict(found.chats),
            duration_sec=found.duration_sec,
            agent_turns=found.totals.agent_turns,
            tool_calls=found.totals.tool_calls,
            errors=found.totals.errors,
            prompt_tokens=found.totals.prompt_tokens,
            completion_tokens=found.totals.completion_tokens,
            cost=found.totals.cost,
        )


async def decode_query(message: StreamMessage[Msg]) -> ReceivedQuery:
    """FastStream's decoder of queries. Raises UnprocessableMessageError."""
    raw = message.raw_message
    try:
        data = await opened_request(raw.subject, raw.data)
    except ValueError as sealed:
        raise UnprocessableMessageError(f"not a query: {sealed}") from sealed
    return ReceivedQuery(query=query_of(raw, data), stored_at=raw.metadata.timestamp)


def _questions_of(chat: Session, recipients: Collection[str] | None) -> list[InboxQuestion]:
    return [
        InboxQuestion(
            chat_id=chat.chat_id,
            workflow_name=chat.workflow_name,
            user_id=chat.user_id or UserId(""),
            question=one,
        )
        for one in waiting_for(chat, recipients)
    ]


def _fork_of(session: Session) -> FoundFork | None:
    if session.origin is None:
        return None
    return FoundFork(
        chat_id=session.chat_id,
        origin=session.origin,
        status=session.status,
        title=session.title,
        created_at=session.created_at,
    )


_KINDS: dict[str, type[Query]] = {
    "messages": MessagesRequested,
    "stats": WorkflowStatsRequested,
    "snapshot": SnapshotRequested,
    "restore": RestoreRequested,
    "inbox": InboxRequested,
    "effects": ChatEffectsRequested,
    "app_effects": AppEffectsRequested,
    "chats": ChatsRequested,
    "forks": ForksRequested,
    "chat_ids": ChatIdsRequested,
    "started_chats": StartedChatsRequested,
    "model_calls": ModelCallsRequested,
}


def query_of(message: Msg, data: bytes | None = None) -> Query:
    """The query that a message holds, or its opened `data`. Raises UnprocessableMessageError."""
    match message.subject.split("."):
        case ["mozaiks", "query", kind, *_] if kind in _KINDS:
            model = _KINDS[kind]
        case _:
            raise UnprocessableMessageError("the subject names no kind of query")
    try:
        query = model.model_validate_json(message.data if data is None else data)
        subject = query.subject
    except ValidationError as invalid:
        raise UnprocessableMessageError(f"not a query: {describe(invalid)}") from invalid
    except (InvalidSubjectError, ValueError) as invalid:
        raise UnprocessableMessageError(f"not a query: {invalid}") from invalid
    if subject != message.subject:
        raise UnprocessableMessageError("the query does not match its subject")
    return query
