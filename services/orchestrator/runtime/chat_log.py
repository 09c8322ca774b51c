"""The event log of one chat: append decisions, fold the state, follow what others append."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Self

from nats.aio.msg import Msg

from contracts import encryption, event_log, subjects
from contracts.codec import Origin
from contracts.event_log import Decision, Head, RejectedMessageError, StoredEvent
from contracts.events import Event
from contracts.events.chat import ChatForked, ChatRewound
from contracts.events.turn import RUNTIME
from contracts.ids import (
    ChatKey,
    CommandId,
    DeliveryId,
    RunnerId,
    Seq,
    StreamSeq,
    UserId,
    WorkflowName,
    delivery_of,
)
from contracts.large_values import INLINE_BYTES, MAX_BYTES, LargeValue
from services.chassis.budgets.storage import StorageQuota
from services.chassis.consumers.errors import NewerReleaseError
from services.chassis.consumers.slots import NO_SLOT, Slot
from services.chassis.jetstream.direct_get import position_of
from services.chassis.jetstream.errors import MessageTooLargeError, NatsUnavailableError
from services.chassis.jetstream.event_log import (
    START,
    Commit,
    Place,
    PlaceLostError,
    PositionConflictError,
    decision_of,
)
from services.chassis.jetstream.forks import LocatedFork, locate_fork, read_origin
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.value_store import ValueLostError
from services.chassis.nats.direct_subscription import DirectSubscription
from services.chassis.tasks import cancel_and_wait
from services.orchestrator.domain.evolution import applied
from services.orchestrator.domain.log_lines import log_lines
from services.orchestrator.domain.run_ownership import FencedError, claim, is_fenced
from services.orchestrator.domain.shown_text import ShownText
from services.orchestrator.domain.state import ChatState, Owner, RestorePointMissingError, pending
from services.orchestrator.runtime.chat_cache import ChatCache, FoldedChat
from services.orchestrator.runtime.chat_snapshots import EVERY_EVENTS, ChatSnapshots

log = logging.getLogger(__name__)

_LEVELS = {name.lower(): level for name, level in logging.getLevelNamesMapping().items()}

Decider = Callable[[ChatState], Sequence[Event]]
Clock = Callable[[], datetime]


def decide_nothing(_: ChatState) -> Sequence[Event]:
    """A Decider for which nothing follows."""
    return ()


class SupersededError(Exception):
    """Another command's message owns this chat now: its delivery continues the run."""


class TurnOverError(Exception):
    """The turn that events were to be recorded for has ended, for example by a cancellation."""


