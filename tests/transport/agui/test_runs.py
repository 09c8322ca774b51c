import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from ag_ui.core import Event as AgUiEvent
from pydantic import TypeAdapter

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.commands import COMMAND, Command, StartChat
from contracts.events import Event
from contracts.events.chat import ChatRewound, RestoredChat
from contracts.events.turn import VariablesChanged
from contracts.ids import AgentName, ChatKey, Seq
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.settings import Settings
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import Open, running
from tests.transport.story import (
    ANA,
    CALLED,
    COMPLETED,
    DONE,
    PLANNER,
    REQUESTED,
    RESPONDED,
    RETURNED,
    SELECTED,
    STARTED,
    WORKFLOW,
    YOUR_TURN,
    Chat,
    chunk,
    question_answered,
    question_asked,
    user_message,
)

pytestmark = pytest.mark.broker

EVENT: TypeAdapter[AgUiEvent] = TypeAdapter(AgUiEvent)
HELLO = {"id": "m-1", "role": "user", "content": "Hello"}


@dataclass
class RunReader:
    """What a client of the protocol reads: events that are of the protocol, and its cursor."""

    lines: AsyncIterator[str]
    last_id: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    async def next(self) -> dict[str, Any]:
        while True:
            line = await asyncio.wait_for(anext(self.lines), PATIENCE_SECONDS)
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                EVENT.validate_json(value)
                self.events.append(json.loads(value))
                return self.events[-1]

    async def until(self, kind: str) -> dict[str, Any]:
        while (event := await self.next())["type"] != kind:
            pass
        return event

    @property
    def text(self) -> str:
        return "".join(e["delta"] for e in self.events if e["type"] == "TEXT_MESSAGE_CONTENT")

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


async def read_until(reader: RunReader, text: str) -> None:
    while reader.text != text:
        await reader.next()


def url(address: str, app: str = "acme", user: str = ANA) -> str:
    return f"http://{address}/agui/{app}/{WORKFLOW}?user_id={user}"


def body(thread: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"threadId": thread, "runId": "r", "messages": list(messages), **more}


@asynccontextmanager
async def run(address: str, run_input: dict[str, Any], **headers: str) -> AsyncIterator[RunReader]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx.AsyncClient(timeout=20) as http,
        http.stream("POST", url(address), json=run_input, headers=sent) as reply,
    ):
        assert reply.status_code == 200, await reply.aread()
        assert reply.headers["content-type"].startswith("text/event-stream")
        yield RunReader(reply.aiter_lines())


@dataclass
class ReceivedCommands:
    """The orders that reach the orchestrator's queue for one chat."""

    queue: asyncio.Queue[Command] = field(default_factory=asyncio.Queue)

    async def next(self) -> Command:
        return await asyncio.wait_for(self.queue.get(), PATIENCE_SECONDS)


@asynccontextmanager
async def received_commands(
    gateway: JetStreamGateway, key: ChatKey | None = None
) -> AsyncIterator[ReceivedCommands]:
    commands = ReceivedCommands()

    async def append_chunk(message: Any) -> None:
        command = COMMAND.validate_json(message.data)
        if key in (None, command.key):
            commands.queue.put_nowait(command)

    subscription = await gateway.nc.subscribe(subjects.ALL_COMMANDS, cb=append_chunk)
    await gateway.nc.flush()
    yield commands
    await subscription.unsubscribe()


async def append_caused_by(chat: Chat, command: Command, *events: Event) -> None:
    """What an orchestrator appends on an order: its cause is the order's id."""
    await chat.append(*events, cause=command.command_id)


async def offer(gateway: JetStreamGateway) -> None:
    offered = await gateway.key_values.bucket(subjects.WORKFLOWS)
    card = WorkflowCard(name=WORKFLOW, pattern="DefaultPattern", settable={"mood": []})
    await offered.put(subjects.workflow_key(card.name), card.model_dump_json().encode())


async def test_a_message_is_sent_once_and_its_run_is_streamed_to_its_end(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, YOUR_TURN)
    run_input = body(chat.key.chat, HELLO)
    async with received_commands(gateway, chat.key) as commands:
        async with run(transport, run_input) as reader:
            command = await commands.next()
            await append_caused_by(chat, command, user_message("Hello"), SELECTED, REQUESTED)
            await chat.stream(chunk(0, "A pl"))
            await reader.until("TEXT_MESSAGE_CONTENT")
            await chat.append(RESPONDED, DONE, YOUR_TURN)
            finished = await reader.until("RUN_FINISHED")
        again = await _run_to_end(transport, run_input)  # a repeated request is the same run
        assert commands.queue.empty()
    assert (reader.text, again.text) == ("A plan.", "A plan.")
    assert finished["outcome"] == {"type": "success"}
    assert (reader.last_id, finished["metadata"]) == ("8", {"seq": 8})


