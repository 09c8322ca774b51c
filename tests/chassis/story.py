"""Chats without an orchestrator: envelopes in order, and an append that keeps the position."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.commands import SendMessage
from contracts.deltas import TextStreamed
from contracts.event_log import EMPTY, Decision, Head, StoredEvent
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.chat import UserMessageReceived
from contracts.events.human import HumanAnswered
from contracts.ids import (
    AgentName,
    AppId,
    ChatKey,
    QuestionId,
    RunnerId,
    Seq,
    StreamSeq,
    UserId,
    new_chat_id,
    new_command_id,
)
from infra.child_process import Child
from infra.servers import NatsServer
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.event_log import START, Commit, Place
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from tests.logs import decisions

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACME = AppId("acme.corp")
ANA = UserId("ana")
PATIENCE = 60.0
"""Seconds until a test that waits for something fails."""


def new_chat(app: AppId = ACME) -> ChatKey:
    return ChatKey(app, new_chat_id())


def said(text: str) -> UserMessageReceived:
    return UserMessageReceived(user_id=ANA, text=text)


def many(count: int) -> list[Event]:
    """Events of the two categories that one decision may have, alternating."""
    return [
        (
            said(f"{number}"),
            HumanAnswered(question_id=QuestionId("q"), user_id=ANA, text=f"{number}"),
        )[number % 2]
        for number in range(count)
    ]


def counted(number: int) -> BusinessLogged:
    return BusinessLogged(log_event_type="COUNTED", message=f"{number}")


def decided(key: ChatKey, *events: Event, after: Head = EMPTY) -> Decision:
    """One decision of these events."""
    (found,) = decisions([events], key, workflow="Hello", head=after, began=NOON)
    return found


def texts(stored: Sequence[StoredEvent]) -> list[str]:
    """The texts of the messages among stored events."""
    return [one.event.text for one in stored if isinstance(one.event, UserMessageReceived)]


def seqs(stored: Sequence[StoredEvent]) -> list[int]:
    return [one.envelope.seq for one in stored]


@dataclass
class Chat:
    """A chat on a real stream: `append` does what an orchestrator does."""

    gateway: JetStreamGateway
    key: ChatKey = field(default_factory=new_chat)
    place: Place = START

    async def append(self, *events: Event) -> StreamSeq:
        decision = decided(self.key, *events, after=self.place.head)
        position = await self.gateway.events.append(decision, after=self.place.position)
        self.place = Place(position, decision.head)
        return position

    async def append_each(self, count: int) -> None:
        """Events, each in a message of its own."""
        for event in many(count):
            await self.append(event)

    @property
    def seq(self) -> int:
        return self.place.head.seq

    async def messages(self) -> list[RawMessage]:
        """Its messages in the stream."""
        found = self.gateway.reader.pages(
            subjects.EVENTS, subjects.events_of(self.key), StreamSeq(0), goal=self.place.position
        )
        return [message async for message in found]

    async def commits(self) -> list[Commit]:
        return [commit async for commit in self.gateway.events.read(self.key)]

    async def stored(self) -> list[StoredEvent]:
        return events_of(await self.commits())

    async def past(self, cursor: int) -> list[StoredEvent]:
        """What is read from a client's cursor, by a reader that knows the whole log."""
        found = self.gateway.events.read_from(self.key, Seq(cursor), known=self.place)
        read = events_of([commit async for commit in found])
        return [one for one in read if one.envelope.seq > cursor]


def events_of(commits: Sequence[Commit]) -> list[StoredEvent]:
    return [event for commit in commits for event in commit.events]


def chunk(offset: int, text: str) -> TextStreamed:
    return TextStreamed(
        turn=1, call=0, agent=AgentName("Planner"), runner=RunnerId("r1"), offset=offset, text=text
    )


def message(key: ChatKey, text: str = "Hello") -> SendMessage:
    return SendMessage(
        command_id=new_command_id(), app_id=key.app, chat_id=key.chat, user_id=ANA, text=text
    )


async def letter_about(gateway: JetStreamGateway, service: str, subject: str) -> Msg | None:
    """The newest dead letter of a service about a subject, as the stream stores it."""
    letter = subjects.dead_letter(service, subject)
    try:
        found = await gateway.js.get_last_msg(subjects.DEAD_LETTERS, letter)
    except NotFoundError:
        return None
    return Msg(gateway.nc, subject=letter, data=found.data or b"", headers=found.headers)


async def count_of(gateway: JetStreamGateway, stream: str, subject: str) -> int:
    """How many messages a stream has under a subject."""
    info = await gateway.js.stream_info(stream, subjects_filter=subject)
    return sum((info.state.subjects or {}).values())


@asynccontextmanager
async def no_room(gateway: JetStreamGateway, how: str) -> AsyncIterator[None]:
    """DEAD_LETTERS accepts nothing: it is "full" or "deleted", and restored afterwards."""
    sound = (await gateway.js.stream_info(subjects.DEAD_LETTERS)).config
    if how == "full":
        full = replace(sound, max_bytes=1, discard=DiscardPolicy.NEW)
        await gateway.js.update_stream(full)
    else:
        await gateway.js.delete_stream(subjects.DEAD_LETTERS)
    yield
    await (gateway.js.update_stream if how == "full" else gateway.js.add_stream)(sound)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # another task or process sets it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def gateway_of(server: NatsServer) -> AsyncIterator[JetStreamGateway]:
    settings = Settings(nats_url=server.url, drain_seconds=2)
    async with connected(build_broker(settings, "test"), settings) as gateway:
        yield gateway


def fill(nc: Client) -> None:
    """Write more than the buffers of a socket hold."""
    assert nc._transport is not None
    for _ in range(40):
        nc._transport.write(b"PUB x 1000000\r\n" + bytes(1_000_000) + b"\r\n")


def freeze(child: Child) -> None:
    """SIGSTOP, and return once every thread of it has stopped."""
    os.kill(child.pid, signal.SIGSTOP)
    threads = Path("/proc", str(child.pid), "task")
    while any(_state(thread) != "T" for thread in threads.iterdir()):
        time.sleep(0.005)


def thaw(child: Child) -> None:
    if child.running:
        os.kill(child.pid, signal.SIGCONT)


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]
