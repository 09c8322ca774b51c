"""A long chat is resumed from a snapshot and the events after it, as from all its events."""

import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from benchmarks import chats
from benchmarks.snapshot_resume import _grouped as grouped
from benchmarks.snapshot_resume import _story as story
from contracts import encryption, subjects
from contracts.commands import RewindChat
from contracts.event_log import Decision
from contracts.events.chat import ChatRewound
from contracts.ids import ChatKey, CommandId, new_command_id
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.domain.bounded_state import bounded
from services.orchestrator.domain.rewind_decisions import _restored
from services.orchestrator.domain.state_codec import NoStateError
from services.orchestrator.runtime import chat_snapshots
from services.orchestrator.runtime.chat_cache import FoldedChat
from services.orchestrator.runtime.chat_log import ChatLog
from services.orchestrator.runtime.chat_snapshots import ChatSnapshots, opened, sealed
from services.orchestrator.runtime.runner import Runner
from tests.contracts.test_encryption import ReversedText
from tests.golden_logs.chats import MAX_CALLS
from tests.orchestrator.chat_harness import (
    ChatUser,
    FixedWorkflows,
    deliver,
    history,
    shipped_catalogue,
)
from tests.story import NOON

pytestmark = pytest.mark.broker

LENGTH = 1_300


@pytest.fixture
def snapshots(gateway: JetStreamGateway) -> ChatSnapshots:
    return ChatSnapshots(gateway)


def log_of(
    gateway: JetStreamGateway, key: ChatKey, snapshots: ChatSnapshots | None = None
) -> ChatLog:
    command = CommandId("resume")
    return ChatLog(gateway, key, chats.DELIVERY, command, chats.clock, snapshots=snapshots)


def decisions_of(key: ChatKey, length: int = LENGTH) -> list[Decision]:
    return chats.sealed(key, grouped(story(length)))


async def stored(
    gateway: JetStreamGateway, snapshots: ChatSnapshots, decisions: Sequence[Decision], kept: int
) -> ChatKey:
    """A chat with these decisions, and the snapshot that was written after the first of them."""
    key = decisions[0].key
    after = await chats.store(gateway, decisions[:kept])
    log = log_of(gateway, key)
    await log.refresh()
    await snapshots.keep(key, log.folded)
    await chats.store(gateway, decisions[kept:], after=after)
    return key


async def resumed(gateway: JetStreamGateway, key: ChatKey, snapshots: ChatSnapshots) -> ChatLog:
    log = log_of(gateway, key, snapshots)
    await log.refresh()
    return log


async def assert_whole(gateway: JetStreamGateway, key: ChatKey, log: ChatLog) -> None:
    """The log was read from its first event."""
    whole = log_of(gateway, key)
    await whole.refresh()
    assert log.folded.is_whole
    assert log.state == whole.state


async def stored_snapshot(gateway: JetStreamGateway, key: ChatKey) -> bytes:
    bucket = await gateway.key_values.bucket(subjects.SNAPSHOTS)
    return (await bucket.get(subjects.chat_tokens(key))).value or b""


async def put(gateway: JetStreamGateway, key: ChatKey, data: bytes) -> None:
    bucket = await gateway.key_values.bucket(subjects.SNAPSHOTS)
    await bucket.put(subjects.chat_tokens(key), data)


def changed(data: bytes, **fields: Any) -> bytes:
    return zlib.compress(to_json({**from_json(zlib.decompress(data)), **fields}))


async def test_a_long_chat_is_resumed_from_its_snapshot_and_the_events_after_it(
    gateway: JetStreamGateway, snapshots: ChatSnapshots
) -> None:
    key = await stored(gateway, snapshots, decisions_of(chats.new_chat()), kept=10)
    log, whole = await resumed(gateway, key, snapshots), log_of(gateway, key)
    await whole.refresh()
    assert not log.folded.is_whole
    assert len(log.state.conversation) < len(whole.state.conversation)
    assert bounded(log.state) == bounded(whole.state)
    assert log.folded.place == whole.folded.place


async def test_a_short_chat_has_no_snapshot(
    gateway: JetStreamGateway, snapshots: ChatSnapshots
) -> None:
    key = await stored(gateway, snapshots, decisions_of(chats.new_chat(), 300), kept=3)
    await assert_whole(gateway, key, await resumed(gateway, key, snapshots))


