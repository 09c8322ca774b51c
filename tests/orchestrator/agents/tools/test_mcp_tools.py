"""Tools of MCP servers: real processes over stdio and HTTP, and what the model gets when they fail."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ag2.testing import Turn
from ag2.tools import MCPStdioServerConfig

from contracts.events.human import HumanAsked
from contracts.events.parts import text_of
from contracts.events.turn import ToolDispatched, ToolReturned
from infra.ports import free_port
from services.orchestrator.agents.ag2.codec import MAX_RESULT_CHARS
from services.orchestrator.agents.tools import mcp_config
from services.orchestrator.agents.tools.limits import CallLimiter
from services.orchestrator.agents.tools.mcp_config import McpServerError
from services.orchestrator.agents.tools.mcp_tools import ServerToolkit, with_usable_names
from services.orchestrator.domain.turn_steps import Completed, Suspended
from services.orchestrator.workflows.effect_policy import DeclaredEffect
from services.orchestrator.workflows.spec import Limits, McpServer
from tests.orchestrator.agents.turn_harness import (
    MemoryJournal,
    TurnHarness,
    model_response,
    request_digests,
    tool_call,
    tool_result,
)
from tests.story import KEY

HERE = Path(__file__).parents[1]
TIME = McpServer("time", HERE, command="python", args=("-m", "mcp_server_time"))


def misbehaving_server(*tools: str, **options: Any) -> McpServer:
    args = (str(HERE / "misbehaving_mcp_server.py"), ",".join(tools))
    return McpServer("odd", HERE, command="python", args=args, **options)


def toolkit(
    server: McpServer, taken: Sequence[str] = (), environment: dict[str, str] | None = None
) -> ServerToolkit:
    return ServerToolkit(server, environment or {}, CallLimiter(server.limits), taken)


async def run_calls(kit: ServerToolkit, *calls: Any, tools: Sequence[Any] = ()) -> MemoryJournal:
    journal = MemoryJournal()
    harness = TurnHarness([model_response(None, *calls), "Done."], [*tools, kit])
    async with asyncio.timeout(50):
        assert await harness.run(journal) == Completed("Done.", None)
    return journal


def result_text(journal: MemoryJournal, call_id: str = "c1") -> str:
    return text_of(tool_result(journal, call_id).parts)


async def test_tools_of_an_mcp_server_are_called_and_recorded() -> None:
    zone = tool_call("get_current_time", "c1", '{"timezone": "Europe/Vienna"}')
    journal = await run_calls(toolkit(TIME), zone)
    assert json.loads(result_text(journal))["timezone"] == "Europe/Vienna"
    assert tool_result(journal, "c1").status == "ok"


async def test_a_finished_call_is_answered_from_the_log() -> None:
    calls = (tool_call("look", "c1"), tool_call("look", "c2", '{"where": "there"}'))
    lines: list[Turn] = [model_response(None, *calls), "Done."]
    uninterrupted = MemoryJournal()
    await TurnHarness(lines, [toolkit(misbehaving_server("look"))]).run(uninterrupted)
    recorded = [event for batch in uninterrupted.batches[:-1] for event in batch]
    again = MemoryJournal(MemoryJournal().story.then(*recorded))
    broken = replace(
        misbehaving_server("look"), args=("absent.py",)
    )  # what is asked of it would fail
    harness = TurnHarness(lines, [toolkit(broken)])
    assert await harness.run(again) == Completed("Done.", None)
    assert again.of(ToolReturned) == []
    assert harness.sent_digests == request_digests(uninterrupted)[1:]


async def test_the_model_gets_a_servers_error_without_paths() -> None:
    journal = await run_calls(toolkit(misbehaving_server("fail")), tool_call("fail", "c1"))
    failed = tool_result(journal, "c1")
    assert failed.status == "error"
    assert failed.error == (
        "McpServerError: MCP server odd: Error executing tool fail: no luck in place.db"
    )


async def test_a_server_that_hangs_or_exits_is_an_error_and_a_huge_result_is_truncated() -> None:
    repeatable = DeclaredEffect(effect="idempotent")
    hanging = toolkit(
        misbehaving_server("hang", limits=Limits(timeout_seconds=4), declared_effect=repeatable)
    )
    other = toolkit(misbehaving_server("die", "flood", declared_effect=repeatable))
    calls = (tool_call("hang", "c1"), tool_call("die", "c2"), tool_call("flood", "c3"))
    journal = await run_calls(other, *calls, tools=[hanging])
    assert result_text(journal, "c1") == "ToolTimeLimitError: took longer than 4 s"
    assert result_text(journal, "c2").startswith("McpServerError: MCP server odd: ")
    assert MAX_RESULT_CHARS < len(result_text(journal, "c3")) < MAX_RESULT_CHARS + 100


async def test_a_failed_call_is_retried_as_often_as_the_manifest_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.orchestrator.agents.tools.limits.FIRST_BACKOFF_SECONDS", 0)
    arguments = json.dumps({"marker": str(tmp_path / "tried")})
    kit = toolkit(misbehaving_server("unsteady", limits=Limits(retries=1)))
    assert result_text(await run_calls(kit, tool_call("unsteady", "c1", arguments))) == "better"


async def test_a_name_that_another_tool_has_gets_the_servers_prefix() -> None:
    async def look() -> str:
        return "the tool looked"

    kit = toolkit(misbehaving_server("look", "secret", "bad.name"), taken=["look"])
    journal = await run_calls(
        kit,
        tool_call("look", "c1"),
        tool_call("odd_look", "c2"),
        tool_call("odd_secret", "c3"),
        tools=[look],
    )
    texts = [result_text(journal, f"c{number}") for number in (1, 2, 3)]
    assert texts == ["the tool looked", "the server saw here", "nothing"]
    assert sorted(one.name for one in kit.tools) == ["odd_look", "odd_secret"]


async def test_a_secret_is_read_from_the_environment() -> None:
    server = misbehaving_server("secret", secrets=(("TOKEN", "ODD_TOKEN"),))
    kit = toolkit(server, environment={"ODD_TOKEN": "hush"})
    assert result_text(await run_calls(kit, tool_call("secret", "c1"))) == "hush"


SILENT: dict[str, tuple[McpServer, str]] = {
    "no program": (
        McpServer("gone", HERE, command="no-such-program"),
        "there is no program no-such-program",
    ),
    "no module": (
        McpServer("gone", HERE, command="python", args=("-m", "no_such_module")),
        "there is no Python module no_such_module: install its package",
    ),
    "no secret": (
        McpServer("gone", HERE, command="python", secrets=(("TOKEN", "ODD_TOKEN"),)),
        "the environment variable ODD_TOKEN is not set",
    ),
    "no answer": (
        McpServer("gone", HERE, command="sleep", args=("60",), limits=Limits(timeout_seconds=0.5)),
        "it did not answer within 0.5 s",
    ),
    "no address": (McpServer("gone", HERE, url="http://127.0.0.1:9/mcp"), "ConnectError: "),
    "no protocol": (McpServer("gone", HERE, command="cat"), "MCPError: "),
}


@pytest.mark.parametrize(("server", "why"), SILENT.values(), ids=SILENT)
async def test_the_model_learns_why_a_server_cannot_be_used_and_the_turn_continues(
    server: McpServer, why: str
) -> None:
    allowed = replace(server, allowed_tools=("look",))
    journal = await run_calls(toolkit(allowed), tool_call("look", "c1", '{"where": "there"}'))
    assert result_text(journal).startswith(f"McpServerError: MCP server gone: {why}")
    assert tool_result(journal, "c1").status == "error"


async def test_a_server_that_is_available_again_is_used_in_the_next_turn(tmp_path: Path) -> None:
    script = tmp_path / "late.py"
    server = replace(
        misbehaving_server("look"), args=(str(script), "look"), allowed_tools=("look",)
    )
    kit = toolkit(server)
    assert result_text(await run_calls(kit, tool_call("look", "c1"))).startswith(
        "McpServerError: MCP server odd: "
    )
    script.write_text((HERE / "misbehaving_mcp_server.py").read_text())
    assert result_text(await run_calls(kit, tool_call("look", "c1"))) == "the server saw here"


async def test_a_server_is_not_started_before_the_agents_first_turn(tmp_path: Path) -> None:
    script = tmp_path / "mark.py"
    script.write_text("import pathlib\npathlib.Path('begun').write_text('')\n")
    server = McpServer("mark", tmp_path, command="python", args=(str(script),))
    kit = toolkit(server)
    assert not (tmp_path / "begun").exists()
    await run_calls(kit, tool_call("mark", "c1"))
    assert (tmp_path / "begun").exists()


@asynccontextmanager
async def over_http() -> AsyncIterator[McpServer]:
    """A server that starts, over HTTP."""
    port = free_port()
    command = (sys.executable, "-m", "tests.orchestrator.agents.http_mcp_server", str(port))
    serving = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[4])
    try:
        yield McpServer("odd", HERE, url=f"http://127.0.0.1:{port}/mcp")
    finally:
        serving.terminate()
        await serving.wait()


async def test_a_server_with_a_url_is_called() -> None:
    async with over_http() as server:
        kit = toolkit(server)
        async with asyncio.timeout(100):
            while (
                result_text(journal := await run_calls(kit, tool_call("look", "c1")))
                != "the server saw here"
            ):
                assert tool_result(journal, "c1").status in (
                    "error",
                    "not_found",
                )  # it still starts


def noted_keys(marker: Path) -> list[list[str | None]]:
    return [json.loads(line) for line in marker.read_text().splitlines()]


async def test_a_call_carries_its_key_in_the_request_and_over_http_in_a_header(
    tmp_path: Path,
) -> None:
    key = f"{KEY.app}:{KEY.chat}:1:c1"
    arguments = json.dumps({"marker": str(tmp_path / "stdio"), "what": "return"})
    await run_calls(toolkit(misbehaving_server("charge")), tool_call("charge", "c1", arguments))
    assert noted_keys(tmp_path / "stdio") == [[key, None]]
    async with over_http() as server:
        kit = toolkit(server)
        arguments = json.dumps({"marker": str(tmp_path / "http")})
        async with asyncio.timeout(100):
            while (
                result_text(await run_calls(kit, tool_call("charge", "c1", arguments))) != "charged"
            ):
                pass  # it still starts
    assert noted_keys(tmp_path / "http")[-1] == [key, key]


async def first_run(kit: ServerToolkit, tool: str, marker: Path) -> tuple[Any, MemoryJournal]:
    """A turn whose call of a tool ends the server's process."""
    arguments = json.dumps({"marker": str(marker), "what": "die"})
    journal = MemoryJournal()
    harness = TurnHarness([model_response(None, tool_call(tool, "c1", arguments)), "Done."], [kit])
    async with asyncio.timeout(50):
        return await harness.run(journal), journal


