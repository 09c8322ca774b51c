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
from contracts.ids import AgentName, ChatKey
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.transport.app import Settings
from tests.transport.conftest import Open, running
from tests.transport.story import (
    ANA,
    CALLED,
    COMPLETED,
    DONE,
    REQUESTED,
    RETURNED,
    SAID,
    SELECTED,
    STARTED,
    WORKFLOW,
    YOUR_TURN,
    Chat,
    answers,
    asks,
    chunk,
    said,
)

pytestmark = pytest.mark.broker

EVENT: TypeAdapter[AgUiEvent] = TypeAdapter(AgUiEvent)
HELLO = {"id": "m-1", "role": "user", "content": "Hello"}


@dataclass
class Told:
    """What a client of the protocol reads: events that are of the protocol, and its cursor."""

    lines: AsyncIterator[str]
    last_id: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    async def next(self) -> dict[str, Any]:
        while True:
            line = await asyncio.wait_for(anext(self.lines), 10)
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


async def told_until(told: Told, text: str) -> None:
    while told.text != text:
        await told.next()


def url(address: str, app: str = "acme", user: str = ANA) -> str:
    return f"http://{address}/agui/{app}/{WORKFLOW}?user_id={user}"


def body(thread: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"threadId": thread, "runId": "r", "messages": list(messages), **more}


@asynccontextmanager
async def run(address: str, asked: dict[str, Any], **headers: str) -> AsyncIterator[Told]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx.AsyncClient(timeout=20) as http,
        http.stream("POST", url(address), json=asked, headers=sent) as reply,
    ):
        assert reply.status_code == 200, await reply.aread()
        assert reply.headers["content-type"].startswith("text/event-stream")
        yield Told(reply.aiter_lines())


@dataclass
class Orders:
    """The orders that reach the orchestrator's queue for one chat."""

    queue: asyncio.Queue[Command] = field(default_factory=asyncio.Queue)

    async def next(self) -> Command:
        return await asyncio.wait_for(self.queue.get(), 10)


@asynccontextmanager
async def orders(bus: Bus, key: ChatKey | None = None) -> AsyncIterator[Orders]:
    heard = Orders()

    async def hear(message: Any) -> None:
        order = COMMAND.validate_json(message.data)
        if key in (None, order.key):
            heard.queue.put_nowait(order)

    subscription = await bus.nc.subscribe(subjects.ALL_COMMANDS, cb=hear)
    await bus.nc.flush()
    yield heard
    await subscription.unsubscribe()


async def append_because(chat: Chat, order: Command, *events: Event) -> None:
    """What an orchestrator appends on an order: its cause is the order's id."""
    await chat.append(*events, cause=order.command_id)


async def offer(bus: Bus) -> None:
    offered = await bus.bucket(subjects.WORKFLOWS)
    card = WorkflowCard(name=WORKFLOW, pattern="DefaultPattern")
    await offered.put(subjects.workflow_key(card.name), card.model_dump_json().encode())


async def test_a_message_is_ordered_once_and_its_run_is_told_to_its_end(
    transport: str, chat: Chat, bus: Bus
) -> None:
    await chat.append(STARTED, YOUR_TURN)
    asked = body(chat.key.chat, HELLO)
    async with orders(bus, chat.key) as heard:
        async with run(transport, asked) as told:
            order = await heard.next()
            await append_because(chat, order, said("Hello"), SELECTED, REQUESTED)
            await chat.stream(chunk(0, "A pl"))
            await told.until("TEXT_MESSAGE_CONTENT")
            await chat.append(SAID, DONE, YOUR_TURN)
            finished = await told.until("RUN_FINISHED")
        again = await _to_the_end(transport, asked)  # a request that is repeated is the same run
        assert heard.queue.empty()
    assert (told.text, again.text) == ("A plan.", "A plan.")
    assert finished["outcome"] == {"type": "success"}
    assert (told.last_id, finished["metadata"]) == ("8", {"seq": 8})


