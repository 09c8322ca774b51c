"""Erases chats: what they hold is removed everywhere, and their numbers are kept.

A chat is erased by an event, `chat.erased`, that has its totals and is appended as any other: what
still runs of the chat ends with it, and nothing is appended after it. Everything else is removed
then, in any order, as often as it takes: whoever reads the event does it again. The event itself
stays in the log and in the archive, and counts without those before it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Literal, NamedTuple

from contracts import encryption, event_log, subjects
from contracts.catalogue import ChatStatus
from contracts.codec import Origin
from contracts.encryption import app_scope
from contracts.erasure import ErasedCounts
from contracts.event_log import Decision, Head, RejectedMessageError
from contracts.events.chat import ChatErased
from contracts.ids import AppId, ChatKey, Seq, StreamSeq, WorkflowName
from services.chassis.jetstream.direct_get import BEFORE_FIRST, RawMessage
from services.chassis.jetstream.event_log import PositionConflictError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import publish
from services.persistence.domain.projection import advance
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.sources import IncompleteChatError
from services.persistence.store.interface import ArchivedEvent, Session, Store

log = logging.getLogger(__name__)

ATTEMPTS = 40
"""Attempts for a chat to which others append meanwhile."""
PAUSE_SECONDS = 0.25

Clock = Callable[[], datetime]
CAUSE = "erasure"
"""The cause in the envelope of a `chat.erased`: no command of the chat's user."""

PURGE = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
"""The headers of a message that replaces all values of a key in a bucket."""


class NotErasedError(Exception):
    """Others append to a chat continuously: nothing of it was removed."""


class _End(NamedTuple):
    """The newest message of a chat's log, and the last event that it is known to have."""

    position: StreamSeq
    decision: Decision | None