class ChatLog:
    """Appends to one chat on behalf of one delivery of a command, and keeps its folded state.

    `command` is the command's id: the cause of every event that its delivery appends. The log begins
    with what `cache` knows of the chat. To be used as an async context manager once it is run: it
    ends the subscription.
    """

    def __init__(
        self,
        gateway: JetStreamGateway,
        key: ChatKey,
        delivery: DeliveryId,
        command: CommandId,
        clock: Clock,
        cache: ChatCache | None = None,
        trace: str | None = None,
        quota: StorageQuota | None = None,
        snapshots: ChatSnapshots | None = None,
        slot: Slot = NO_SLOT,
    ) -> None:
        self.slot = slot
        """What this delivery works with; not while it waits for a model."""
        self._quota = quota
        self.key = key
        self._snapshots = snapshots
        self.trace = trace
        """The `traceparent` of what this delivery does; every event that it appends has it."""
        self._has_appended = False
        self._continued_trace: str | None = None
        self.is_current = False
        """Whether the log was read by this delivery: without it the state may be an old one."""
        self.lost_value = ""
        """Which value of the chat cannot be read: it must not continue with the beginning of it."""
        self._gateway = gateway
        self.delivery = delivery
        self._command = command
        self._clock = clock
        self._cache = ChatCache() if cache is None else cache
        self._chat = self._cache.get(key)
        self.shown = ShownText()
        self._running = False
        self._lost: FencedError | SupersededError | None = None
        self._lock = asyncio.Lock()
        self._change = asyncio.Event()
        self._subscription: DirectSubscription | None = None
        self._heard: list[Msg] = []
        self._folding: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            await self._subscription.aclose()
        if self._folding is not None:
            await cancel_and_wait(self._folding)

    @property
    def state(self) -> ChatState:
        return self._chat.state

    @property
    def folded(self) -> FoldedChat:
        """The chat as far as it is known here."""
        return self._chat

    @property
    def derived(self) -> dict[object, Any]:
        """What is computed from the states of the chat and is used again; see `FoldedChat`."""
        return self._chat.derived

    @property
    def continued_trace(self) -> str | None:
        """The `traceparent` of the run that this delivery continues; None in a new chat."""
        return self._continued_trace if self._has_appended else self._chat.run_trace

    @property
    def is_cached(self) -> bool:
        """Whether a decision may be tried on the state before the log is read.

        The log rejects it if the state is an old one.
        """
        return self._cache.is_trusted(self.key)

    async def refresh(self) -> None:
        """Fold what was appended since the last read. Raises NatsUnavailableError."""
        async with self._exclusive():
            await self._catch_up(replaceable=not self._running)

    async def read_whole(self) -> None:
        """Fold the whole log, if only a part of it is known: a rewind may go back to any event.

        Raises NatsUnavailableError.
        """
        if self._chat.is_whole:
            return
        async with self._exclusive():
            await self._read_from_start()
            self.is_current = True
            self._notify()

    async def keep_snapshot(self) -> None:
        """Keep what is folded for the next resume, if the chat is quiet and long; never raises."""
        if self._snapshots is not None and not self.lost_value and pending(self.state) is None:
            await self._snapshots.keep(self.key, self._chat)

    async def append(
        self,
        decide: Decider,
        *,
        then: Decider = decide_nothing,
        workflow: WorkflowName | None = None,
        actor: str = "runtime",
    ) -> bool:
        """Append the events that `decide` returns for the newest state; returns whether there were any.

        The state may be an old one: then the log rejects the events, it is read, and `decide` is
        called again. No events may be due to an old state unless `is_current`. `then` returns what
        follows from the state with these events, and is appended with them in one message, if that
        is not too large. Raises FencedError and SupersededError within `running`, NatsRejectedError,
        NatsUnavailableError, and what `decide` raises.
        """
        await encryption.ensure(self.key)
        async with self._exclusive():
            while True:
                self.check_ownership()
                events = decide(self.state)
                if not events:
                    return False
                following = then(applied(self.state, events, cause=self._command))
                origin = Origin(
                    key=self.key,
                    workflow=self.state.workflow or workflow or WorkflowName(""),
                    time=self._clock(),
                    cause=self._command,
                    actor=actor,
                    runner=self.delivery.runner,
                    trace=self.trace,
                )
                decision = self._sealed([*events, *following], origin)
                chat = self._chat.with_events(decision.events)
                if self._owns(chat.state):
                    await self._follow()  # before it is stored: no event after it is missed
                place = self._chat.place
                try:
                    await self.store(decision.large)  # before the events that refer to them
                    position = await self._gateway.events.append(decision, after=place.position)
                except PositionConflictError as conflict:
                    await self._catch_up(conflict.last)
                    if self._chat.place == place:  # nothing to read: the log is being replaced
                        raise NatsUnavailableError(str(conflict)) from conflict
                    continue
                except MessageTooLargeError:
                    if not following:
                        raise
                    then = decide_nothing
                    continue
                self._continued_trace, self._has_appended = self.continued_trace, True
                self._keep(chat.at(Place(position, decision.head)))
                self._notify()
                for line in log_lines([*events, *following], origin.workflow):
                    log.log(_LEVELS[line.level], line.message, extra=line.fields)
                return True

    async def locate_fork(
        self, origin: ChatKey, user: UserId, seq: Seq, near: StreamSeq | None
    ) -> LocatedFork | None:
        """Where a fork of another chat of this user begins. See `services.chassis.jetstream.forks`."""
        events = self._gateway.events
        found = await read_origin(events, origin)
        if found is None or found.user != user:
            return None
        return await locate_fork(events, origin, found, seq, near)

    async def begin(
        self,
        event: ChatForked,
        head: Head,
        *,
        workflow: WorkflowName,
        actor: str,
        trace: str | None,
    ) -> bool:
        """Append the first event of a fork, after event `head` of its origin; False if it is there.

        Nothing is read: the state stays what it was. Raises what `append` raises.
        """
        origin = Origin(
            key=self.key,
            workflow=workflow,
            time=self._clock(),
            cause=self._command,
            actor=actor,
            runner=self.delivery.runner,
            trace=trace,
        )
        async with self._exclusive():
            try:
                decision = event_log.seal([event], head, [origin])
                await self._gateway.events.append(decision, after=START.position)
            except PositionConflictError:
                return False
            return True

    async def store(self, values: Sequence[LargeValue]) -> None:
        """Store large values of the chat.

        Raises MessageTooLargeError, StorageUsedUpError, NatsUnavailableError.
        """
        size = sum(value.reference.size for value in values)
        if size > MAX_BYTES:
            raise MessageTooLargeError(subjects.VALUES, size, MAX_BYTES)
        store, app = self._gateway.values, self.key.app
        if self._quota is None or not values or not self._quota.applies(app, "value_bytes"):
            await store.put(self.key, values)
            return
        missing = await store.missing(self.key, values)
        if missing:
            size = sum(value.reference.size for value in missing)
            name = subjects.value_key(self.key, missing[0].reference.digest)
            async with self._quota.reserve(app, "value_bytes", name, size) as reserved:
                reserved.stored = await store.put(self.key, missing)

    def _sealed(self, events: Sequence[Event], origin: Origin) -> Decision:
        origins = [replace(origin, actor=_actor(event, origin)) for event in events]
        inline_bytes = min(INLINE_BYTES, self._gateway.nc.max_payload * 3 // 4)
        return event_log.seal(events, self._chat.place.head, origins, inline_bytes)

    @property
    def is_owned(self) -> bool:
        """Whether the chat is pending and this delivery's message owns it."""
        return self._owns(self.state)

    def _owns(self, state: ChatState) -> bool:
        return state.owner is not None and state.owner.message == self.delivery.message

    def check_ownership(self) -> None:
        """Raises FencedError or SupersededError once this delivery has lost the chat.

        A lost chat stays lost: another delivery may have done what this one would do next.
        """
        if self._lost is not None:
            raise self._lost

    @asynccontextmanager
    async def running(self, *, takeover: bool) -> AsyncIterator[None]:
        """Run the chat, if this delivery owns it, and follow at once what others append.

        `takeover`: this delivery did not append the command's events itself, so an earlier one may
        have started the run; a claim fences it. Raises what `append` raises.
        """
        if takeover or self._subscription is None:
            await self._follow()
            await self.refresh()
        if takeover:
            await self.append(lambda state: claim(state, self.delivery))
        elif is_fenced(self.state, self.delivery):
            raise FencedError(f"{self.state.runner} runs this chat")
        self._running = True
        if self.state.owner is not None and not self.is_owned:
            self._lost = self._superseded(self.state.owner)
        self.check_ownership()
        try:
            yield
        finally:
            self._running = False

    def changed(self) -> Coroutine[Any, Any, object]:
        """Completes at the next change of the state after this call, also before it is awaited."""
        return self._change.wait()

    async def wait_until(self, condition: Callable[[ChatState], bool]) -> None:
        """Returns when the state fulfils the condition, or this delivery has lost the chat."""
        while self._lost is None and not condition(self.state):
            await self.changed()

    async def _follow(self) -> None:
        """Receive what is appended to the chat from now on."""
        if self._subscription is None:
            self._subscription = await self._gateway.live.follow(self.key, self._on_live)

    def _on_live(self, message: Msg) -> None:
        """Fold a message that another delivery has appended; most are those of this one."""
        if self._is_new(message):
            self._heard.append(message)
            if not self._lock.locked():
                self._fold_heard()

    def _is_new(self, message: Msg) -> bool:
        return position_of(message) > self._chat.place.position

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """While the log is read or appended to; then the live messages that came meanwhile count."""
        try:
            async with self._lock:
                yield
        finally:
            if self._heard:
                self._fold_heard()

    def _fold_heard(self) -> None:
        self._heard = [message for message in self._heard if self._is_new(message)]
        if self._heard and (self._folding is None or self._folding.done()):
            self._folding = asyncio.create_task(self._fold_new(), name="fold live messages")

    async def _fold_new(self) -> None:
        async with self._lock:
            while self._heard:
                message = self._heard.pop(0)
                if self._is_new(message):
                    await self._fold(message)

    async def _fold(self, message: Msg) -> None:
        await encryption.load(self.key)
        try:
            position, decision = decision_of(message)
        except RejectedMessageError:  # reported when the log is read
            return
        if decision.follows(self._chat.place.head) and not self._goes_back(decision):
            commit = Commit(Place(position, decision.head), decision.events)
            try:
                self._apply(await self._whole(commit))
            except (
                NatsUnavailableError,
                NewerReleaseError,
            ) as error:  # an append reads the log again
                log.warning("a chat cannot be followed", extra={"why": str(error)})
                return
            self._keep(self._chat)
            self._notify()
            return
        try:
            await self._catch_up(position)
        except (NatsUnavailableError, NewerReleaseError) as error:  # the next append shows it, too
            log.warning("a chat cannot be followed", extra={"why": str(error)})

    def _goes_back(self, decision: Decision) -> bool:
        """Whether a rewind needs more than is known of the chat."""
        return not self._chat.is_whole and any(
            isinstance(one.event, ChatRewound) for one in decision.events
        )

    async def _catch_up(
        self, newest: StreamSeq | None = None, *, replaceable: bool = False
    ) -> None:
        """Fold the messages after the known place, or all, if the log does not continue there.

        Raises NatsUnavailableError, also if the log is another one than before and not `replaceable`:
        what was decided on it is void.
        """
        if self._chat.place == START and await self._resume_from_snapshot():
            newest = None
        known = self._chat
        try:
            async for commit in self._gateway.events.read_tail(
                self.key, after=known.place, newest=newest
            ):
                self._apply(await self._whole(commit))
            self._keep(self._chat)
        except RestorePointMissingError:  # a rewind to an event before the snapshot
            await self._read_from_start()
        except PlaceLostError as lost:
            self._cache.discard(self.key)
            if self._snapshots is not None and not known.is_whole:
                self._snapshots.note_other_log(self.key)
            await self._read_from_start()
            if self._is_other_log(known) and not replaceable:
                raise NatsUnavailableError(str(lost)) from lost
        self.is_current = True
        self._notify()

    def _is_other_log(self, known: FoldedChat) -> bool:
        """Whether what was decided on is void; nothing was decided on a snapshot that was only read."""
        return self._chat.place.head != known.place.head and known.is_whole

    async def _resume_from_snapshot(self) -> bool:
        """Begin with a snapshot, where the chat is so long that it may have one."""
        if self._snapshots is None:
            return False
        if await self._gateway.events.last_seq(self.key) < EVERY_EVENTS:
            return False
        found = await self._snapshots.read(self.key)
        if found is None:
            return False
        self._chat = found
        return True

    async def _read_from_start(self) -> None:
        """Fold the whole log. Raises NatsUnavailableError."""
        chat = FoldedChat()
        async for commit in self._gateway.events.read(self.key):
            chat = chat.after(await self._whole(commit))
        self._keep(chat)

    async def _whole(self, commit: Commit) -> Commit:
        """A message with the whole values of its events. Raises NatsUnavailableError."""
        if any(one.envelope.sealed is not None for one in commit.events):
            self.lost_value = "the key of the chat is gone"
        if all(one.envelope.values is None for one in commit.events):
            return commit
        events: list[StoredEvent] = []
        for one in commit.events:
            try:
                events.append(await self._gateway.values.whole(one))
            except ValueLostError as lost:
                log.exception("a value of a chat is lost")
                self.lost_value = str(lost)
                events.append(one)
        return Commit(commit.place, tuple(events))

    def _apply(self, commit: Commit) -> None:
        """Fold a message that another delivery has appended."""
        for one in commit.events:
            self._chat = self._chat.with_events((one,))
            if self._running and self._lost is None and one.event is not None:
                self._lost = self._loss(one)
        self._chat = self._chat.at(commit.place)

    def _keep(self, chat: FoldedChat) -> None:
        self._chat = chat
        if not self.lost_value:
            self._cache.put(self.key, chat)

    def _loss(self, one: StoredEvent) -> FencedError | SupersededError | None:
        """Why an event means that this delivery has lost the chat, None if it does not."""
        own, owner = self.delivery, self.state.owner
        if owner is not None and owner.message != own.message:
            return self._superseded(owner)
        other = delivery_of(one.envelope.runner or RunnerId(""))
        if other is None or other == own or other.message != own.message:
            return None
        if other.attempt < own.attempt:
            return None
        return FencedError(f"{self.key.app}/{self.key.chat} was taken over by {other.runner}")

    def _superseded(self, owner: Owner) -> SupersededError:
        return SupersededError(f"{self.key.app}/{self.key.chat} is run by {owner.command}")

    def _notify(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


def _actor(event: Event, origin: Origin) -> str:
    """Who caused an event: the user, an agent or the runtime."""
    if event.type in _USER_EVENTS and not getattr(event, "by_default", False):
        return origin.actor
    agent = getattr(event, "agent", None)
    of_runtime = agent in (None, RUNTIME) or event.type in _RUNTIME_EVENTS
    return "runtime" if of_runtime else f"agent:{agent}"


_USER_EVENTS = {
    "chat.started",
    "chat.forked",
    "chat.user_message_received",
    "chat.cancelled",
    "chat.renamed",
    "chat.archived",
    "chat.unarchived",
    "chat.deleted",
    "chat.undeleted",
    "chat.rewound",
    "chat.rewind_refused",
    "human.answered",
    "ui.tool_answered",
}
_RUNTIME_EVENTS = {"turn.speaker_selected", "turn.failed"}