async def test_a_server_that_ends_during_an_unmarked_call_leaves_a_question(tmp_path: Path) -> None:
    outcome, journal = await first_run(
        toolkit(misbehaving_server("charge")), "charge", tmp_path / "keys"
    )
    assert outcome == Suspended()
    (asked,) = journal.of(HumanAsked)
    assert asked.doubt is not None
    assert asked.prompt.startswith("It is not known whether charge took effect")
    assert len(noted_keys(tmp_path / "keys")) == 1


@pytest.mark.parametrize(
    ("tool", "options"),
    [
        ("find", {}),
        ("charge", {"declared_effect": DeclaredEffect(effect="idempotent")}),
        ("charge", {"tool_effects": (("charge", "read"),)}),
    ],
)
async def test_what_may_be_repeated_is_an_error_for_the_model(
    tmp_path: Path, tool: str, options: dict[str, Any]
) -> None:
    kit = toolkit(misbehaving_server(tool, **options))
    outcome, journal = await first_run(kit, tool, tmp_path / "keys")
    assert outcome == Completed("Done.", None)
    assert result_text(journal).startswith("McpServerError: MCP server odd: ")


async def test_a_hint_does_not_change_what_the_manifest_calls_once(tmp_path: Path) -> None:
    server = misbehaving_server("find", declared_effect=DeclaredEffect(effect="once"))
    outcome, journal = await first_run(toolkit(server), "find", tmp_path / "keys")
    assert outcome == Suspended()
    assert [one.effect for one in journal.of(ToolDispatched)] == ["once"]


