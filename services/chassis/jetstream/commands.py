"""The command queue of the orchestrator: send a command, schedule one, count those not finished."""

from datetime import UTC, datetime, timedelta

from contracts import encryption, subjects
from contracts.commands import COMMAND, Command
from contracts.ids import AppId, ChatKey, CommandId, new_message_id
from services.chassis.jetstream.direct_get import BEFORE_FIRST, DirectReader
from services.chassis.jetstream.publish import Publisher, Stored
from services.chassis.tracing.messages import sending
from services.chassis.tracing.spans import traceparent

PLACE = "command"
"""Of what is sealed in this queue."""


class CommandQueue:
    """Publishes commands into the work queue, each with the `traceparent` of what sends it.

    Methods raise NatsUnavailableError and, where they store something, NatsRejectedError.
    """

    def __init__(self, publisher: Publisher, reader: DirectReader) -> None:
        self._publisher = publisher
        self._reader = reader

    async def send(self, command: Command) -> None:
        """Put a command into the queue; a command that is sent twice is stored once."""
        await self._publish(command, command.command_id)

    async def send_once(self, command: Command, message_id: str) -> CommandId | None:
        """Put a command into the queue, unless one was stored under the same message id before.

        Returns the id of the command that is stored: another one where that came first; None where
        that one is handled already. The stream knows a message id within its duplicate window.
        """
        stored = await self._publish(command, message_id)
        if not stored.is_duplicate:
            return command.command_id
        first = await self._reader.at(subjects.COMMANDS, stored.position)
        if first is None:
            return None
        await encryption.load(command.key)
        return decoded_command(command.key, first.data).command_id

    async def _publish(self, command: Command, message_id: str) -> Stored:
        subject = subjects.command(command.key, command.name)
        with sending(subjects.COMMANDS, message_id):
            return await self._publisher.publish(subject, await _data(command), message_id)

    async def waiting(self, key: ChatKey, name: str) -> list[Command]:
        """The commands of one kind for a chat that are not handled yet, as one replica knows them."""
        subject = subjects.command(key, name)
        pages = self._reader.pages(subjects.COMMANDS, subject, BEFORE_FIRST)
        await encryption.load(key)
        return [decoded_command(key, message.data) async for message in pages]

    async def schedule(self, time: datetime, name: str, command: Command) -> None:
        """Let JetStream send a command at `time`, or at once where that is past (NATS ADR-51).

        `name` identifies the timer within its chat: setting it again replaces the one before.
        """
        headers = {
            "Nats-Schedule": f"@at {_next_second(time):%Y-%m-%dT%H:%M:%SZ}",
            "Nats-Schedule-Target": subjects.command(command.key, command.name),
        }
        subject = subjects.timer(command.key, name)
        await self._publisher.publish(subject, await _data(command), new_message_id(), headers)

    async def count_open(self, app: AppId | None = None) -> int:
        """How many commands of one app, or of all, wait or are in progress: one per running chat."""
        wanted = subjects.ALL_COMMANDS if app is None else subjects.commands_of_app(app)
        return await self._reader.count(subjects.COMMANDS, wanted)


def decoded_command(key: ChatKey, data: bytes) -> Command:
    """A command of a chat whose key is loaded. Raises ValueError, or pydantic.ValidationError."""
    opened = encryption.open_json(key, PLACE, data)
    if opened is None:
        raise ValueError("the key of its chat is gone")
    return COMMAND.validate_json(opened)


async def _data(command: Command) -> bytes:
    """The command as it is stored, with the trace of what sends it, unless it has one already."""
    trace = command.trace or traceparent()
    data = command.model_copy(update={"trace": trace}).model_dump_json().encode()
    await encryption.ensure(command.key)
    return encryption.seal_json(command.key, PLACE, data)


def _next_second(time: datetime) -> datetime:
    return (time + timedelta(microseconds=999_999)).astimezone(UTC)
