"""Handle a command: append its events, then run the chat until it is quiet."""

from contextlib import AbstractContextManager

from pydantic import ValidationError

from contracts import encryption, subjects
from contracts.codec import describe
from contracts.commands import (
    COMMAND_NAMES,
    Command,
    EditMessage,
    EscalateQuestion,
    ForkChat,
    ResumeChat,
    RetryAnswer,
    RewindChat,
    StartChat,
)
from contracts.forks import ForkPositionError
from contracts.ids import ChatKey
from contracts.subjects import InvalidIdError
from contracts.trace_context import parse_traceparent
from services.chassis.consumers.errors import (
    NewerReleaseError,
    OwnershipLostError,
    UnprocessableMessageError,
)
from services.chassis.consumers.queue_consumer import Delivery
from services.chassis.jetstream.commands import decoded_command
from services.chassis.jetstream.forks import LocatedFork
from services.chassis.logs.context import log_context, trace_id, user_hash
from services.chassis.tracing.messages import processing
from services.orchestrator.domain.decisions import decide, fork_chat
from services.orchestrator.domain.run_ownership import (
    FencedError,
    give_up,
    is_owner,
    reason_to_retry,
    resume,
)
from services.orchestrator.runtime.chat_log import ChatLog, decide_nothing
from services.orchestrator.runtime.runner import Runner