class Eraser:
    """Works while the services run. Every method raises StoreUnavailableError, NatsUnavailableError."""

    def __init__(
        self, store: Store, gateway: JetStreamGateway, rebuilder: Rebuilder, clock: Clock
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._rebuilder = rebuilder
        self._clock = clock

    async def chat(self, key: ChatKey) -> ErasedCounts:
        """Erase a chat; one of which nothing is known has nothing to be kept.

        Raises NotErasedError. Again, it removes what an earlier attempt did not.
        """
        tombstone = await self._closed(key)
        if tombstone is None:
            return await self._clean_nats(key, None)
        return await self.clean(tombstone)

    async def clean(self, tombstone: ArchivedEvent) -> ErasedCounts:
        """Remove all of a chat but the event by which it is erased."""
        key = tombstone.envelope.key
        whole = advance(None, [tombstone])
        if whole is None:
            raise ValueError(f"{tombstone.envelope.event_id} is no event of a chat")
        await self._destroy_key(key)  # first: nothing that is left is readable from here on
        removed = await self._clean_nats(key, tombstone.position)
        # Last: until then the chat is listed, and an erasure that is killed does all of it again.
        documents = await self._store.erase(tombstone, whole)
        log.info("a chat is erased", extra={"app": key.app, "chat": key.chat})
        return removed.plus(ErasedCounts(chats=1, documents=documents))

    async def app_leftovers(self, app: AppId, *, whole: bool) -> ErasedCounts:
        """Remove what an app has that belongs to no chat: its recorded model answers and, of the
        `whole` app, its own key."""
        if whole:
            await self._destroy_key(app_scope(app))
        answers = subjects.bucket_stream(subjects.ANSWERS)
        removed = await self._gateway.purger.purge(answers, subjects.answers_of(app))
        return ErasedCounts(messages=removed)

    # -- the event ---------------------------------------------------------------------------------

    async def _closed(self, key: ChatKey) -> ArchivedEvent | None:
        """The event by which a chat is erased, appended if need be; None of an unknown chat."""
        for _ in range(ATTEMPTS):
            end = await self._end(key)
            if end.decision is not None and end.decision.is_erasure:
                return ArchivedEvent(end.decision.events[0], end.position)
            session = await self._newest(key, end)
            if session is None and end.position == BEFORE_FIRST:
                return None
            if _trails(session, end):  # its newest events are still being archived
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            decision = _erased(key, session, end, self._clock())
            try:
                return await self._append(decision, end.position)
            except PositionConflictError:
                await asyncio.sleep(PAUSE_SECONDS)
        raise NotErasedError(f"{key.app}/{key.chat}: others append to it continuously")

    async def _append(self, decision: Decision, after: StreamSeq) -> ArchivedEvent:
        position = await self._gateway.events.append(decision, after=after)
        return ArchivedEvent(decision.events[0], position)

    async def _end(self, key: ChatKey) -> _End:
        newest = await self._gateway.event_reader.last(key)
        if newest is None:
            return _End(BEFORE_FIRST, None)
        return _End(newest.position, _decoded(newest))

    async def _newest(self, key: ChatKey, end: _End) -> Session | None:
        """The chat as of its last event; as of an earlier one where its events are damaged."""
        stored = (await self._store.sessions([key])).get(key)
        if stored is not None and end.decision is not None and stored.head == end.decision.head:
            return stored
        try:
            return await self._rebuilder.chat(key)
        except IncompleteChatError:
            return (await self._store.sessions([key])).get(key)

    # -- what is removed ---------------------------------------------------------------------------

    async def _destroy_key(self, scope: ChatKey) -> None:
        """Also where this process has no ENCRYPTION_KEYS, as a command may not: the others may have."""
        await encryption.destroy(scope)
        subject = subjects.bucket_subject(subjects.CHAT_KEYS, subjects.key_of_scope(scope))
        stored = await self._gateway.reader.last(
            subjects.bucket_stream(subjects.CHAT_KEYS), subject
        )
        if stored is not None and stored.data:
            gateway = self._gateway
            await publish(gateway.nc, gateway.storage, subject, b"", PURGE)

    async def _clean_nats(self, key: ChatKey, tombstone: StreamSeq | None) -> ErasedCounts:
        purge = self._gateway.purger.purge
        messages = 0
        for filter_ in subjects.commands_and_timers_of(key):
            messages += await purge(subjects.COMMANDS, filter_)
        messages += await purge(subjects.DELTAS, subjects.delta(key))
        for filter_ in subjects.lookups_of(key):
            messages += await purge(subjects.LOOKUPS, filter_)
        for filter_ in subjects.dead_letters_of(key):
            messages += await purge(subjects.DEAD_LETTERS, filter_)
        messages += await purge(subjects.BUSINESS, subjects.business_events_of_chat(key))
        chats = subjects.bucket_stream(subjects.CHATS)
        messages += await purge(chats, subjects.summaries_of(key))
        snapshots = subjects.bucket_stream(subjects.SNAPSHOTS)
        messages += await purge(snapshots, subjects.snapshot_of(key))
        objects = await self._remove_objects({key})
        messages += await self._gateway.purger.purge_events(key, before=tombstone)
        return ErasedCounts(messages=messages, objects=objects)

    async def _remove_objects(self, keys: Collection[ChatKey]) -> int:
        """Files and large values of these chats, those included that no event refers to."""
        prefixes = tuple(f"{subjects.chat_tokens(key)}." for key in keys)
        removed = 0
        for store in (subjects.ATTACHMENTS, subjects.VALUES):
            async for name in self._gateway.purger.object_names(store):
                if name.startswith(prefixes):
                    removed += await self._gateway.purger.remove_object(store, name)
        return removed


def _decoded(newest: RawMessage) -> Decision | None:
    try:
        return event_log.read(newest.subject, newest.data)
    except RejectedMessageError:
        return None


def _trails(session: Session | None, end: _End) -> bool:
    return (
        session is not None
        and end.decision is not None
        and session.last_seq < end.decision.head.seq
    )


def _erased(key: ChatKey, session: Session | None, end: _End, now: datetime) -> Decision:
    """The event that follows the last one of a chat, with what its events added up to."""
    if session is None:
        first = None if end.decision is None else end.decision.first
        event = ChatErased(status="cancelled", created_at=now, ended_at=now)
        head = Head(Seq(0), "") if end.decision is None else end.decision.head
        workflow = WorkflowName("") if first is None else first.workflow_name
    else:
        totals, head, workflow = session.totals, session.head, session.workflow_name
        event = ChatErased(
            status=_END_OF.get(session.status, "cancelled"),
            created_at=session.created_at,
            ended_at=session.ended_at or session.last_updated_at,
            agent_turns=totals.agent_turns,
            tool_calls=totals.tool_calls,
            errors=totals.errors,
            prompt_tokens=totals.prompt_tokens,
            completion_tokens=totals.completion_tokens,
            cost=totals.cost,
        )
    origin = Origin(key=key, workflow=workflow, time=now, cause=CAUSE)
    return event_log.seal([event], head, [origin])


_END_OF: dict[ChatStatus, Literal["completed", "failed", "cancelled"]] = {
    "completed": "completed",
    "failed": "failed",
}
