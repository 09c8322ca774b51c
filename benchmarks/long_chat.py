"""Long chat: what a user message and its turn cost late in a chat, beside the same early in it."""

from collections.abc import Sequence

from nats.aio.msg import Msg

from benchmarks import chats, stage, turn
from benchmarks.figures import Aim, Figure
from contracts import event_log, subjects
from contracts.commands import SendMessage
from contracts.ids import ChatKey, new_command_id
from infra.servers import NatsServer
from services.chassis.consumers.queue_consumer import Delivery
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.runtime.command_handler import CommandHandler
from services.orchestrator.runtime.runner import Runner

EARLY = 10
LENGTHS = (800, 2_000)
"""Messages of a chat: of the user, of the model, and tool results."""
MESSAGES_PER_TURN = 4
EVENTS_PER_TURN = 11
CHATS = 2
TURNS = 4
"""Of each chat in one repetition: more would make an early chat a long one."""
REPETITIONS = 5
AIM = Aim(ratio=1.3)


async def measure(server: NatsServer) -> list[Figure]:
    case = turn.one_tool(chats.WORKFLOW)
    async with stage.gateway(server) as gateway:
        runner = turn.build_runner(gateway, [case])
        late: dict[int, list[float]] = {length: [] for length in LENGTHS}
        early: list[float] = []
        for _ in range(REPETITIONS):
            early.append(await _cost(gateway, runner, EARLY))
            for length, costs in late.items():
                costs.append(await _cost(gateway, runner, length))
    return [
        Figure(f"turn at message {length:,}: CPU", "ms", costs, early, AIM, note="peer: at 10")
        for length, costs in late.items()
    ]


async def _cost(gateway: JetStreamGateway, runner: Runner, length: int) -> float:
    """Milliseconds of CPU for a message and its turn, in chats that this process runs already."""
    keys = [await _stored(gateway, length) for _ in range(CHATS)]
    for key in keys:
        await _message(gateway, runner, key)()  # gives the turn to the user
        await _message(gateway, runner, key)()
    before = [await _length(gateway, key) for key in keys]
    cost = await turn.cost([_message(gateway, runner, key) for _ in range(TURNS) for key in keys])
    for key, events in zip(keys, before, strict=True):
        added = await _length(gateway, key) - events
        if added != TURNS * EVENTS_PER_TURN:
            raise turn.WrongTurnError(f"{added} events in {TURNS} turns")
    return cost


async def _length(gateway: JetStreamGateway, key: ChatKey) -> int:
    """How many events a chat has."""
    found = await gateway.reader.last(subjects.EVENTS, subjects.events_of(key))
    return 0 if found is None else event_log.read(found.subject, found.data).head.seq


async def _stored(gateway: JetStreamGateway, length: int) -> ChatKey:
    """A chat of so many messages that waits for its user."""
    key, turns = chats.new_chat(), range(1, length // MESSAGES_PER_TURN + 1)
    groups: list[Sequence[chats.Group]] = [[[chats.STARTED]], *(chats.turn(one) for one in turns)]
    await chats.store(gateway, chats.sealed(key, [one for group in groups for one in group]))
    return key


def _message(gateway: JetStreamGateway, runner: Runner, key: ChatKey) -> turn.Deed:
    command = SendMessage(
        command_id=new_command_id(),
        app_id=key.app,
        chat_id=key.chat,
        user_id=chats.PERSON,
        text=turn.QUESTION,
    )
    subject = subjects.command(key, command.name)
    message = Msg(gateway.nc, subject=subject, data=command.model_dump_json().encode())
    return lambda: CommandHandler(runner).on_command(
        Delivery(message, attempt=1, sequence=turn.next_sequence())
    )
