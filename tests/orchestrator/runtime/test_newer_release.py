"""What a newer release has written is left to it: nothing is decided without it, nothing is lost."""

import pytest
from nats.aio.msg import Msg

from contracts import event_log, subjects
from contracts.codec import encode
from contracts.event_log import Decision
from contracts.events.chat import UserMessageReceived
from contracts.ids import StreamSeq
from services.chassis.consumers.errors import NewerReleaseError
from services.chassis.consumers.queue_consumer import Delivery
from services.chassis.jetstream.event_log import Commit
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.domain.state import Effect
from services.orchestrator.domain.turn_steps import Completed, Outcome
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.command_handler import CommandHandler
from services.orchestrator.workflows.spec import Workflow
from tests.logs import decisions
from tests.orchestrator.chat_harness import ChatUser, deliver, runner
from tests.story import ANA

pytestmark = [pytest.mark.broker]


async def reply(_: Effect, __: Workflow, ___: ChatJournal) -> Outcome:
    """A turn that is over at once."""
    return Completed("Done.", None)


async def commits(gateway: JetStreamGateway, user: ChatUser) -> list[Commit]:
    return [commit async for commit in gateway.events.read(user.key)]


async def append_of_newer_release(gateway: JetStreamGateway, user: ChatUser) -> StreamSeq:
    """Append a message of the user as a release writes it that has version 99 of the event."""
    place = (await commits(gateway, user))[-1].place
    said = UserMessageReceived(user_id=ANA, text="From tomorrow")
    (known,) = decisions([[said]], user.key, head=place.head)
    newer = event_log.read_event(encode(known.first.model_copy(update={"version": 99})))
    assert newer.event is None
    return await gateway.events.append(Decision(user.key, "chat", (newer,)), after=place.position)


@pytest.mark.parametrize("is_cached", [True, False])
async def test_a_chat_with_an_event_of_a_newer_release_is_left_as_it_is(
    gateway: JetStreamGateway, *, is_cached: bool
) -> None:
    user, worker = ChatUser(), runner(gateway, reply)
    await deliver(worker, user.start_chat("Hello"))
    position = await append_of_newer_release(gateway, user)
    older = worker if is_cached else runner(gateway, reply)
    for command in (user.send_message("And?"), user.cancel_chat()):
        with pytest.raises(NewerReleaseError, match=r"chat\.user_message_received version 99"):
            await deliver(older, command)
    assert (await commits(gateway, user))[-1].place.position == position


@pytest.mark.parametrize(
    ("name", "more"),
    [("dream_chat", '"name":"dream_chat"'), ("start_chat", '"name":"start_chat","mood":"calm"')],
    ids=["an unknown command", "an unknown field"],
)
async def test_a_command_that_only_a_newer_release_knows_is_left_to_it(
    gateway: JetStreamGateway, name: str, more: str
) -> None:
    user, worker = ChatUser(), runner(gateway, reply)
    body = user.start_chat("Hello").model_dump_json().replace('"name":"start_chat"', more)
    subject = subjects.command(user.key, name)
    message = Msg(_client=gateway.nc, subject=subject, data=body.encode())
    with pytest.raises(NewerReleaseError, match=r"dream_chat|mood"):
        await CommandHandler(worker).on_command(Delivery(message, 1, 1))
    assert await commits(gateway, user) == []
