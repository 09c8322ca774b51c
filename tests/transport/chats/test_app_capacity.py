import pytest

from contracts.commands import SendMessage
from contracts.ids import AppId, ChatKey, new_chat_id, new_command_id
from services.chassis.jetstream.commands import CommandQueue
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import Publisher
from services.transport.chats.app_capacity import RECOUNT_SECONDS, AppCapacity
from services.transport.errors import ApiError
from tests.transport.story import ANA

pytestmark = pytest.mark.broker


class Counted(CommandQueue):
    """A command queue that counts how often it is counted."""

    counts = 0

    async def count_open(self, app: AppId | None = None) -> int:
        self.counts += 1
        return await super().count_open(app)


@pytest.fixture
def queue(gateway: JetStreamGateway) -> Counted:
    return Counted(Publisher(gateway.nc, gateway.storage), gateway.reader)


async def send(queue: Counted, app: AppId, chats: int) -> None:
    for _ in range(chats):
        key = ChatKey(app, new_chat_id())
        await queue.send(
            SendMessage(
                command_id=new_command_id(),
                app_id=key.app,
                chat_id=key.chat,
                user_id=ANA,
                text="hi",
            )
        )


async def test_a_start_beyond_the_limit_is_refused(queue: Counted) -> None:
    app = AppId(f"app-{new_chat_id()}")
    capacity = AppCapacity(queue, 2, lambda: 0.0)
    for _ in range(2):
        await capacity.require(app)
        await send(queue, app, 1)
    with pytest.raises(ApiError, match="app_id: running chat limit reached"):
        await capacity.require(app)


async def test_an_app_far_below_its_limit_is_counted_once_a_second(queue: Counted) -> None:
    app, time = AppId(f"app-{new_chat_id()}"), 0.0
    capacity = AppCapacity(queue, 40, lambda: time)
    for _ in range(10):
        await capacity.require(app)
    assert queue.counts == 1
    time += RECOUNT_SECONDS
    await capacity.require(app)
    assert queue.counts == 2


async def test_near_the_limit_every_start_is_counted(queue: Counted) -> None:
    app = AppId(f"app-{new_chat_id()}")
    capacity = AppCapacity(queue, 8, lambda: 0.0)
    await send(queue, app, 2)
    for _ in range(3):
        await capacity.require(app)
    assert queue.counts == 3


async def test_without_a_limit_nothing_is_counted(queue: Counted) -> None:
    await AppCapacity(queue, 0, lambda: 0.0).require(AppId("acme"))
    assert queue.counts == 0
