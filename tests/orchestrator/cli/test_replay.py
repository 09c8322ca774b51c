"""`mozaiks replay`: of a file, and of a chat in NATS; its exit code says whether an event differs."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from contracts.ids import new_chat_id
from infra.servers import NatsServer
from services.orchestrator.cli.__main__ import app
from tests.gateway import connected_gateway
from tests.golden_logs import chats
from tests.golden_logs.golden import EVENTS, golden_logs
from tests.orchestrator.chat_harness import SHIPPED

HELLO = next(log for log in golden_logs() if log.name == "hello")


def mozaiks(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder of workflows in which the agents have other prompts."""
    folder = tmp_path / "workflows"
    shutil.copytree(HELLO.workflows / "HelloWorld", folder / "HelloWorld")
    (agents,) = (folder / "HelloWorld").glob("agents.*")
    agents.write_text(agents.read_text().replace("You ", "Be aware that you ", 1))
    return folder


def test_a_file_is_replayed_on_a_folder_of_workflows(other: Path) -> None:
    file = str(HELLO.folder / EVENTS)
    same = mozaiks("replay", file, "--workflows", str(HELLO.workflows))
    assert (same.exit_code, "nothing differs in" in same.output) == (0, True), same.output
    differs = mozaiks("replay", file, "--workflows", str(other), "--json")
    assert differs.exit_code == 1
    divergence = json.loads(differs.stdout)["divergence"]
    assert divergence["fields"][0]["part"] == "system message"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--workflow-version", "newest", "--workflows", "."], "--workflows: not with"),
        (["--workflows", "nowhere"], "--workflows: nowhere is no folder"),
        (["--workflow-version", "abc"], "--workflow-version: a file has no stored versions"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(arguments: list[str], why: str) -> None:
    found = mozaiks("replay", str(HELLO.folder / EVENTS), *arguments)
    assert found.exit_code == 2
    assert why in found.output


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chat.jsonl").write_text("{}")
    found = mozaiks("replay", str(tmp_path / "chat.jsonl"))
    assert (found.exit_code, "line 1" in found.output) == (2, True)


def test_a_workflow_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = mozaiks("replay", str(HELLO.folder / EVENTS), "--workflows", str(tmp_path))
    assert (found.exit_code, "no workflow HelloWorld" in found.output) == (1, True)


@pytest.mark.broker
def test_a_chat_of_an_installation_is_replayed_on_its_own_and_on_another_version(
    nats: NatsServer, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write() -> str:
        async with connected_gateway(nats.url) as gateway:
            key = await chats.play("hello", gateway, new_chat_id())
            return key.chat

    chat = asyncio.run(write())
    monkeypatch.setenv("NATS_URL", nats.url)
    monkeypatch.setenv("WORKFLOWS_PATH", str(SHIPPED))
    own = mozaiks("replay", chat, "--app", "golden")
    assert (own.exit_code, "nothing differs" in own.output) == (0, True), own.output
    newest = mozaiks("replay", chat, "--app", "golden", "--workflow-version", "newest")
    assert newest.exit_code == 0, newest.output
    differs = mozaiks("replay", chat, "--app", "golden", "--workflows", str(other))
    assert (differs.exit_code, "system message" in differs.output) == (1, True), differs.output
    gone = mozaiks("replay", chat, "--app", "golden", "--workflow-version", "0" * 64)
    assert (gone.exit_code, "is neither in WORKFLOWS_PATH nor in NATS" in gone.output) == (1, True)
    nobody = mozaiks("replay", "nobody", "--app", "golden")
    assert (nobody.exit_code, "there is no chat nobody" in nobody.output) == (1, True)
