"""Retry, edit and rewind: what they would not undo, and that only one of two at once has an effect."""

import asyncio
from dataclasses import dataclass
from hashlib import sha256

from nats.aio.msg import Msg

from contracts import subjects
from contracts.commands import Command, EditMessage, RetryAnswer, RewindChat
from contracts.effects import CallEffect, EffectRecord, effects_after, record_of
from contracts.event_log import RejectedMessageError
from contracts.events import Event
from contracts.events.chat import ChatRewound, RewindRefusal, RewindRefused
from contracts.ids import ChatKey, CommandId, Seq
from services.chassis.jetstream.event_log import Place, decision_of
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.chats.service import ChatService
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.errors import ApiError, ErrorCode
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.rewind_refusals import REFUSALS

OUTCOME_SECONDS = 2.0
"""How long a request waits to hear what has become of it; then it is only known to be stored."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Run the last turn of an agent again."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the user's message at position `message`."""

    message: Seq
    text: str


@dataclass(frozen=True, slots=True)
class GoBack:
    """Go back to position `to_seq`."""

    to_seq: Seq


Rewind = Retry | Edit | GoBack


class RewindError(ApiError):
    """A retry, an edit or a rewind that has no effect; `effects` are those that it would not undo."""

    def __init__(
        self, code: ErrorCode, field: str, problem: str, effects: tuple[CallEffect, ...] = ()
    ) -> None:
        super().__init__(code, field, problem)
        self.effects = effects


def refused(reason: RewindRefusal) -> RewindError:
    code, message = REFUSALS[reason]
    field, _, problem = message.partition(": ")
    return RewindError(code, field, problem)


class RewindService:
    """Sends the commands of one identity. Every method raises ApiError and NatsUnavailableError."""

    def __init__(
        self, chats: ChatService, gateway: JetStreamGateway, projections: ProjectionCache
    ) -> None:
        self._chats = chats
        self._gateway = gateway
        self._projections = projections

    async def send(
        self, view: ChatView, wanted: Rewind, *, confirm: bool, seen: Seq | None = None
    ) -> Seq | None:
        """The position of the rewind; None where its outcome is not known in time.

        `seen` is the last event that the user knew, by default the chat's last one. Without `confirm`
        nothing is sent where tools have had effects meanwhile, which are named by the error.
        """
        view = await self._projections.get(view.key) or view
        command = _command(view, wanted, view.last_seq if seen is None else seen)
        if command.seen_seq != view.last_seq:
            return await self._outcome_of_earlier(command)
        if view.status == "running":
            raise refused("answer_running")
        if not confirm and (effects := await self._effects(view, wanted)):
            names = ", ".join(dict.fromkeys(one.tool for one in effects))
            problem = (
                f"cannot undo what these tools have done: {names}; send it again with `confirm`"
            )
            raise RewindError("CONFIRMATION_REQUIRED", "confirm", problem, tuple(effects))
        return await self._send(command, view.place)

    async def _effects(self, view: ChatView, wanted: Rewind) -> list[CallEffect]:
        """What the calls after the position that is gone back to have done to the world."""
        after = _target(view, wanted)
        if after >= view.last_seq:
            return []
        first = min(Seq(after + 1), view.turn_seq or Seq(after + 1))
        records: list[EffectRecord] = []
        async for commit in self._gateway.events.read_part(
            view.key, first, view.last_seq, known=view.place
        ):
            for stored in commit.events:
                record = record_of(stored.envelope, stored.event)
                if record is not None and stored.envelope.seq >= first:
                    records.append(record)
        return effects_after(records, after, view.key.chat, view.workflow_name)

    async def _send(self, command: Command, seen_at: Place) -> Seq | None:
        """Send a command unless another one was sent at the same position of the chat."""
        outcome = _Outcome(command.command_id)
        subscription = await self._gateway.live.follow(command.key, outcome.on_message)
        try:
            first = await self._chats.send_once(command, _message_id(command))
            if first is None:  # handled already
                return await self._outcome_of_earlier(command, seen_at)
            if first != command.command_id:
                raise refused("chat_changed")
            return _position(await outcome.wait())
        finally:
            await subscription.aclose()

    async def _outcome_of_earlier(self, command: Command, after: Place | None = None) -> Seq | None:
        """The position of the rewind by this very command; raises where there is none."""
        key = command.key
        goal = await self._gateway.events.last_position(key)
        reads = (
            self._gateway.events.read(key)
            if after is None
            else self._gateway.events.read_to(key, goal, after=after)
        )
        async for commit in reads:
            for stored in commit.events:
                if stored.envelope.cause == command.command_id:
                    return _position((stored.envelope.seq, stored.event))
        raise refused("chat_changed")


def _position(outcome: tuple[Seq, Event | None] | None) -> Seq | None:
    match outcome:
        case (_, RewindRefused(reason=reason)):
            raise refused(reason)
        case (seq, ChatRewound()):
            return seq
        case _:
            return None


def _target(view: ChatView, wanted: Rewind) -> Seq:
    match wanted:
        case Retry():
            return view.last_seq if view.turn_seq is None else Seq(view.turn_seq - 1)
        case Edit(message=message):
            return Seq(message - 1)
        case GoBack(to_seq=to_seq):
            return to_seq


def _command(view: ChatView, wanted: Rewind, seen: Seq) -> RetryAnswer | EditMessage | RewindChat:
    """The same request at the same position of a chat is the same command."""
    named = f"{view.key.app}\n{view.key.chat}\n{seen}\n{wanted!r}"
    common = {
        "command_id": CommandId(f"rewind-{sha256(named.encode()).hexdigest()}"),
        "app_id": view.key.app,
        "chat_id": view.key.chat,
        "user_id": view.user,
        "seen_seq": seen,
    }
    match wanted:
        case Retry():
            return RetryAnswer.model_validate(common)
        case Edit(message=message, text=text):
            return EditMessage.model_validate({**common, "message": message, "text": text})
        case GoBack(to_seq=to_seq):
            return RewindChat.model_validate({**common, "to_seq": to_seq})


def _message_id(command: Command) -> str:
    seen = getattr(command, "seen_seq", 0)
    return f"rewind-{subjects.chat_tokens(ChatKey(command.app_id, command.chat_id))}-{seen}"


class _Outcome:
    """The first event that a command has caused."""

    def __init__(self, command: CommandId) -> None:
        self._command = command
        self._found: asyncio.Future[tuple[Seq, Event | None]] = asyncio.Future()

    def on_message(self, message: Msg) -> None:
        try:
            _, decision = decision_of(message)
        except RejectedMessageError:  # no event of any chat
            return
        for stored in decision.events:
            if stored.envelope.cause == self._command and not self._found.done():
                self._found.set_result((stored.envelope.seq, stored.event))

    async def wait(self) -> tuple[Seq, Event | None] | None:
        """None where nothing is heard in time."""
        try:
            async with asyncio.timeout(OUTCOME_SECONDS):
                return await self._found
        except TimeoutError:
            return None
