"""The cache of folded chats: when it saves reading the log, and when the log shows that it is wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.event_log import Head
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import Place
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.domain.state import Effect
from services.orchestrator.domain.turn_steps import Completed, Outcome
from services.orchestrator.runtime import chat_cache
from services.orchestrator.runtime.chat_cache import ChatCache, FoldedChat
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.command_handler import CommandTooEarlyError
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.workflows.spec import USER, Workflow
from tests.orchestrator.chat_harness import ChatUser, deliver, event_types, history, runner
from tests.story import NEWSROOM, WRITER

TALK = replace(NEWSROOM, agents={WRITER: replace(NEWSROOM.agents[WRITER], after_work=USER)})
"""One agent, whose turns alternate with the user's."""
TURN = ["chat.user_message_received", "turn.speaker_selected", "turn.completed"]
READS = ("$JS.API.STREAM.MSG.GET.EVENTS", "$JS.API.DIRECT.GET.EVENTS")


async def reply(_: Effect, __: Workflow, ___: ChatJournal) -> Outcome:
    """A turn that is over at once."""
    return Completed("Done.", None)


def process(gateway: JetStreamGateway) -> Runner:
    """A runner with a cache of its own."""
    return runner(gateway, reply, {TALK.name: TALK})


async def types(gateway: JetStreamGateway, user: ChatUser) -> list[str]:
    """The types of a chat's events, without claims and turns that are given to the user."""
    facts = await history(gateway, user.key)
    assert [fact.envelope.seq for fact in facts] == list(range(1, len(facts) + 1))
    return [
        kind
        for kind, fact in zip(event_types(facts), facts, strict=True)
        if fact.envelope.body.get("agent") != USER and kind != "run.claimed"
    ]


# -- on a real log --------------------------------------------------------------------------------


@pytest.mark.broker
async def test_a_start_and_a_message_to_a_known_chat_are_handled_without_reading_the_log(
    gateway: JetStreamGateway,
) -> None:
    user, worker, reads = ChatUser(), process(gateway), list[str]()

    async def on_read(message: Msg) -> None:
        reads.append(message.subject)

    for subject in READS:
        await gateway.nc.subscribe(subject, cb=on_read)
    await deliver(worker, user.start_chat("Hello"))
    await deliver(worker, user.send_message("And?"))
    await gateway.nc.flush()
    assert reads == []
    assert await types(gateway, user) == ["chat.started", *TURN, *TURN]
    await gateway.nc.flush()
    assert set(reads) == set(READS)  # of this test: it can see them


@pytest.mark.broker
async def test_a_command_is_decided_on_what_another_process_appended_meanwhile(
    gateway: JetStreamGateway,
) -> None:
    user, first, second = ChatUser(), process(gateway), process(gateway)
    await deliver(first, user.start_chat("Hello"))
    await deliver(second, user.send_message("To the second"))
    await deliver(first, user.send_message("To the first"))
    await deliver(second, user.cancel_chat())
    await deliver(first, user.send_message("Too late"))
    assert await types(gateway, user) == ["chat.started", *TURN, *TURN, *TURN, "chat.cancelled"]


@pytest.mark.broker
async def test_a_command_that_has_no_effect_on_an_old_state_is_decided_on_the_newest(
    gateway: JetStreamGateway,
) -> None:
    user, first, second = ChatUser(), process(gateway), process(gateway)
    start, message = user.start_chat("Hello"), user.send_message("And?")
    await deliver(first, start)
    await deliver(second, message)
    await deliver(first, start, attempt=2)
    await deliver(first, message)
    assert await types(gateway, user) == ["chat.started", *TURN, *TURN]


@pytest.mark.broker
async def test_a_chat_whose_log_was_purged_begins_anew(gateway: JetStreamGateway) -> None:
    user, worker = ChatUser(), process(gateway)
    await deliver(worker, user.start_chat("Hello"))
    await gateway.js.purge_stream(subjects.EVENTS, subject=subjects.events_of(user.key))
    message = user.send_message("Anyone?")
    with pytest.raises(NatsUnavailableError):  # the queue delivers it again
        await deliver(worker, message)
    with pytest.raises(CommandTooEarlyError):
        await deliver(worker, message, attempt=2)
    await deliver(worker, user.start_chat("Hello again"))
    assert await types(gateway, user) == ["chat.started", *TURN]