UNUSABLE: dict[str, dict[str, Any]] = {
    "of other code": {"code": "0" * 64},
    "of a newer format": {"format": 2},
    "of another chat": {"chat": "another"},
    "of another event": {"seq": 7},
    "no state": {"state": {"t": []}},
    "a class that no state has": {"state": {"c": "Path", "f": {}}},
    "no position": {"position": "1"},
    "of another log": {"digest": "x" * 43},
}


async def test_a_snapshot_that_cannot_be_used_is_ignored(
    gateway: JetStreamGateway, snapshots: ChatSnapshots
) -> None:
    key = await stored(gateway, snapshots, decisions_of(chats.new_chat(), 600), kept=5)
    data = await stored_snapshot(gateway, key)
    bombs = (b"", b"{", zlib.compress(b"[]"), zlib.compress(b"x" * 9_000_000))
    for bad in (*bombs, *(changed(data, **fields) for fields in UNUSABLE.values())):
        await put(gateway, key, bad)
        await assert_whole(gateway, key, await resumed(gateway, key, snapshots))


async def test_a_snapshot_of_an_encrypted_chat_is_encrypted_and_gone_with_its_key(
    gateway: JetStreamGateway, snapshots: ChatSnapshots
) -> None:
    ciphers = ReversedText()
    encryption.use(ciphers)
    try:
        key = await stored(gateway, snapshots, decisions_of(chats.new_chat(), 600), kept=6)
        assert (await stored_snapshot(gateway, key)).startswith(encryption.MARK.encode())
        assert await snapshots.read(key) is not None
        ciphers.has_key = False
        assert await snapshots.read(key) is None
    finally:
        encryption.use(None)


async def test_a_snapshot_that_is_too_large_is_not_written(
    gateway: JetStreamGateway, snapshots: ChatSnapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_snapshots, "MAX_BYTES", 1_000)
    key = await stored(gateway, snapshots, decisions_of(chats.new_chat(), 700), kept=6)
    assert await snapshots.read(key) is None


async def test_a_chat_whose_log_goes_back_behind_the_snapshot_is_read_whole(
    gateway: JetStreamGateway, snapshots: ChatSnapshots
) -> None:
    decisions = decisions_of(chats.new_chat(), 701)
    key = await stored(gateway, snapshots, decisions, kept=len(decisions))
    whole = log_of(gateway, key)
    await whole.refresh()
    point = whole.state.points[0]
    rewound = ChatRewound.model_construct(
        to_seq=point.seq,
        kind="rewind",
        user_id=chats.PERSON,
        restored=_restored(point.state, whole.state),
    )
    (decision,) = chats.sealed(key, [[rewound]], decisions[-1].head)
    await chats.store(gateway, [decision], after=whole.folded.place.position)
    await assert_whole(gateway, key, await resumed(gateway, key, snapshots))


async def test_a_runner_writes_snapshots_of_quiet_chats_and_rewinds_behind_them(
    gateway: JetStreamGateway, snapshots: ChatSnapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_snapshots, "EVERY_EVENTS", 10)
    monkeypatch.setattr("services.orchestrator.runtime.chat_log.EVERY_EVENTS", 10)
    catalogue = shipped_catalogue()
    workflows = FixedWorkflows(catalogue.workflows, AgentExecutor(catalogue, MAX_CALLS))

    def process() -> Runner:
        return Runner(gateway, workflows, lambda: NOON, "process", snapshots=snapshots)

    user = ChatUser(workflow=next(name for name in catalogue.workflows if name == "HelloWorld"))
    await deliver(process(), user.start_chat("one"))
    for text in ("two", "three"):
        await deliver(process(), user.send_message(text))
    kept = await snapshots.read(user.key)
    assert kept is not None
    facts = await history(gateway, user.key)
    assert 10 <= kept.state.seq <= facts[-1].envelope.seq
    whole = log_of(gateway, user.key)
    await whole.refresh()
    first = next(one for one in whole.state.points if one.state.waits_for_user)
    assert first.seq < kept.state.seq
    fields = user._command_fields()
    await deliver(
        process(),
        RewindChat(
            **{**fields, "command_id": new_command_id()},
            to_seq=first.seq,
            seen_seq=whole.state.seq,
        ),
    )
    after = await history(gateway, user.key)
    assert isinstance(after[-1].event, ChatRewound)
    await deliver(process(), user.send_message("again"))
    assert (await history(gateway, user.key))[-1].event.type == "turn.speaker_selected"


def test_a_snapshot_is_of_one_chat() -> None:
    key = chats.new_chat()
    chat = FoldedChat()
    assert opened(sealed(key, chat), key) is not None
    with pytest.raises(NoStateError, match="not those of the key"):
        opened(sealed(key, chat), chats.new_chat())