async def test_the_check_of_a_server_is_asked_before_the_user(tmp_path: Path) -> None:
    asked: list[tuple[str, str, Any]] = []

    def check(key: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append((key, tool, arguments["what"]))
        return {"status": "done", "result": "charged before"}

    server = misbehaving_server("charge")
    kit = ServerToolkit(server, {}, CallLimiter(server.limits), (), check=check)
    outcome, journal = await first_run(kit, "charge", tmp_path / "keys")
    assert outcome == Completed("Done.", None)
    assert asked == [(f"{KEY.app}:{KEY.chat}:1:c1", "charge", "die")]
    assert tool_result(journal, "c1").resolved_by == "check"
    assert result_text(journal) == "charged before"


async def test_a_server_that_cannot_be_started_leaves_no_doubt() -> None:
    kit = toolkit(misbehaving_server("look"))
    await run_calls(kit, tool_call("look", "c1"))
    kit._server = replace(kit._server, command="no-such-program")
    for one in kit.tools:
        config: Any = replace(getattr(one, "_config"), command="no-such-program")  # noqa: B009
        setattr(one, "_config", config)  # noqa: B010
    journal = await run_calls(kit, tool_call("look", "c1"))
    assert tool_result(journal, "c1").status == "error"


KEEP_ONE = """
import asyncio, sys
from pathlib import Path
from ag2 import MemoryStream
from ag2.context import ConversationContext
from ag2.events import ToolCallEvent
from services.orchestrator.agents.tools.limits import CallLimiter
from services.orchestrator.agents.tools.mcp_tools import ServerToolkit
from services.orchestrator.workflows.effect_policy import DeclaredEffect
from services.orchestrator.workflows.spec import McpServer

async def main():
    server = McpServer("deaf", Path.cwd(), command="python", args=("-c", sys.argv[1]))
    kit = ServerToolkit(server, {}, CallLimiter(server.limits), ())
    await kit.schemas(ConversationContext(stream=MemoryStream()))

asyncio.run(main())
"""
DEAF = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), file=sys.stderr, flush=True)
while True: time.sleep(1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux sees to it")
async def test_a_server_that_ignores_signals_ends_with_a_killed_orchestrator() -> None:
    ours = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KEEP_ONE, DEAF),
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    )
    assert ours.stderr is not None
    async with asyncio.timeout(100):
        server = int(await ours.stderr.readline())
        os.kill(server, 0)
        ours.send_signal(signal.SIGKILL)
        await ours.wait()
        while _runs(server):  # noqa: ASYNC110  the kernel says when, and not to us
            await asyncio.sleep(0.02)


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# -- what is decided ------------------------------------------------------------------------------

