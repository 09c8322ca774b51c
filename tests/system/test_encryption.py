"""With ENCRYPTION_KEYS nothing that is said is readable in the files of the servers, nor in a log.

The files are read as they are on the disk, where deleted bytes may stay: what was never stored in
plain text cannot be there.
"""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from mozaiks_client import Chat, Client
from tests.system.product import Product, running

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
]

MESSAGE = "My Marker Zwetschgenkuchen Seven"
ANSWER = "answered: Quittengelee and nothing else"
FILE = b"file content Mirabellenbrand " * 400
FILENAME = "Holunderblueten-diary.txt"
SAID = (
    MESSAGE.encode(),
    MESSAGE[::-1].encode(),  # what the tool returns
    MESSAGE.upper().encode(),  # a variable
    MESSAGE.swapcase().encode(),  # a question
    ANSWER.encode(),
    b"Mirabellenbrand",
    b"Holunderblueten",
    base64.b64encode(MESSAGE.encode()).rstrip(b"=")[:-1],
)
TOOLS = """
async def keep(note, runtime, context_variables):
    answer = await runtime.ask("Really " + note.swapcase() + "?")
    context_variables["kept"] = note.upper()
    await runtime.emit_business_event("KEPT", note[::-1] + " " + answer, note=note)
    return (note[::-1] + " ") * 30_000
"""


def write_workflow(root: Path) -> None:
    home = root / "Diary"
    home.mkdir(parents=True)
    (home / "diary.py").write_text(TOOLS)
    say = "I keep “{user}”."
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Diary", "initial_agent": "Keeper"},
        "agents": {"agents": [{"name": "Keeper"}]},
        "tools": {"tools": [{"agent": "Keeper", "file": "diary.py", "function": "keep"}]},
        "context_variables": {
            "definitions": [{"name": "kept", "source": {"type": "state", "default": ""}}]
        },
        "handoffs": {"handoff_rules": [{"source_agent": "Keeper", "target_agent": "terminate"}]},
        "demo": {
            "agents": {
                "Keeper": {
                    "lines": [
                        {"say": say, "calls": [{"tool": "keep", "arguments": {"note": "{user}"}}]},
                        {"say": "It is kept."},
                    ]
                }
            }
        },
    }
    for name, section in sections.items():
        (home / f"{name}.json").write_text(json.dumps(section))


def places(folder: Path, texts: tuple[bytes, ...]) -> list[str]:
    """The files that have one of the texts."""
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # a server has removed it
            continue
        found += [f"{path.name}: {text!r}" for text in texts if text in data]
    return found


async def play(chat: Chat) -> str:
    """To the end of the chat; the id of the file that was attached."""
    attached = ""
    async for frame in chat.stream():
        if frame.type == "chat.input_request" and not attached:
            attached = await chat.upload(FILENAME, FILE)
            await chat.answer(frame.data.model_dump()["request_id"], ANSWER)
    return attached


async def transcript_of(http: httpx.AsyncClient, chat: Chat) -> str:
    while True:
        answer = await http.get(f"/api/chats/acme/{chat.id}/messages", params={"user_id": "ana"})
        if "It is kept." in answer.text:
            return answer.text
        await asyncio.sleep(0.1)


async def erased(http: httpx.AsyncClient) -> dict[str, Any]:
    assert (await http.delete("/api/erasures/acme", params={"user_id": "ana"})).status_code == 202
    while True:
        answer = await http.get("/api/erasures/acme", params={"user_id": "ana"})
        state: dict[str, Any] = answer.json()
        if state["state"] != "requested":
            return state
        await asyncio.sleep(0.1)


async def test_what_is_said_is_in_no_file_of_the_servers_before_and_after_it_is_erased(
    tmp_path: Path,
) -> None:
    workflows, keys = tmp_path / "workflows", tmp_path / "keys"
    await asyncio.to_thread(write_workflow, workflows)
    keys.write_text(f"k1 {base64.b64encode(bytes(range(32))).decode()}\n")
    folder = tmp_path / "product"
    folder.mkdir()
    given = {"ENCRYPTION_KEYS": f"file:{keys}", "WORKFLOWS_PATH": str(workflows)}
    product: Product
    with running(folder, **given) as product:
        async with (
            asyncio.timeout(150),
            Client(product.address, app="acme", user="ana") as client,
            httpx.AsyncClient(base_url=product.address, timeout=20) as http,
        ):
            chat = await client.start("Diary", MESSAGE)
            attached = await play(chat)

            # Who may read it reads it as ever.
            assert await chat.download(attached) == FILE
            text = await transcript_of(http, chat)
            assert all(one in text for one in (MESSAGE, MESSAGE[::-1]))
            listed = [one async for one in client.chats("zwetschgenkuchen")]
            assert [one.title for one in listed] == [MESSAGE]
            assert await asyncio.to_thread(places, folder, SAID) == []
            assert await asyncio.to_thread(places, folder, (b"Diary", b"turn.tool_returned"))

            state = await erased(http)
            assert (state["state"], state["erased"]["chats"]) == ("done", 1)
            gone = await http.get(f"/api/chats/acme/{chat.id}/messages", params={"user_id": "ana"})
            assert gone.status_code == 404
            assert [one async for one in client.chats()] == []
            stats = (await http.get("/api/workflows/acme/Diary/stats")).json()
            assert (stats["chats_by_status"]["completed"], stats["tool_calls"]) == (1, 1)
    assert await asyncio.to_thread(places, folder, SAID) == []