async def test_a_client_that_was_cut_off_goes_on_from_its_cursor_with_no_word_lost_or_doubled(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, said("Hello"), SELECTED, REQUESTED)
    await chat.stream(chunk(0, "A p"))
    thread = chat.key.chat
    async with run(transport, body(thread)) as cut:
        await told_until(cut, "HelloA p")
    assert (cut.text, cut.last_id) == ("HelloA p", "3")
    has = {"id": f"{thread}.1.0", "role": "assistant", "content": "A p"}
    await chat.stream(chunk(3, "la"))
    async with run(transport, body(thread, has), last_event_id=cut.last_id) as again:
        await again.until("TEXT_MESSAGE_CONTENT")
        await chat.append(SAID, DONE, YOUR_TURN)
        await again.until("RUN_FINISHED")
    assert again.text == "lan."
    assert again.kinds[2:5] == ["STATE_SNAPSHOT", "STEP_STARTED", "TEXT_MESSAGE_START"]
    async with run(transport, body(thread, forwardedProps={"after": 7})) as late:
        await late.until("RUN_FINISHED")
    assert late.kinds == ["RUN_STARTED", "CUSTOM", "STATE_SNAPSHOT", "RUN_FINISHED"]


async def test_words_that_another_attempt_replaced_are_set_right_by_the_whole_conversation(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, said("Hello"), SELECTED, REQUESTED)
    await chat.stream(chunk(0, "Well, "))
    async with run(transport, body(chat.key.chat)) as told:
        await told_until(told, "HelloWell, ")
        await chat.stream(chunk(0, "A plan", runner="r2"))
        await chat.append(SAID, DONE, YOUR_TURN)
        stated = await told.until("MESSAGES_SNAPSHOT")
        await told.until("RUN_FINISHED")
    assert [message["content"] for message in stated["messages"]] == ["Hello", "A plan."]


async def test_an_interrupt_is_resumed_by_its_answer(transport: str, chat: Chat, bus: Bus) -> None:
    question = subjects.question(chat.key, 1, "call-1", 0)
    await chat.append(STARTED, SELECTED, CALLED, asks(question))
    async with run(transport, body(chat.key.chat)) as told:
        finished = await told.until("RUN_FINISHED")
    (interrupt,) = finished["outcome"]["interrupts"]
    assert interrupt["id"] == question
    entry = {"interruptId": question, "status": "resolved", "payload": "red"}
    async with (
        orders(bus, chat.key) as heard,
        run(transport, body(chat.key.chat, resume=[entry])) as told,
    ):
        order = await heard.next()
        assert (order.name, getattr(order, "text", "")) == ("answer_question", "red")
        await append_because(chat, order, answers(question))
        await chat.append(RETURNED, SAID, DONE, COMPLETED)
        finished = await told.until("RUN_FINISHED")
    assert finished["outcome"] == {"type": "success"}
    assert "TOOL_CALL_RESULT" in told.kinds
    assert "TOOL_CALL_START" not in told.kinds


async def test_a_new_thread_begins_one_chat_whose_variables_are_its_state(
    open_transport: Open, bus: Bus
) -> None:
    address = await open_transport(start_wait_seconds=10)
    await offer(bus)
    chat = Chat(bus)
    asked = body(f"thread-{chat.key.chat}", HELLO, state={"mood": "good"})
    async with orders(bus) as heard:
        running_ones = [asyncio.create_task(_to_the_end(address, asked)) for _ in range(2)]
        order = await heard.next()
        assert isinstance(order, StartChat)
        assert (order.message, order.variables) == ("Hello", {"mood": "good"})
        begun = Chat(bus, order.key)
        await append_because(begun, order, STARTED, said("Hello"), SELECTED, SAID, DONE, COMPLETED)
        first, second = await asyncio.gather(*running_ones)
        assert first.kinds == second.kinds
        assert (first.text, first.kinds[-1]) == ("A plan.", "RUN_FINISHED")
        others = [heard.queue.get_nowait() for _ in range(heard.queue.qsize())]
        assert {one.command_id for one in others} <= {order.command_id}


async def _to_the_end(address: str, asked: dict[str, Any]) -> Told:
    async with run(address, asked) as told:
        await told.until("RUN_FINISHED")
        return told


async def test_a_chat_that_does_not_begin_in_time_is_an_error_of_the_run_and_may_be_asked_again(
    transport: str, bus: Bus
) -> None:
    await offer(bus)
    async with run(transport, body("nobody-begins-this", HELLO)) as told:
        error = await told.until("RUN_ERROR")
    assert (told.kinds, error["code"]) == (["RUN_STARTED", "RUN_ERROR"], "COME_BACK")


