"""Exports over HTTP: whole, verified by the script alone, and never quietly incomplete."""

import asyncio
import json
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from contracts import verify_export
from contracts.events.chat import AttachmentUploaded, ChatRewound, RestoredChat
from contracts.events.human import Approval
from contracts.events.parts import TextPart
from contracts.events.turn import ToolReturned
from contracts.ids import AppId, ChatKey, Seq, new_chat_id
from contracts.subjects import attachment_key, question
from contracts.verify_export import problems_of
from mozaiks_client import Client, DamagedExportError
from mozaiks_client.export import verified
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.conftest import Open
from tests.transport.persistence import Persistence, answering
from tests.transport.story import (
    ANA,
    CALLED,
    COMPLETED,
    LOGGED,
    RESPONDED,
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    question_answered,
    question_asked,
    user_message,
)

pytestmark = pytest.mark.broker

FILE = b"# A shop for bread"
BIG = "row " * 200_000
ATTACHED = AttachmentUploaded(
    attachment_id="att_1",
    user_id=ANA,
    filename="a.md",
    size_bytes=len(FILE),
    content_type="text/plain",
    digest=sha256(FILE).hexdigest(),
)


@pytest.fixture
def app() -> AppId:
    return AppId(f"app-{new_chat_id()}")


@pytest.fixture
async def persistence(gateway: JetStreamGateway) -> AsyncIterator[Persistence]:
    async with answering(gateway) as persistence:
        yield persistence


@pytest.fixture
async def client(transport: str, app: AppId) -> AsyncIterator[Client]:
    async with Client(f"http://{transport}", app=app, user=ANA, timeout=20) as client:
        yield client


async def rich_chat(gateway: JetStreamGateway, app: AppId) -> Chat:
    """With a large value, a file, an approval, a business event, and messages of several events."""
    chat = Chat(gateway, ChatKey(app, new_chat_id()))
    asked = question(chat.key, 1, "call-1", 0)
    store = await gateway.js.object_store("attachments")
    await store.put(attachment_key(chat.key, "att_1"), FILE)
    await chat.append(STARTED, user_message("Plan it"), SELECTED)
    await chat.append(ATTACHED)
    await chat.append(CALLED)
    approval = Approval(tool="look", digest="d" * 64)
    await chat.append(question_asked(asked).model_copy(update={"approval": approval}))
    await chat.append(question_answered(asked).model_copy(update={"approved": True}))
    returned = ToolReturned(
        turn=1,
        call=0,
        agent=CALLED.agent,
        tool_call_id="call-1",
        name="look",
        status="ok",
        parts=[TextPart(text=BIG)],
    )
    await chat.append(returned)
    await chat.append(LOGGED, RESPONDED, COMPLETED)
    return chat


def unpacked(path: Path, to: Path) -> Path:
    with tarfile.open(path) as archive:
        archive.extractall(to, filter="data")
    return to


def lines_of(folder: Path, name: str) -> list[dict[str, object]]:
    (file,) = folder.glob(f"chats/*/{name}.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_an_export_of_a_chat_has_all_of_it_and_the_chain_ends_as_the_chat_says(
    client: Client, gateway: JetStreamGateway, app: AppId, transport: str, tmp_path: Path
) -> None:
    chat = await rich_chat(gateway, app)
    (exported,) = await client.export(tmp_path / "chat.tar", chat_id=chat.key.chat)
    assert (tmp_path / "chat.tar").stat().st_mode & 0o077 == 0, "it has all that was said"
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        meta = await http.get(f"/api/chats/meta/{app}/{WORKFLOW}/{chat.key.chat}")
    assert (exported.last_seq, exported.last_digest) == (
        meta.json()["last_sequence"],
        meta.json()["last_digest"],
    )
    folder = unpacked(tmp_path / "chat.tar", tmp_path / "chat")
    (events,) = folder.glob("chats/*/events.jsonl")
    stored = [one.data async for commit in gateway.events.read(chat.key) for one in commit.events]
    assert events.read_bytes() == b"".join(line + b"\n" for line in stored)
    assert [message["events"] for message in lines_of(folder, "messages")] == [
        len(commit.events) async for commit in gateway.events.read(chat.key)
    ]
    transcript = lines_of(folder, "transcript")
    assert [(one["role"], one["content"]) for one in transcript] == [
        ("user", "Plan it"),
        ("assistant", "Let me look."),
        ("tool", BIG),
        ("assistant", "A plan."),
    ]
    (approval,) = lines_of(folder, "approvals")
    assert (approval["tool"], approval["approved"], approval["user_id"]) == ("look", True, ANA)
    (file,) = folder.glob("chats/*/files/*")
    assert file.read_bytes() == FILE
    assert len(list(folder.glob("chats/*/values/*"))) >= 1


async def test_an_export_is_verified_by_its_own_script_without_the_product(
    client: Client, gateway: JetStreamGateway, app: AppId, tmp_path: Path
) -> None:
    chat = await rich_chat(gateway, app)
    await client.export(tmp_path / "chat.tar", chat_id=chat.key.chat)
    folder = unpacked(tmp_path / "chat.tar", tmp_path / "chat")
    for target in (folder, tmp_path / "chat.tar"):
        # Isolated: neither this folder nor site-packages is found.
        command = [sys.executable, "-I", "-S", str(folder / "verify.py"), str(target)]
        ran = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.splitlines()[-1] == "whole and unchanged: 1 chats"


Damage = Callable[[Path], object]


def first(folder: Path, pattern: str) -> Path:
    return next(iter(sorted(folder.glob(pattern))))