class CommandHandler:
    """The callbacks of the command queue."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def on_command(self, delivery: Delivery) -> None:
        """Raises UnprocessableMessageError, NewerReleaseError, CommandTooEarlyError,
        OwnershipLostError, and what JetStream raises.
        """
        command = await _command(delivery)
        message, attempt = delivery.message, delivery.attempt
        with processing(message, subjects.COMMANDS, attempt, command.trace) as span:
            span.set({"gen_ai.conversation.id": command.chat_id, "mozaiks.app_id": command.app_id})
            span.set({"mozaiks.command": command.name})
            with _log_context_of(command, span.traceparent):
                await self._handle(command, delivery, span.traceparent)

    async def _handle(self, command: Command, delivery: Delivery, trace: str | None) -> None:
        async with self._open(command, delivery, trace) as chat:
            if isinstance(command, EscalateQuestion):
                await chat.refresh()
                await self._runner.announce_escalation(chat, command)
            appended = await self._append(command, chat, delivery)
            if not appended and (reason := reason_to_retry(command, chat.state)) is not None:
                raise CommandTooEarlyError(reason)
            try:
                await self._runner.run(
                    chat,
                    takeover=not appended or delivery.attempt > 1,
                    repair=isinstance(command, ResumeChat),
                )
            except FencedError as fenced:
                raise OwnershipLostError(str(fenced)) from fenced

    async def _append(self, command: Command, chat: ChatLog, delivery: Delivery) -> bool:
        """Append the events of a command; returns whether there were any.

        A first delivery is tried on the state that this process knows, which the log rejects if it
        is an old one. That there is nothing to append is only known once the log was read.
        """
        if isinstance(command, ForkChat):
            return await self._fork(command, chat, delivery)
        if isinstance(command, RetryAnswer | EditMessage | RewindChat):
            await chat.refresh()
            await chat.read_whole()
        elif delivery.attempt > 1 or not (chat.is_cached or isinstance(command, StartChat)):
            await chat.refresh()
        appended = await self._try(command, chat)
        if not appended and not chat.is_current:
            await chat.refresh()
            appended = await self._try(command, chat)
        return appended

    async def _fork(self, command: ForkChat, chat: ChatLog, delivery: Delivery) -> bool:
        """Begin a fork, with the user's first message in it, if any; whether anything was appended.

        The history is only read where there is something to run. Raises UnprocessableMessageError
        where there is no such origin or event, or no fork can begin there.
        """
        if delivery.attempt > 1:
            await chat.refresh()
        begun = False
        if not chat.state.started:
            found = await self._located(command, chat)
            point = found.point
            begun = await chat.begin(
                fork_chat(command, point.head.seq, found.segments),
                point.head,
                workflow=point.workflow,
                actor=f"user:{command.user_id}",
                trace=command.trace,
            )
            if begun and point.waits_for_user and command.message is None:
                return True
            await chat.refresh()
        return await self._try(command, chat) or begun

    async def _located(self, command: ForkChat, chat: ChatLog) -> LocatedFork:
        try:
            origin = ChatKey(command.app_id, command.origin)
            found = await chat.locate_fork(origin, command.user_id, command.seq, command.position)
        except ForkPositionError as impossible:
            raise UnprocessableMessageError(f"seq: {impossible}") from impossible
        if found is None:
            raise UnprocessableMessageError("origin: no such chat of this user, or no such event")
        return found

    async def _try(self, command: Command, chat: ChatLog) -> bool:
        requested = command.workflow_name if isinstance(command, StartChat) else None
        runnable = await self._runner.find(chat.state, requested)
        workflow = None if runnable is None else runnable.workflow
        return await chat.append(
            lambda state: (
                resume(command, state, chat.delivery)
                if isinstance(command, ResumeChat)
                else decide(command, state, workflow)
            ),
            then=decide_nothing if runnable is None else runnable.opening(chat),
            workflow=requested,
            actor=f"user:{command.user_id}",
        )

    async def on_given_up(self, delivery: Delivery, reason: str) -> None:
        """Record in the chat that the command is not retried; the chat fails if the command owns it.

        A message that is not a command belongs to no chat and is ignored here.
        """
        del reason  # in the dead letter and the log; it may contain what users must not see
        try:
            command = await _command(delivery)
        except (UnprocessableMessageError, NewerReleaseError):
            return
        trace = parse_traceparent(command.trace)
        with _log_context_of(command, trace):
            await self._give_up(command, self._open(command, delivery, trace))

    async def _give_up(self, command: Command, chat: ChatLog) -> None:
        await chat.refresh()
        if is_owner(command, chat.state, chat.delivery):
            await self._runner.keep_shown_text(chat)
        requested = command.workflow_name if isinstance(command, StartChat) else None
        await chat.append(lambda state: give_up(command, state, chat.delivery), workflow=requested)

    def _open(self, command: Command, delivery: Delivery, trace: str | None) -> ChatLog:
        return self._runner.open(
            command.key,
            command.command_id,
            delivery.sequence,
            delivery.attempt,
            trace,
            delivery.slot,
        )


def _log_context_of(command: Command, trace: str | None) -> AbstractContextManager[None]:
    return log_context(
        app=command.key.app,
        chat=command.key.chat,
        user=user_hash(command.key.app, command.user_id),
        run=command.command_id,
        trace=trace_id(trace),
    )


class CommandTooEarlyError(Exception):
    """What the command refers to is not in the log yet: the command is retried, within limits."""


async def _command(delivery: Delivery) -> Command:
    """Raises UnprocessableMessageError, NewerReleaseError."""
    try:
        key, name = subjects.parse(delivery.message.subject)
        if name not in COMMAND_NAMES:
            raise NewerReleaseError(f"{name} is no command of this release")
        await encryption.load(key)
        command = decoded_command(key, delivery.message.data)
    except ValidationError as invalid:
        if all(one["type"] == "extra_forbidden" for one in invalid.errors()):
            raise NewerReleaseError(f"not of this release: {describe(invalid)}") from invalid
        raise UnprocessableMessageError(f"not a command: {describe(invalid)}") from invalid
    except ValueError as invalid:
        raise UnprocessableMessageError(f"not a command: {invalid}") from invalid
    if not _matches_subject(delivery.message.subject, command):
        raise UnprocessableMessageError("the command does not match its subject")
    return command


def _matches_subject(subject: str, command: Command) -> bool:
    try:
        return subject == subjects.command(command.key, command.name)
    except InvalidIdError:
        return False