async def test_a_disconnected_client_resumes_from_its_cursor_without_gap_or_repeat(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, user_message("Hello"), SELECTED, REQUESTED)
    await chat.stream(chunk(0, "A p"))
    thread = chat.key.chat
    async with run(transport, body(thread)) as cut:
        await read_until(cut, "HelloA p")
    assert (cut.text, cut.last_id) == ("HelloA p", "3")
    has = {"id": f"{thread}.1.0", "role": "assistant", "content": "A p"}
    await chat.stream(chunk(3, "la"))
    async with run(transport, body(thread, has), last_event_id=cut.last_id) as again:
        await again.until("TEXT_MESSAGE_CONTENT")
        await chat.append(RESPONDED, DONE, YOUR_TURN)
        await again.until("RUN_FINISHED")
    assert again.text == "lan."
    assert again.kinds[2:5] == ["STATE_SNAPSHOT", "STEP_STARTED", "TEXT_MESSAGE_START"]
    async with run(transport, body(thread, forwardedProps={"after": 7})) as late:
        await late.until("RUN_FINISHED")
    assert late.kinds == ["RUN_STARTED", "CUSTOM", "STATE_SNAPSHOT", "RUN_FINISHED"]


async def test_replaced_text_is_corrected_by_a_snapshot_of_the_conversation(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, user_message("Hello"), SELECTED, REQUESTED)
    await chat.stream(chunk(0, "Well, "))
    async with run(transport, body(chat.key.chat)) as reader:
        await read_until(reader, "HelloWell, ")
        await chat.stream(chunk(0, "A plan", runner="r2"))
        await chat.append(RESPONDED, DONE, YOUR_TURN)
        snapshot = await reader.until("MESSAGES_SNAPSHOT")
        await reader.until("RUN_FINISHED")
    assert [message["content"] for message in snapshot["messages"]] == ["Hello", "A plan."]


