"""The data keys of chats on a real server: made once, wrapped, found by others, and destroyed."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path

import nats as nats_client
import pytest
from nats.aio.client import Client

from contracts import encryption, subjects
from contracts.encryption import KeyNotLoadedError
from contracts.ids import AppId, ChatId, ChatKey, new_chat_id
from contracts.sealed_files import PART_BYTES, CutFileError, SealedFile, opened_file
from infra.servers import NatsServer
from services.chassis.jetstream.key_providers import KeysError, provider_of
from services.chassis.jetstream.key_ring import KeyRing
from services.chassis.streams.ensure import ensure_streams

MASTER = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()


@pytest.fixture
async def nc(nats: NatsServer) -> AsyncIterator[Client]:
    found = await nats_client.connect(nats.url)
    await ensure_streams(found, replicas=1)
    yield found
    await found.close()


def ring(nc: Client, text: str = f"k1 {MASTER}", most: int = 100) -> KeyRing:
    return KeyRing(nc, provider_of("env:KEYS", {"KEYS": text}), most)


def chat() -> ChatKey:
    return ChatKey(AppId("acme corp"), new_chat_id())


@pytest.mark.broker
async def test_whoever_comes_first_makes_the_key_and_all_others_have_the_same(nc: Client) -> None:
    key, rings = chat(), [ring(nc) for _ in range(8)]
    await asyncio.gather(*(one.ensure(key) for one in rings))
    sealed = rings[0].seal(key, "here", b"words")
    assert [one.open(key, "here", sealed) for one in rings] == [b"words"] * 8
    assert rings[0].seal(key, "here", b"words") != sealed  # a nonce is never used twice


@pytest.mark.broker
async def test_neither_key_nor_master_key_is_in_the_bucket(nc: Client) -> None:
    key = chat()
    await ring(nc).ensure(key)
    bucket = await nc.jetstream().key_value(subjects.CHAT_KEYS)
    stored = (await bucket.get(subjects.key_of_scope(key))).value or b""
    assert stored.startswith(b"k1:")
    with pytest.raises(KeysError, match="k1 is another one"):
        await ring(nc, f"k1 {OTHER}").load(key)
    with pytest.raises(KeysError):  # a key is wrapped for its own chat
        await provider_of("env:K", {"K": f"k1 {MASTER}"}).unwrap(key.app, b"elsewhere", stored)


@pytest.mark.broker
async def test_a_destroyed_key_opens_nothing_and_another_chat_goes_on(nc: Client) -> None:
    first, second, own = chat(), chat(), ring(nc)
    for key in (first, second):
        await own.ensure(key)
    sealed = {key: own.seal(key, "here", b"words") for key in (first, second)}
    await own.destroy(first)
    for reader in (own, ring(nc)):
        await reader.load(first)
        await reader.load(second)
        assert reader.open(first, "here", sealed[first]) is None
        assert reader.open(second, "here", sealed[second]) == b"words"
    await own.ensure(first)  # another key, should somebody write to the chat
    assert own.open(first, "here", sealed[first]) is None


@pytest.mark.broker
async def test_keys_are_replaced_by_a_new_first_line(nc: Client) -> None:
    old, new = chat(), chat()
    before = ring(nc)
    await before.ensure(old)
    sealed = before.seal(old, "here", b"words")
    after = ring(nc, f"# new\nk2 {OTHER}\nk1 {MASTER}\n")
    await after.load(old)
    await after.ensure(new)
    assert after.open(old, "here", sealed) == b"words"
    bucket = await nc.jetstream().key_value(subjects.CHAT_KEYS)
    assert ((await bucket.get(subjects.key_of_scope(new))).value or b"").startswith(b"k2:")


@pytest.mark.broker
async def test_what_is_sealed_is_bound_to_its_chat_and_place(nc: Client) -> None:
    key, own = chat(), ring(nc, most=1)
    await own.ensure(key)
    sealed = own.seal(key, "4 human.answered", b"words")
    with pytest.raises(ValueError, match="of another place"):
        own.open(key, "5 human.answered", sealed)
    await own.ensure(chat())  # the least recently used is closed
    assert own.open(key, "4 human.answered", sealed) is None
    with pytest.raises(KeyNotLoadedError):
        own.seal(key, "x", b"")


@pytest.mark.broker
async def test_a_file_is_sealed_in_parts_none_of_which_can_be_left_out(nc: Client) -> None:
    key, own = chat(), ring(nc)
    await own.ensure(key)
    encryption.use(own)
    try:
        whole = bytes(range(256)) * (PART_BYTES // 100)
        stored = io.BufferedReader(SealedFile(io.BytesIO(whole), key, "f")).read()
        assert whole[:64] not in stored
        assert await opened(stored, key) == whole
        assert await opened(b"kept before", key) == b"kept before"
        lines = stored.split(b"\n")
        for wrong in (lines[:-2], lines[1:], [*lines[:1], *lines[2:]]):
            with pytest.raises(ValueError, match=r"of another place"):
                await opened(b"\n".join([*wrong, b""]), key)
        await own.destroy(key)
        with pytest.raises(CutFileError):
            await opened(stored, key)
    finally:
        encryption.use(None)


async def opened(stored: bytes, key: ChatKey) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(stored), 1000):
            yield stored[start : start + 1000]

    return b"".join([part async for part in opened_file(chunks(), key, "f")])


@pytest.mark.parametrize(
    ("setting", "text", "problem"),
    [
        ("vault:x", "", "expected file:/path or env:NAME"),
        ("env:K", "", "no key in env:K"),
        ("env:K", "k1 short", "line 1 of env:K: expected a name"),
        ("env:K", f"k-1 {MASTER}", "line 1"),
        ("file:/nowhere/keys", "", "cannot read /nowhere/keys"),
    ],
)
def test_a_setting_that_names_no_keys_is_refused_without_showing_them(
    setting: str, text: str, problem: str
) -> None:
    with pytest.raises(KeysError, match=problem) as refused:
        provider_of(setting, {"K": text})
    assert MASTER not in str(refused.value)


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"k1 {MASTER}\n")
    assert provider_of(f"file:{file}", {}) is not None
    assert ChatId("") == encryption.app_scope(AppId("acme")).chat