async def test_a_thread_named_like_somebody_else_s_chat_shows_nothing_of_it(
    transport: str, chat: Chat, bus: Bus
) -> None:
    await offer(bus)
    await chat.append(STARTED, said("secret"))
    async with httpx.AsyncClient(timeout=20) as http:
        other = url(transport, user="bob")
        reply = await http.post(other, json=body(chat.key.chat, HELLO))
    assert (reply.status_code, "secret" in reply.text) == (200, False)
    assert "COME_BACK" in reply.text


async def test_a_run_of_an_agent_that_is_not_for_people_says_nothing_of_it(
    transport: str, chat: Chat, bus: Bus
) -> None:
    offered = await bus.bucket(subjects.WORKFLOWS)
    card = WorkflowCard(name=WORKFLOW, visual_agents=[AgentName("Writer")])
    await offered.put(subjects.workflow_key(card.name), card.model_dump_json().encode())
    await chat.append(STARTED, SELECTED, CALLED, RETURNED, DONE, YOUR_TURN)
    async with run(transport, body(chat.key.chat)) as told:
        await told.until("RUN_FINISHED")
    await offer(bus)
    assert told.text == ""
    assert not [kind for kind in told.kinds if kind.startswith("TOOL_CALL")]


async def test_a_stopping_transport_tells_its_clients_to_come_back(
    nats: NatsServer, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    async with running(Settings(nats_url=nats.url)) as (address, _):
        opened = asyncio.Event()
        reading = asyncio.create_task(_read_on(address, chat, opened))
        await asyncio.wait_for(opened.wait(), 10)
    told = await reading
    assert (told.kinds[-1], told.events[-1]["code"]) == ("RUN_ERROR", "COME_BACK")


async def _read_on(address: str, chat: Chat, opened: asyncio.Event) -> Told:
    async with run(address, body(chat.key.chat)) as told:
        await told.until("STEP_STARTED")
        opened.set()
        await told.until("RUN_ERROR")
        return told


@pytest.mark.parametrize(
    ("query", "asked", "status", "field"),
    [
        ("", {}, 400, "user_id"),
        ("?user_id=ana", {"threadId": ""}, 400, "threadId"),
        ("?user_id=ana", {"messages": "x"}, 400, "messages"),
        ("?user_id=ana", {"state": {"app_id": "x"}}, 400, "state.app_id"),
        ("?user_id=ana", {"resume": [{"interruptId": "x", "status": "resolved"}]}, 404, "resume.0"),
    ],
)
async def test_a_run_that_cannot_be_is_refused_before_anything_happens(
    transport: str, chat: Chat, query: str, asked: dict[str, Any], status: int, field: str
) -> None:
    await chat.append(STARTED, YOUR_TURN)
    whole = {**body(chat.key.chat), **asked}
    async with httpx.AsyncClient(timeout=20) as http:
        reply = await http.post(f"http://{transport}/agui/acme/{WORKFLOW}{query}", json=whole)
    assert (reply.status_code, reply.json()["detail"].split(": ")[0]) == (status, field)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"resume": [{"interruptId": "x", "status": "resolved", "payload": "y"}]}, "resume.0"),
        ({"forwardedProps": {"after": 3}}, "threadId"),
    ],
)
async def test_a_thread_that_never_was_is_not_begun_to_go_on_with_it(
    transport: str, bus: Bus, asked: dict[str, Any], field: str
) -> None:
    await offer(bus)
    async with orders(bus) as heard, httpx.AsyncClient(timeout=20) as http:
        reply = await http.post(url(transport), json=body("never was", HELLO, **asked))
        await bus.nc.flush()
    assert (reply.status_code, reply.json()["detail"].split(": ")[0]) == (404, field)
    assert heard.queue.empty()


async def test_an_ended_chat_takes_no_more_words(transport: str, chat: Chat) -> None:
    await chat.append(STARTED, COMPLETED)
    async with httpx.AsyncClient(timeout=20) as http:
        reply = await http.post(url(transport), json=body(chat.key.chat, HELLO))
    assert reply.status_code == 409