async def test_an_interrupt_is_resumed_by_its_answer(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    question = subjects.question(chat.key, 1, "call-1", 0)
    await chat.append(STARTED, SELECTED, CALLED, question_asked(question))
    async with run(transport, body(chat.key.chat)) as reader:
        finished = await reader.until("RUN_FINISHED")
    (interrupt,) = finished["outcome"]["interrupts"]
    assert interrupt["id"] == question
    entry = {"interruptId": question, "status": "resolved", "payload": "red"}
    async with (
        received_commands(gateway, chat.key) as commands,
        run(transport, body(chat.key.chat, resume=[entry])) as reader,
    ):
        command = await commands.next()
        assert (command.name, getattr(command, "text", "")) == ("answer_question", "red")
        await append_caused_by(chat, command, question_answered(question))
        await chat.append(RETURNED, RESPONDED, DONE, COMPLETED)
        finished = await reader.until("RUN_FINISHED")
    assert finished["outcome"] == {"type": "success"}
    assert "TOOL_CALL_RESULT" in reader.kinds
    assert "TOOL_CALL_START" not in reader.kinds


async def test_a_new_thread_starts_one_chat_whose_variables_are_its_state(
    open_transport: Open, gateway: JetStreamGateway
) -> None:
    address = await open_transport(start_wait_seconds=10)
    await offer(gateway)
    chat = Chat(gateway)
    run_input = body(f"thread-{chat.key.chat}", HELLO, state={"mood": "good"})
    async with received_commands(gateway) as commands:
        running_ones = [asyncio.create_task(_run_to_end(address, run_input)) for _ in range(2)]
        command = await commands.next()
        assert isinstance(command, StartChat)
        assert (command.message, command.variables) == ("Hello", {"mood": "good"})
        started = Chat(gateway, command.key)
        await append_caused_by(
            started, command, STARTED, user_message("Hello"), SELECTED, RESPONDED, DONE, COMPLETED
        )
        first, second = await asyncio.gather(*running_ones)
        assert first.kinds == second.kinds
        assert (first.text, first.kinds[-1]) == ("A plan.", "RUN_FINISHED")
        others = [commands.queue.get_nowait() for _ in range(commands.queue.qsize())]
        assert {one.command_id for one in others} <= {command.command_id}


async def test_a_state_that_users_may_not_set_is_refused_by_name(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    await offer(gateway)
    run_input = body(f"thread-{chat.key.chat}", HELLO, state={"mood": "good", "price": -5})
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        reply = await http.post(f"/agui/acme/{WORKFLOW}?user_id=ana", json=run_input)
    assert reply.status_code == 403
    assert reply.json()["detail"].startswith("state.price: ")


async def _run_to_end(address: str, run_input: dict[str, Any]) -> RunReader:
    async with run(address, run_input) as reader:
        await reader.until("RUN_FINISHED")
        return reader


async def test_a_chat_that_does_not_start_in_time_is_an_error_of_the_run_which_may_be_sent_again(
    transport: str, gateway: JetStreamGateway
) -> None:
    await offer(gateway)
    async with run(transport, body("nobody-begins-this", HELLO)) as reader:
        error = await reader.until("RUN_ERROR")
    assert (reader.kinds, error["code"]) == (["RUN_STARTED", "RUN_ERROR"], "RUN_INTERRUPTED")


async def test_a_thread_with_the_id_of_somebody_elses_chat_shows_nothing_of_it(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    await offer(gateway)
    await chat.append(STARTED, user_message("secret"))
    async with httpx.AsyncClient(timeout=20) as http:
        other = url(transport, user="bob")
        reply = await http.post(other, json=body(chat.key.chat, HELLO))
    assert (reply.status_code, "secret" in reply.text) == (200, False)
    assert "RUN_INTERRUPTED" in reply.text


async def test_a_run_sends_nothing_of_an_agent_that_is_not_visual(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    offered = await gateway.key_values.bucket(subjects.WORKFLOWS)
    card = WorkflowCard(name=WORKFLOW, visual_agents=[AgentName("Writer")])
    await offered.put(subjects.workflow_key(card.name), card.model_dump_json().encode())
    await chat.append(STARTED, SELECTED, CALLED, RETURNED, DONE, YOUR_TURN)
    async with run(transport, body(chat.key.chat)) as reader:
        await reader.until("RUN_FINISHED")
    await offer(gateway)
    assert reader.text == ""
    assert not [kind for kind in reader.kinds if kind.startswith("TOOL_CALL")]


async def test_a_transport_that_shuts_down_asks_its_clients_to_send_the_run_again(
    nats: NatsServer, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    async with running(Settings(nats_url=nats.url)) as (address, _):
        opened = asyncio.Event()
        reading = asyncio.create_task(_read_on(address, chat, opened))
        await asyncio.wait_for(opened.wait(), PATIENCE_SECONDS)
    reader = await reading
    assert (reader.kinds[-1], reader.events[-1]["code"]) == ("RUN_ERROR", "RUN_INTERRUPTED")


async def _read_on(address: str, chat: Chat, opened: asyncio.Event) -> RunReader:
    async with run(address, body(chat.key.chat)) as reader:
        await reader.until("STEP_STARTED")
        opened.set()
        await reader.until("RUN_ERROR")
        return reader


@pytest.mark.parametrize(
    ("query", "run_input", "status", "field"),
    [
        ("", {}, 400, "user_id"),
        ("?user_id=ana", {"threadId": ""}, 400, "threadId"),
        ("?user_id=ana", {"messages": "x"}, 400, "messages"),
        ("?user_id=ana", {"state": {"app_id": "x"}}, 400, "state.app_id"),
        ("?user_id=ana", {"resume": [{"interruptId": "x", "status": "resolved"}]}, 404, "resume.0"),
    ],
)
async def test_an_invalid_run_is_rejected_and_changes_nothing(
    transport: str, chat: Chat, query: str, run_input: dict[str, Any], status: int, field: str
) -> None:
    await chat.append(STARTED, YOUR_TURN)
    full = {**body(chat.key.chat), **run_input}
    async with httpx.AsyncClient(timeout=20) as http:
        reply = await http.post(f"http://{transport}/agui/acme/{WORKFLOW}{query}", json=full)
    assert (reply.status_code, reply.json()["detail"].split(": ")[0]) == (status, field)


@pytest.mark.parametrize(
    ("run_input", "field"),
    [
        ({"resume": [{"interruptId": "x", "status": "resolved", "payload": "y"}]}, "resume.0"),
        ({"forwardedProps": {"after": 3}}, "threadId"),
    ],
)
async def test_an_unknown_thread_cannot_be_resumed(
    transport: str, gateway: JetStreamGateway, run_input: dict[str, Any], field: str
) -> None:
    await offer(gateway)
    async with received_commands(gateway) as commands, httpx.AsyncClient(timeout=20) as http:
        reply = await http.post(url(transport), json=body("never was", HELLO, **run_input))
        await gateway.nc.flush()
    assert (reply.status_code, reply.json()["detail"].split(": ")[0]) == (404, field)
    assert commands.queue.empty()


async def test_an_ended_chat_accepts_no_message(transport: str, chat: Chat) -> None:
    await chat.append(STARTED, COMPLETED)
    async with httpx.AsyncClient(timeout=20) as http:
        reply = await http.post(url(transport), json=body(chat.key.chat, HELLO))
    assert reply.status_code == 409


async def test_a_chat_that_goes_back_sends_its_state_and_its_messages_anew(
    transport: str, chat: Chat
) -> None:
    tone = VariablesChanged(turn=1, agent=PLANNER, changed={"tone": "dry"})
    await chat.append(STARTED, user_message("Hello"), SELECTED, REQUESTED)
    async with run(transport, body(chat.key.chat)) as reader:
        await reader.until("TEXT_MESSAGE_END")
        restored = RestoredChat(
            status="running", speaker=PLANNER, turn=1, has_title=True, removed=["tone"]
        )
        await chat.append(
            tone,
            RESPONDED,
            ChatRewound(to_seq=Seq(4), kind="retry", user_id=ANA, restored=restored),
        )
        await reader.until("STATE_DELTA")
        state = await reader.until("STATE_SNAPSHOT")
        messages = await reader.until("MESSAGES_SNAPSHOT")
        await chat.append(DONE, YOUR_TURN)
        await reader.until("RUN_FINISHED")
    assert "tone" not in state["snapshot"]
    assert [message["content"] for message in messages["messages"]] == ["Hello"]
