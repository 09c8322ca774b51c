"""The client package against a transport on a real NATS."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel
from websockets.asyncio.client import ClientConnection, connect

from contracts.commands import AnswerQuestion, AnswerUiTool, CancelChat, SendMessage, StopAnswer
from contracts.subjects import question
from contracts.wire.frames import (
    ChatEndedData,
    ComponentRequestedData,
    EventData,
    HistoryData,
    PrintData,
    QuestionData,
    TextData,
)
from infra.ports import free_port
from mozaiks_client import ApiError, Client, ServiceUnavailableError
from mozaiks_client.chat import Chat as ClientChat
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.tasks import cancel_and_wait
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import chat as chat
from tests.transport.conftest import gateway as gateway
from tests.transport.conftest import open_transport as open_transport
from tests.transport.conftest import shared_transport as shared_transport
from tests.transport.conftest import transport as transport
from tests.transport.story import (
    ANA,
    COMPLETED,
    REQUESTED,
    RESPONDED,
    SELECTED,
    STARTED,
    YOUR_TURN,
    Chat,
    chunk,
    component_requested,
    last_command,
    question_asked,
    user_messages,
)

pytestmark = pytest.mark.broker

D = TypeVar("D", bound=BaseModel)


@pytest.fixture
async def client(transport: str, chat: Chat) -> AsyncIterator[Client]:
    async with Client(f"http://{transport}", app=chat.key.app, user=ANA, timeout=5) as client:
        yield client


async def first(chat: ClientChat, kind: type[D]) -> D:
    """The data of the first frame of a kind; the stream is left."""
    async with aclosing(chat.stream()) as frames:
        async for frame in frames:
            if isinstance(frame.data, kind):
                return frame.data
    raise AssertionError(f"no {kind.__name__}")


async def test_a_chat_is_streamed_from_its_first_event_to_its_end(
    client: Client, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED, RESPONDED, COMPLETED)
    frames = [frame async for frame in client.chat(chat.key.chat, "Generator").stream()]
    assert frames[0].type == "chat_meta"
    assert [f.data.content for f in frames if isinstance(f.data, TextData)] == ["A plan."]
    (ended,) = [f.data for f in frames if isinstance(f.data, ChatEndedData)]
    assert ended.status == 1
    assert frames[-1].type == "chat.resume_boundary"


async def test_a_stream_shows_what_happens_after_its_history(client: Client, chat: Chat) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    types, chunks = [], []
    async for frame in client.chat(chat.key.chat, "Generator").stream(events=True):
        match frame.data:
            case EventData(type=kind):
                types.append(kind)
            case PrintData(content=text):
                chunks.append(text)
            case _:
                pass
        if frame.type == "chat.resume_boundary":
            await chat.stream(chunk(0, "A pl"), chunk(4, "an."))
        if "".join(chunks) == "A plan." and "turn.model_responded" not in types:
            await chat.append(RESPONDED, COMPLETED)
            chunks.clear()
    assert types == [
        "chat.started",
        "turn.speaker_selected",
        "turn.model_requested",
        "turn.model_responded",
        "chat.completed",
    ]


async def test_a_stream_of_a_tail_and_the_pages_before_it_are_the_whole_chat(
    client: Client, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(100), COMPLETED)
    of_chat = client.chat(chat.key.chat, "Generator")
    frames = [frame async for frame in of_chat.stream(tail=10)]
    assert [frame.type for frame in frames[:3]] == ["chat_meta", "chat.history", "chat.text"]
    seqs = [frame.seq for frame in frames if isinstance(frame.data, TextData | ChatEndedData)]
    first = frames[1].data.first_sequence if isinstance(frames[1].data, HistoryData) else 0
    while first > 1:
        page = await of_chat.earlier(first, 30)
        seqs[:0] = [frame.seq for frame in page.frames]
        first = page.first_sequence
    assert seqs == list(range(1, 103))


async def test_a_cursor_and_a_tail_cannot_be_combined(client: Client, chat: Chat) -> None:
    with pytest.raises(ValueError, match="after, tail"):
        await anext(client.chat(chat.key.chat, "Generator").stream(3, tail=3))


@asynccontextmanager
async def cut_after(address: str, sizes: Sequence[int]) -> AsyncIterator[str]:
    """A proxy that ends its n-th connection after so many bytes from the transport, later ones never."""
    left = iter(sizes)
    host, port = address.split(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        budget = next(left, 1 << 30)
        from_transport, to_transport = await asyncio.open_connection(host, int(port))

        async def upwards() -> None:
            while data := await reader.read(65536):
                to_transport.write(data)

        sending = asyncio.create_task(upwards())
        while budget > 0 and (data := await from_transport.read(min(budget, 4096))):
            writer.write(data)
            budget -= len(data)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        to_transport.transport.abort()
        writer.transport.abort()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_stream_that_is_cut_again_and_again_has_each_frame_once(
    client: Client, chat: Chat, transport: str
) -> None:
    await chat.append(STARTED, SELECTED, *user_messages(30), COMPLETED)
    whole = [frame async for frame in client.chat(chat.key.chat, "Generator").stream(events=True)]
    sizes = [700, 1500, 2500, 3100, 4000, 5200, 6000]
    async with (
        cut_after(transport, sizes) as address,
        Client(f"http://{address}", app=chat.key.app, user=ANA) as cut,
    ):
        received = [f async for f in cut.chat(chat.key.chat, "Generator").stream(events=True)]
    of_events = [frame for frame in whole if frame.seq and frame.type != "chat.resume_boundary"]
    again = [frame for frame in received if frame.seq and frame.type != "chat.resume_boundary"]
    assert again == of_events
    assert sum(frame.type == "chat_meta" for frame in received) > 3


async def test_a_stream_of_a_tail_that_is_cut_has_each_frame_once(
    chat: Chat, transport: str
) -> None:
    await chat.append(STARTED, *user_messages(30))
    sizes = [700, 1500, 2500, 3100, 9000, 9500]
    async with (
        cut_after(transport, sizes) as address,
        Client(f"http://{address}", app=chat.key.app, user=ANA) as cut,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        seqs: list[int | None] = []
        async for frame in cut.chat(chat.key.chat, "Generator").stream(tail=10):
            if isinstance(frame.data, TextData):
                seqs.append(frame.seq)
            if frame.type == "chat.resume_boundary" and chat.seq == 31:
                await chat.append(*user_messages(10), COMPLETED)
    assert seqs == list(range(22, 42))


async def test_a_sent_message_and_a_cancellation_become_commands(
    client: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, SELECTED, YOUR_TURN)
    mine = client.chat(chat.key.chat, "Generator")
    await mine.send("a shop")
    sent = await last_command(gateway, chat.key)
    assert isinstance(sent, SendMessage)
    assert sent.text == "a shop"
    await mine.cancel("enough")
    assert isinstance(await last_command(gateway, chat.key), CancelChat)


async def test_a_stop_names_the_turn_and_is_ignored_where_no_answer_runs(
    client: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    mine = client.chat(chat.key.chat, "Generator")
    await chat.append(STARTED, SELECTED)
    assert await mine.stop(1)
    stopped = await last_command(gateway, chat.key)
    assert isinstance(stopped, StopAnswer)
    assert stopped.turn == 1
    await chat.append(YOUR_TURN)
    assert not await mine.stop(1)


async def test_an_answer_names_its_question(
    client: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(
        STARTED, SELECTED, REQUESTED, question_asked(question(chat.key, 1, "call-1", 0))
    )
    mine = client.chat(chat.key.chat, "Generator")
    await mine.answer((await first(mine, QuestionData)).request_id, "red")
    answered = await last_command(gateway, chat.key)
    assert isinstance(answered, AnswerQuestion)
    assert answered.text == "red"


async def test_a_component_is_answered_with_an_object(
    client: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(
        STARTED, SELECTED, REQUESTED, component_requested(question(chat.key, 1, "call-1", 0))
    )
    mine = client.chat(chat.key.chat, "Generator")
    requested = await first(mine, ComponentRequestedData)
    await mine.answer_component(requested.event_id, {"colour": "red"})
    answered = await last_command(gateway, chat.key)
    assert isinstance(answered, AnswerUiTool)
    assert answered.response == {"colour": "red"}


async def test_the_whole_of_a_large_value_is_read_by_its_digest(client: Client, chat: Chat) -> None:
    rows = ["x" * 1_000] * 900
    asked = component_requested(question(chat.key, 1, "call-1", 0))
    await chat.append(STARTED, SELECTED, asked.model_copy(update={"payload": {"rows": rows}}))
    mine = client.chat(chat.key.chat, "Generator")
    (link,) = (await first(mine, ComponentRequestedData)).stored_values or ()
    assert json.loads(await mine.value(link.digest)) == rows
    with pytest.raises(ApiError):
        await mine.value("0" * 64)


async def test_a_refusal_names_the_field(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        await client.chat("no-such-chat", "Generator").send("hello")
    assert (refused.value.status, refused.value.field) == (404, "chat_id")


async def test_a_stream_of_a_chat_that_does_not_exist_is_refused(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        async for _ in client.chat("no-such-chat", "Generator").stream():
            pass
    assert refused.value.code == "CHAT_NOT_FOUND"


async def test_a_stream_whose_closing_is_cancelled_leaves_no_socket_open(
    client: Client, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = asyncio.Event()

    opened: list[ClientConnection] = []

    class Deaf(ClientConnection):
        """Never reads the answer to its close."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            opened.append(self)

        async def close(self, code: int = 1000, reason: str = "") -> None:
            self.transport.pause_reading()
            closing.set()
            await super().close(code, reason)

    open_socket = partial(connect, create_connection=Deaf)
    monkeypatch.setattr("mozaiks_client.chat.connect", open_socket)
    frames = client.chat(chat.key.chat, "Generator").stream()
    await chat.append(STARTED)
    await anext(frames)
    leaving = asyncio.create_task(frames.aclose())
    await closing.wait()
    await cancel_and_wait(leaving)
    (socket,) = opened
    assert socket.transport.is_closing()


async def test_a_transport_that_is_not_there_is_given_up_in_time() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    async with Client(address, app="a", user="u", timeout=0.5) as client:
        with pytest.raises(ServiceUnavailableError):
            await asyncio.wait_for(client.start("Generator"), PATIENCE_SECONDS)