def with_manifest(folder: Path, events: bytes) -> None:
    """The events changed, and the manifest made to fit: only the chain can tell."""
    file = first(folder, "chats/*/events.jsonl")
    file.write_bytes(events)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        if line.get("path", "").endswith("/events.jsonl"):
            line |= {"sha256": sha256(events).hexdigest(), "size": len(events)}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def without_event(folder: Path) -> None:
    lines = first(folder, "chats/*/events.jsonl").read_bytes().splitlines(keepends=True)
    with_manifest(folder, b"".join(lines[:2] + lines[3:]))


def with_other_words(folder: Path) -> None:
    data = first(folder, "chats/*/events.jsonl").read_bytes()
    with_manifest(folder, data.replace(b"Plan it", b"Drop it"))


def cut_short(folder: Path) -> None:
    lines = first(folder, "chats/*/events.jsonl").read_bytes().splitlines(keepends=True)
    with_manifest(folder, b"".join(lines[:-1]))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "an event is missing": (without_event, "event 3 is missing"),
    "words are other ones": (with_other_words, "does not name the digest of event 2"),
    "the last event is missing": (cut_short, "the manifest names event"),
    "a file was changed": (
        lambda folder: first(folder, "chats/*/files/*").write_bytes(b"other"),
        "has other bytes",
    ),
    "a value is missing": (
        lambda folder: first(folder, "chats/*/values/*").unlink(),
        "which is missing",
    ),
    "a file was added": (
        lambda folder: (folder / "chats" / "more.txt").write_text("more"),
        "is not in the manifest",
    ),
    "the manifest is cut off": (
        lambda folder: (folder / "manifest.jsonl").write_text(
            "\n".join((folder / "manifest.jsonl").read_text().splitlines()[:-1]) + "\n"
        ),
        "was cut off",
    ),
    "there is no manifest": (lambda folder: (folder / "manifest.jsonl").unlink(), "is missing"),
    "the manifest is no JSON": (
        lambda folder: (folder / "manifest.jsonl").write_text("{"),
        "cannot be read",
    ),
}


async def test_whatever_is_missing_or_changed_is_found(
    client: Client, gateway: JetStreamGateway, app: AppId, tmp_path: Path
) -> None:
    chat = await rich_chat(gateway, app)
    await client.export(tmp_path / "chat.tar", chat_id=chat.key.chat)
    for number, (name, (damage, found)) in enumerate(DAMAGES.items()):
        folder = unpacked(tmp_path / "chat.tar", tmp_path / str(number))
        assert list(problems_of(folder)) == [], name
        damage(folder)
        problems = list(problems_of(folder))
        assert any(found in problem for problem in problems), (name, problems)


async def test_a_user_or_an_app_is_exported_chat_by_chat(
    client: Client,
    gateway: JetStreamGateway,
    persistence: Persistence,
    app: AppId,
    tmp_path: Path,
) -> None:
    chats = [Chat(gateway, ChatKey(app, new_chat_id())) for _ in range(3)]
    for number, chat in enumerate(chats):
        user = ANA if number else "bob"
        await chat.append(STARTED.model_copy(update={"user_id": user}), user_message("Hello"))
        await persistence.project(chat)
    every = await client.export(tmp_path / "app.tar")
    assert {one.chat_id for one in every} == {chat.key.chat for chat in chats}
    own = await client.export(tmp_path / "user.tar", user=ANA)
    assert {one.chat_id for one in own} == {chat.key.chat for chat in chats[1:]}
    assert await client.export(tmp_path / "none.tar", user="nobody") == []


async def test_an_export_that_breaks_off_is_no_whole_one(
    client: Client, gateway: JetStreamGateway, app: AppId, tmp_path: Path
) -> None:
    chat = await rich_chat(gateway, app)
    whole = tmp_path / "chat.tar"
    await client.export(whole, chat_id=chat.key.chat)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2 // 512 * 512])
    with pytest.raises((DamagedExportError, tarfile.TarError)):
        verified(cut)


async def test_an_export_needs_a_chat_and_events_that_operators_may_read(
    open_transport: Open, chat: Chat, app: AppId
) -> None:
    address = await open_transport(raw_events=False)
    await chat.append(STARTED)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as http:
        refused = await http.get(f"/api/exports/{chat.key.app}")
        assert (refused.status_code, "RAW_EVENTS" in refused.text) == (403, True)
    open_to_operators = await open_transport()
    async with httpx.AsyncClient(base_url=f"http://{open_to_operators}", timeout=20) as http:
        missing = await http.get(f"/api/exports/{app}", params={"chat_id": "none"})
        assert (missing.status_code, missing.json()) == (404, {"detail": "chat_id: no such chat"})


def test_the_script_says_how_it_is_used() -> None:
    ran = subprocess.run(
        [sys.executable, "-I", "-S", str(verify_export.__file__)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert "usage" in ran.stderr


async def test_the_transcript_of_an_export_has_nothing_that_was_rewound_and_its_events_have_it(
    client: Client, gateway: JetStreamGateway, app: AppId, tmp_path: Path
) -> None:
    chat = Chat(gateway, ChatKey(app, new_chat_id()))
    await chat.append(STARTED, user_message("Plan it"), SELECTED, RESPONDED)
    restored = RestoredChat(status="running", speaker=RESPONDED.agent, turn=1, has_title=True)
    rewound = ChatRewound(to_seq=Seq(3), kind="retry", user_id=ANA, restored=restored)
    await chat.append(rewound, RESPONDED.model_copy(update={"text": "Another plan."}))
    await client.export(tmp_path / "chat.tar", chat_id=chat.key.chat)
    folder = unpacked(tmp_path / "chat.tar", tmp_path / "chat")
    told = [one["content"] for one in lines_of(folder, "transcript")]
    assert told == ["Plan it", "Another plan."]
    assert "A plan." in str(lines_of(folder, "events"))
