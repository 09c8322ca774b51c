"""A command arrives: state what becomes true, then run the chat until it is quiet."""

from pydantic import ValidationError

from contracts import subjects
from contracts.codec import describe
from contracts.commands import COMMAND, Command, StartChat
from services.chassis.listening import Delivery, LeftToAnotherError, UnworkableError
from services.orchestrator.chatlog import FencedError
from services.orchestrator.decisions import GIVEN_UP, decide, fail
from services.orchestrator.runner import Runner


class Handlers:
    """What the command queue calls."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def on_command(self, delivery: Delivery) -> None:
        """Raises UnworkableError, LeftToAnotherError, and what JetStream raises when it is away."""
        command = _command(delivery)
        chat = self._runner.open(command.key)
        await chat.refresh()
        asked_for = command.workflow_name if isinstance(command, StartChat) else None
        workflow = await self._runner.workflow(chat.state, asked_for)
        await chat.append(
            lambda state: decide(command, state, workflow),
            cause=command.command_id,
            workflow=asked_for,
            actor=f"user:{command.user_id}",
            trace=command.trace,
        )
        try:
            await self._runner.run(chat, patient=delivery.attempt > 1)
        except FencedError as fenced:
            raise LeftToAnotherError(str(fenced)) from fenced

    async def on_given_up(self, delivery: Delivery, reason: str) -> None:
        """The command is buried: whoever waits for its chat must hear of it."""
        del reason  # in the dead letter and the log; it may hold what users must not see
        address = subjects.parse(delivery.message.subject)
        chat = self._runner.open(address.key)
        await chat.refresh()
        await chat.append(lambda state: fail(GIVEN_UP, state), cause=delivery.message.subject)


def _command(delivery: Delivery) -> Command:
    try:
        command = COMMAND.validate_json(delivery.message.data)
    except ValidationError as broken:
        raise UnworkableError(f"no command: {describe(broken)}") from broken
    if subjects.command(command.key, command.name) != delivery.message.subject:
        raise UnworkableError("the command is not what its subject says")
    return command
