"""A command arrives: append what becomes true, then run the chat until it is quiet."""

from pydantic import ValidationError

from contracts import subjects
from contracts.codec import describe
from contracts.commands import COMMAND, Command, ResumeChat, StartChat
from contracts.subjects import InvalidIdError
from services.chassis.listening import Delivery, LeftToAnotherError, UnworkableError
from services.orchestrator.chatlog import ChatLog
from services.orchestrator.decisions import FencedError, decide, give_up, resume, too_early
from services.orchestrator.runner import Runner


class Handlers:
    """What the command queue calls."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def on_command(self, delivery: Delivery) -> None:
        """Raises UnworkableError, TooEarlyError, LeftToAnotherError, and what JetStream raises."""
        command = _command(delivery)
        chat = self._open(command, delivery)
        await chat.refresh()
        asked_for = command.workflow_name if isinstance(command, StartChat) else None
        workflow = await self._runner.workflow(chat.state, asked_for)
        appended = await chat.append(
            lambda state: (
                resume(command, state, chat.delivery)
                if isinstance(command, ResumeChat)
                else decide(command, state, workflow)
            ),
            workflow=asked_for,
            actor=f"user:{command.user_id}",
            trace=command.trace,
        )
        if not appended and (early := too_early(command, chat.state)) is not None:
            raise TooEarlyError(early)
        try:
            await self._runner.run(chat, takeover=not appended or delivery.attempt > 1)
        except FencedError as fenced:
            raise LeftToAnotherError(str(fenced)) from fenced

    async def on_given_up(self, delivery: Delivery, reason: str) -> None:
        """The command is given up, and its chat says so: it fails, where it is this command's to run.

        What is no command cannot be in any log, and nobody waits for it.
        """
        del reason  # in the dead letter and the log; it may hold what users must not see
        try:
            command = _command(delivery)
        except UnworkableError:
            return
        chat = self._open(command, delivery)
        await chat.refresh()
        asked_for = command.workflow_name if isinstance(command, StartChat) else None
        await chat.append(lambda state: give_up(command, state, chat.delivery), workflow=asked_for)

    def _open(self, command: Command, delivery: Delivery) -> ChatLog:
        return self._runner.open(
            command.key, command.command_id, delivery.sequence, delivery.attempt
        )


class TooEarlyError(Exception):
    """What the command is about is not in the log yet: it comes again, or is given up."""


def _command(delivery: Delivery) -> Command:
    try:
        command = COMMAND.validate_json(delivery.message.data)
    except ValidationError as broken:
        raise UnworkableError(f"no command: {describe(broken)}") from broken
    if not _is_told_by(delivery.message.subject, command):
        raise UnworkableError("the command is not what its subject says")
    return command


def _is_told_by(subject: str, command: Command) -> bool:
    try:
        return subject == subjects.command(command.key, command.name)
    except InvalidIdError:
        return False
