"""Chats without an orchestrator: envelopes in order, and an append that keeps the position."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.codec import Origin, open_event, seal
from contracts.commands import SendMessage
from contracts.envelope import Envelope
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
    WorkflowName,
    new_chat_id,
    new_command_id,
)
from contracts.live import TextStreamed
from infra.children import Child
from infra.servers import NatsServer
from services.chassis.bus import Bus, Stored
from services.chassis.process import build_broker, connected
from services.chassis.settings import Settings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACME = AppId("acme.corp")
ANA = UserId("ana")
PATIENCE = 20.0
"""Seconds until a test that waits for something to happen gives up."""


def new_chat(app: AppId = ACME) -> ChatKey:
    return ChatKey(app, new_chat_id())


def said(text: str) -> UserMessageReceived:
    return UserMessageReceived(user_id=ANA, text=text)


def many(count: int) -> list[Event]:
    """Events of all three categories in turn."""
    return [
        (
            said(f"{number}"),
            HumanAnswered(question_id=QuestionId("q"), user_id=ANA, text=f"{number}"),
            BusinessLogged(log_event_type="COUNTED", message=f"{number}"),
        )[number % 3]
        for number in range(count)
    ]


def told(key: ChatKey, events: Sequence[Event], *, after: int = 0) -> list[Envelope]:
    return [
        seal(
            event,
            Seq(seq),
            Origin(key, WorkflowName("Hello"), NOON + timedelta(seconds=seq), cause="test"),
        ).envelope
        for seq, event in enumerate(events, after + 1)
    ]


def texts(stored: Sequence[Stored]) -> list[str]:
    """What the messages among stored events say."""
    opened = [open_event(one.envelope()) for one in stored]
    return [event.text for event in opened if isinstance(event, UserMessageReceived)]


def seqs(stored: Sequence[Stored]) -> list[int]:
    return [one.envelope().seq for one in stored]


@dataclass
class Chat:
    """A chat on a real stream: `append` is what an orchestrator would have done."""

    bus: Bus
    key: ChatKey = field(default_factory=new_chat)
    seq: int = 0
    position: StreamSeq = StreamSeq(0)  # noqa: RUF009

    async def append(self, *events: Event) -> StreamSeq:
        envelopes = told(self.key, events, after=self.seq)
        self.position = await self.bus.append(envelopes, after=self.position)
        self.seq += len(events)
        return self.position

    async def stored(self) -> list[Stored]:
        return [one async for one in self.bus.read(self.key, after=StreamSeq(0))]


def chunk(offset: int, text: str) -> TextStreamed:
    return TextStreamed(
        turn=1, call=0, agent=AgentName("Planner"), runner=RunnerId("r1"), offset=offset, text=text
    )


def message(key: ChatKey, text: str = "Hello") -> SendMessage:
    return SendMessage(
        command_id=new_command_id(), app_id=key.app, chat_id=key.chat, user_id=ANA, text=text
    )


async def letter_about(bus: Bus, service: str, subject: str) -> Msg | None:
    """The newest dead letter of a service about a subject, as the stream holds it."""
    letter = subjects.dead_letter(service, subject)
    try:
        found = await bus.js.get_last_msg(subjects.DEAD_LETTERS, letter)
    except NotFoundError:
        return None
    return Msg(bus.nc, subject=letter, data=found.data or b"", headers=found.headers)


async def count_of(bus: Bus, stream: str, subject: str) -> int:
    """How many messages a stream holds under a subject."""
    info = await bus.js.stream_info(stream, subjects_filter=subject)
    return sum((info.state.subjects or {}).values())


@asynccontextmanager
async def no_room(bus: Bus, how: str) -> AsyncIterator[None]:
    """DEAD_LETTERS takes nothing: it is "full", or it is "deleted"; it is well again afterwards."""
    sound = (await bus.js.stream_info(subjects.DEAD_LETTERS)).config
    if how == "full":
        full = replace(sound, max_bytes=1, discard=DiscardPolicy.NEW)
        await bus.js.update_stream(full)
    else:
        await bus.js.delete_stream(subjects.DEAD_LETTERS)
    yield
    await (bus.js.update_stream if how == "full" else bus.js.add_stream)(sound)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # another task or process sets it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def bus_of(server: NatsServer) -> AsyncIterator[Bus]:
    settings = Settings(nats_url=server.url, drain_seconds=2)
    async with connected(build_broker(settings, "test"), settings) as bus:
        yield bus


def fill(nc: Client) -> None:
    """Write more than the buffers of a socket take."""
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
