"""What a process says that it holds: messages that it delays, too, for as long as it does."""

from nats.aio.client import Client
from nats.aio.msg import Msg

from services.chassis.jetstream.in_flight import InFlightMessages

NO_MESSAGES: set[int] = set()


def message(position: int) -> Msg:
    reply = f"$JS.ACK.COMMANDS.orchestrator.1.{position}.1.1700000000000000000.0"
    return Msg(Client(), subject="x", reply=reply)


class CountedSeconds(float):
    """Seconds that count how often times made of them are compared."""

    compared = 0

    def __radd__(self, other: float) -> "CountedSeconds":
        return CountedSeconds(float(self) + other)

    def __gt__(self, other: float) -> bool:
        CountedSeconds.compared += 1
        return float(self) > other

    def __lt__(self, other: float) -> bool:
        CountedSeconds.compared += 1
        return float(self) < other

    def __le__(self, other: float) -> bool:
        CountedSeconds.compared += 1
        return float(self) <= other


async def test_a_delayed_message_counts_as_held_until_its_last_delay_is_over() -> None:
    held = InFlightMessages(Client())
    held.delay(message(1), 3600)
    held.delay(message(2), 0)
    held.delay(message(1), 0)
    held.delay(message(3), 0)
    held.delay(message(3), 3600)
    assert held.positions("COMMANDS", "orchestrator") == {3}
    held.delay(message(3), -1)
    held.delay(message(4), -1)
    assert held.positions("COMMANDS", "orchestrator") == NO_MESSAGES
    assert held.positions("COMMANDS", "other") == NO_MESSAGES


async def test_each_delay_costs_the_same_however_many_messages_are_delayed() -> None:
    held = InFlightMessages(Client())
    for position in range(2000):
        held.delay(message(position), CountedSeconds(3600))
    assert len(held.positions("COMMANDS", "orchestrator")) == 2000
    assert CountedSeconds.compared < 20 * 2000
