"""Projects stored events to the archive, the read models and the chat summaries."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from contracts import encryption, event_log, subjects
from contracts.catalogue import ChatSummary
from contracts.event_log import Decision, RejectedMessageError
from contracts.ids import AppId, ChatKey, StreamSeq
from contracts.subjects import InvalidSubjectError
from services.chassis.consumers.errors import NewerReleaseError
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import START, Commit, OriginLostError, Place
from services.chassis.nats.unavailable import ServerUnavailableError
from services.persistence.domain.projection import advance, inbox_change, summary_of
from services.persistence.maintenance.sources import archived
from services.persistence.recent import Recent
from services.persistence.store.interface import (
    PAGE,
    ArchivedEvent,
    ProjectionUpdate,
    Session,
    Store,
    StoreUnavailableError,
)

log = logging.getLogger(__name__)

Publish = Callable[[ChatSummary], Awaitable[None]]
RECENT_CHATS = 2000
"""Chats whose session is kept in memory: some 2 kB each."""
Announce = Callable[[AppId, frozenset[str]], Awaitable[None]]
PublishMilestones = Callable[[Sequence[ArchivedEvent]], Awaitable[None]]
"""Publishes business events of the runtime that follow from new events."""
Rebuild = Callable[[ChatKey], Awaitable[None]]
"""Projects a chat again from its first event."""


Erase = Callable[[ArchivedEvent], Awaitable[None]]
"""Removes all that is stored of a chat but its last event, by which it is erased."""
ArchiveValues = Callable[[Sequence[ArchivedEvent]], Awaitable[None]]
"""Archives the large values of events, before the events."""


class ReadTo(Protocol):
    def __call__(self, key: ChatKey, goal: StreamSeq, *, after: Place) -> AsyncIterator[Commit]:
        """The messages of a chat in the log past a place, up to a position at least."""


class PositionedDecision(NamedTuple):
    """The content of a message, and its position in the log."""

    position: StreamSeq
    decision: Decision


class Projector:
    """Projects the log into MongoDB. Repeated, out of order or in parallel, it has the same result.

    `rejected` is called with the number of messages that are not events of a chat, `archive_values`
    with the events of which the archive gets the large values, `erase` with an event that erases its
    chat, `announce` with an app and those of
    its users and roles for whom other questions are open than before.
    """

    def __init__(
        self,
        store: Store,
        read_to: ReadTo,
        publish: Publish,
        rebuild: Rebuild,
        rejected: Callable[[int], None],
        archive_values: ArchiveValues,
        erase: Erase,
        announce: Announce | None = None,
        publish_milestones: PublishMilestones | None = None,
    ) -> None:
        self._store = store
        self._read_to = read_to
        self._publish = publish
        self._rebuild = rebuild
        self._rejected = rejected
        self._archive_values = archive_values
        self._erase = erase
        self._announce = announce
        self._publish_milestones = publish_milestones
        self._recent: Recent[ChatKey, Session] = Recent(RECENT_CHATS)

    async def apply(self, batch: Sequence[RawMessage]) -> None:
        """Raises ServerUnavailableError: apply the batch again; NewerReleaseError: others must."""
        try:
            await self._project(batch)
        except (StoreUnavailableError, NatsUnavailableError) as unavailable:
            raise ServerUnavailableError(str(unavailable)) from unavailable

    async def _project(self, batch: Sequence[RawMessage]) -> None:
        await encryption.load(*chats_of(batch))
        chats, unreadable = by_chat(batch)
        if unreadable:
            self._rejected(unreadable)
        known = await self._known(chats)
        new = [await self._events(key, known.get(key), sent) for key, sent in chats.items()]
        made, changed = [], list[tuple[AppId, frozenset[str]]]()
        for session, events in new:
            if (update := _advanced(session, events)) is not None:
                made.append((update, events))
                if affected := inbox_change(session, update.session):
                    changed.append((update.session.app_id, affected))
        added = [event for _, events in made for event in events]
        await self._milestones(added)  # before they are archived: afterwards they are no news
        await self._archive_values(added)
        await self._store.project(
            [event for _, events in made for event in events],
            [update for update, events in made if events],
        )
        for update, events in made:
            self._recent.put(update.session.key, update.session)
            if events and events[-1].stored.is_erasure:
                await self._erase(events[-1])
        # Last, and also without new events: an earlier attempt may have crashed before this.
        summaries = [summary_of(update.session) for update, _ in made]
        await asyncio.gather(*(self._publish(s) for s in summaries if s is not None))
        if self._announce is not None:
            for app, recipients in changed:
                await self._announce(app, recipients)

    async def _milestones(self, events: Sequence[ArchivedEvent]) -> None:
        if self._publish_milestones is not None:
            await self._publish_milestones(events)

    async def _known(
        self, chats: Mapping[ChatKey, Sequence[PositionedDecision]]
    ) -> dict[ChatKey, Session]:
        """The sessions of these chats as this process knows them: another one may have newer ones."""
        recent = {key: session for key in chats if (session := self._recent.get(key)) is not None}
        unknown = [
            key
            for key, sent in chats.items()
            if key not in recent and not sent[0].decision.follows(START.head)
        ]
        return recent | await self._store.sessions(unknown)

    async def _events(
        self, key: ChatKey, session: Session | None, sent: Sequence[PositionedDecision]
    ) -> tuple[Session | None, list[ArchivedEvent]]:
        """What the messages add to a session, and the session they add it to."""
        found = following_events(place_of(session), sent)
        if found is not None:
            return session, found
        stored = (await self._store.sessions([key])).get(key)
        if stored != session:
            found = following_events(place_of(stored), sent)
            if found is not None:
                return stored, found
        return await self._catch_up(key, stored, sent)

    async def _catch_up(
        self, key: ChatKey, session: Session | None, sent: Sequence[PositionedDecision]
    ) -> tuple[Session | None, list[ArchivedEvent]]:
        """The same, by reading the log.

        Another replica may be handling the messages before these, or they are not events, or the log
        was restored and has other positions: only the log shows which.
        """
        known, place = session, place_of(session)
        if any(is_misplaced(place, one) for one in sent):
            place = START
        own = {one.position for one in sent}
        not_events = 0
        page: list[ArchivedEvent] = []
        try:
            async for commit in self._read_to(key, sent[-1].position, after=place):
                not_events += not commit.events and commit.place.position in own
                events = archived(commit)
                if events and events[0].envelope.key != key:  # stored with the origin of this fork
                    update = _advanced(session, events)
                    session = session if update is None else update.session
                    continue
                page += events
                if len(page) >= PAGE:
                    session = await self._advance(session, page)
                    page = []
        except OriginLostError:  # the archive may have the events of the origin
            return await self._rebuilt(key)
        if not_events:
            self._rejected(not_events)
            if known is not None and await self._contradicts(known, sent[-1].position):
                return await self._rebuilt(key)
        return session, page

    async def _rebuilt(self, key: ChatKey) -> tuple[Session | None, list[ArchivedEvent]]:
        self._recent.discard(key)
        await self._rebuild(key)
        return (await self._store.sessions([key])).get(key), []

    async def _contradicts(self, session: Session, goal: StreamSeq) -> bool:
        """Whether the log, up to a position that it has, has another event in the session's place.

        This happens if two messages claimed the same `seq` at once, and this reader accepted the
        second because another replica was handling the first.
        """
        head = START.head
        async for commit in self._read_to(session.key, goal, after=START):
            if session.head in [one.head for one in commit.events]:
                return False
            head = commit.place.head
        return head.seq >= session.last_seq

    async def _advance(
        self, session: Session | None, page: Sequence[ArchivedEvent]
    ) -> Session | None:
        update = _advanced(session, page)
        if update is None:
            return None
        await self._milestones(page)
        await self._archive_values(page)
        await self._store.project(page, [update])
        return update.session


def _advanced(session: Session | None, events: Sequence[ArchivedEvent]) -> ProjectionUpdate | None:
    """Raises NewerReleaseError: a read model without such an event would pass for a whole one."""
    for one in events:
        if one.stored.event is None:
            envelope = one.envelope
            raise NewerReleaseError(
                f"event {envelope.seq} of {envelope.app_id}/{envelope.chat_id} is {envelope.type} "
                f"version {envelope.version}, which this release does not know"
            )
    return advance(session, events)


def place_of(session: Session | None) -> Place:
    return START if session is None else Place(session.last_position, session.head)


def following_events(
    place: Place, sent: Iterable[PositionedDecision]
) -> list[ArchivedEvent] | None:
    """The events of messages that follow one another from a place, without those before it.

    None if the log must be read to know them.
    """
    found: list[ArchivedEvent] = []
    for position, decision in sent:
        if decision.follows(place.head):
            place = Place(position, decision.head)
            found += [ArchivedEvent(one, position) for one in decision.events]
        elif position > place.position or decision.head.seq > place.head.seq:
            return None
    return found


def is_misplaced(place: Place, sent: PositionedDecision) -> bool:
    """Whether position and `seq` of a message contradict: one is before the place, the other after."""
    return (sent.position <= place.position) != (sent.decision.head.seq <= place.head.seq)


def chats_of(batch: Iterable[RawMessage]) -> set[ChatKey]:
    """The chats whose subjects the messages have."""
    found: set[ChatKey] = set()
    for message in batch:
        with suppress(InvalidSubjectError):
            found.add(subjects.parse(message.subject).key)
    return found


def by_chat(batch: Iterable[RawMessage]) -> tuple[dict[ChatKey, list[PositionedDecision]], int]:
    """The messages of each chat in the order of the log, and the number of unreadable messages."""
    chats: dict[ChatKey, list[PositionedDecision]] = {}
    unreadable = 0
    for message in sorted(batch, key=lambda message: message.position):
        try:
            decision = event_log.read(message.subject, message.data)
        except RejectedMessageError as rejected:
            unreadable += 1
            extra = {"subject": message.subject, "position": message.position, "why": str(rejected)}
            log.warning("a message in EVENTS is not an event of a chat", extra=extra)
        else:
            chats.setdefault(decision.key, []).append(
                PositionedDecision(message.position, decision)
            )
    return chats, unreadable