CONFIG = MCPStdioServerConfig(command="x", blocked_tools=["old"])


def test_usable_names_are_left_unchanged() -> None:
    assert with_usable_names(CONFIG, "s", ["look", "see"], {"other"}) is None


def test_a_taken_name_is_avoided_by_a_prefix() -> None:
    better = with_usable_names(CONFIG, "s", ["look", "see"], {"look"})
    assert better == replace(CONFIG, tool_name_prefix="s_")
    assert better is not None
    assert with_usable_names(better, "s", ["s_look", "s_see"], {"look"}) is None


def test_a_name_that_is_still_taken_or_invalid_is_left_out() -> None:
    prefixed = replace(CONFIG, tool_name_prefix="s_")
    better = with_usable_names(prefixed, "s", ["s_look", "s_a.b", "s_see"], {"look", "s_look"})
    assert better == replace(prefixed, blocked_tools=["old", "look", "a.b"])


def test_too_many_tools_are_refused_with_the_key_to_change() -> None:
    with pytest.raises(ValueError, match="offers 200 tools, 128 can be used: allowed_tools"):
        with_usable_names(CONFIG, "s", [f"t{n}" for n in range(200)], set())


def test_a_server_with_a_url_gets_its_headers_from_the_environment() -> None:
    server = McpServer("s", HERE, url="https://tools.example/mcp", secrets=(("X-Key", "KEY"),))
    config = mcp_config.mcp_config(server, {"KEY": "hush"})
    assert getattr(config, "headers", None) == {"X-Key": "hush"}
    with pytest.raises(
        McpServerError, match="MCP server s: the environment variable KEY is not set"
    ):
        mcp_config.mcp_config(server, {})


def test_python_is_the_interpreter_that_runs_the_orchestrator() -> None:
    assert sys.executable in mcp_config._command_line(TIME)