@pytest.mark.broker
async def test_a_start_in_a_purged_chat_that_is_known_begins_it_anew(
    gateway: JetStreamGateway,
) -> None:
    user, worker = ChatUser(), process(gateway)
    await deliver(worker, user.start_chat("Hello"))
    await gateway.js.purge_stream(subjects.EVENTS, subject=subjects.events_of(user.key))
    await deliver(worker, user.start_chat("Hello again"))
    assert await types(gateway, user) == ["chat.started", *TURN]


@pytest.mark.broker
async def test_a_restored_chat_continues_where_its_log_ends(gateway: JetStreamGateway) -> None:
    user, worker = ChatUser(), process(gateway)
    await deliver(worker, user.start_chat("Hello"))
    subject = subjects.events_of(user.key)
    stored = [raw async for raw in gateway.reader.pages(subjects.EVENTS, subject, StreamSeq(0))]
    await deliver(worker, user.send_message("This is lost"))
    await gateway.js.purge_stream(subjects.EVENTS, subject=subject)
    for raw in stored:
        await gateway.js.publish(raw.subject, raw.data)
    message = user.send_message("And?")
    with pytest.raises(NatsUnavailableError):
        await deliver(worker, message)
    await deliver(worker, message, attempt=2)
    assert await types(gateway, user) == ["chat.started", *TURN, *TURN]


@pytest.mark.broker
async def test_an_invalid_message_in_the_log_stops_no_known_chat(
    gateway: JetStreamGateway,
) -> None:
    user, worker = ChatUser(), process(gateway)
    await deliver(worker, user.start_chat("Hello"))
    for text in ("One", "Two"):
        await gateway.js.publish(subjects.event(user.key, "runtime"), b"{}")
        await deliver(worker, user.send_message(text))
    await gateway.js.publish(subjects.event(user.key, "runtime"), b"{}")
    await deliver(worker, user.start_chat())  # has no effect
    await deliver(worker, user.send_message("Three"))
    assert await types(gateway, user) == ["chat.started", *TURN, *TURN, *TURN, *TURN]


# -- what is kept ---------------------------------------------------------------------------------


def chat(position: int, size: int = 1) -> FoldedChat:
    return FoldedChat(place=Place(StreamSeq(position), Head(Seq(position), "digest")), size=size)


def key(number: int) -> ChatKey:
    return ChatKey(AppId("acme"), ChatId(str(number)))


def kept(cache: ChatCache, count: int) -> list[int]:
    return [one for one in range(count) if cache.is_trusted(key(one))]


def test_the_chats_that_were_used_last_are_kept() -> None:
    cache = ChatCache()
    for number in range(chat_cache.MAX_CHATS):
        cache.put(key(number), chat(1))
    cache.get(key(0))
    for number in range(3):
        cache.put(key(chat_cache.MAX_CHATS + number), chat(1))
    assert len(cache) == chat_cache.MAX_CHATS
    assert kept(cache, 6) == [0, 4, 5]


@pytest.mark.parametrize("share", [2, 1], ids=["two fit", "one fits"])
def test_the_size_of_all_chats_is_limited(share: int) -> None:
    cache = ChatCache()
    for number in range(5):
        cache.put(key(number), chat(1, chat_cache.MAX_BYTES // share))
    assert kept(cache, 5) == list(range(5))[-share:]


def test_a_chat_that_grows_counts_once() -> None:
    cache = ChatCache()
    cache.put(key(0), chat(1, 1))
    for position in range(2, 10):
        cache.put(key(1), chat(position, chat_cache.MAX_BYTES - 1))
    assert kept(cache, 2) == [0, 1]


def test_an_older_state_does_not_replace_a_newer_one() -> None:
    cache = ChatCache()
    cache.put(key(0), chat(2))
    cache.put(key(0), chat(1))
    assert cache.get(key(0)).place.position == 2
    cache.discard(key(0))
    cache.put(key(0), chat(1))
    assert cache.get(key(0)).place.position == 1


@pytest.mark.parametrize("forget", [ChatCache.discard, None], ids=["discarded", "reconnected"])
def test_no_decision_is_tried_on_a_chat_of_another_log(
    forget: Callable[[ChatCache, ChatKey], None] | None,
) -> None:
    connections = 0
    cache = ChatCache(lambda: connections)
    cache.put(key(0), chat(1))
    assert cache.is_trusted(key(0))
    if forget is None:
        connections += 1
    else:
        forget(cache, key(0))
    assert not cache.is_trusted(key(0))


async def test_no_chat_is_kept_once_the_stream_was_created_anew() -> None:
    cache = ChatCache()
    cache.put(key(0), chat(1))
    await cache.clear()
    assert len(cache) == 0
    assert cache.get(key(0)) == FoldedChat()
