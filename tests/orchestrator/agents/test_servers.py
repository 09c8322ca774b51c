"""MCP servers as tools: real processes over stdio, and what the model hears when they fail."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ag2.testing import Turn
from ag2.tools import MCPStdioServerConfig

from contracts.events.parts import text_of
from contracts.events.turn import ToolReturned
from infra.ports import free_port
from services.orchestrator.agents import servers
from services.orchestrator.agents.codec import MAX_RESULT_CHARS
from services.orchestrator.agents.limits import Bounds
from services.orchestrator.agents.servers import ServerError, ServerTools, adjusted, config_of
from services.orchestrator.turns import Spoke
from services.orchestrator.workflows.spec import Limits, McpServer
from tests.orchestrator.agents.stage import MemoryJournal, Stage, call, requests, result, says

HERE = Path(__file__).parent
TIME = McpServer("time", HERE, command="python", args=("-m", "mcp_server_time"))


def odd(*tools: str, **more: Any) -> McpServer:
    args = (str(HERE / "odd_server.py"), ",".join(tools))
    return McpServer("odd", HERE, command="python", args=args, **more)


def tools_of(
    server: McpServer, taken: Sequence[str] = (), environment: dict[str, str] | None = None
) -> ServerTools:
    return ServerTools(server, environment or {}, Bounds(server.limits), taken)


async def played(kit: ServerTools, *calls: Any, tools: Sequence[Any] = ()) -> MemoryJournal:
    journal = MemoryJournal()
    stage = Stage([says(None, *calls), "Done."], [*tools, kit])
    async with asyncio.timeout(50):
        assert await stage.run(journal) == Spoke("Done.", None)
    return journal


def told(journal: MemoryJournal, call_id: str = "c1") -> str:
    return text_of(result(journal, call_id).parts)


async def test_a_servers_tools_are_called_as_any_tool_is_and_kept() -> None:
    zone = call("get_current_time", "c1", '{"timezone": "Europe/Vienna"}')
    journal = await played(tools_of(TIME), zone)
    assert json.loads(told(journal))["timezone"] == "Europe/Vienna"
    assert result(journal, "c1").status == "ok"


async def test_a_finished_call_is_answered_from_the_log_and_not_made_again() -> None:
    calls = (call("look", "c1"), call("look", "c2", '{"where": "there"}'))
    lines: list[Turn] = [says(None, *calls), "Done."]
    whole = MemoryJournal()
    await Stage(lines, [tools_of(odd("look"))]).run(whole)
    kept = [event for batch in whole.batches[:-1] for event in batch]
    again = MemoryJournal(MemoryJournal().story.then(*kept))
    dead = replace(odd("look"), args=("absent.py",))  # what is asked of it would fail
    stage = Stage(lines, [tools_of(dead)])
    assert await stage.run(again) == Spoke("Done.", None)
    assert again.of(ToolReturned) == []
    assert stage.heard == requests(whole)[1:]


async def test_what_a_server_says_of_a_failure_reaches_the_model_without_paths() -> None:
    journal = await played(tools_of(odd("fail")), call("fail", "c1"))
    failed = result(journal, "c1")
    assert failed.status == "error"
    assert failed.error == (
        "ServerError: MCP server odd: Error executing tool fail: no luck in place.db"
    )


async def test_a_server_that_hangs_dies_or_floods_is_an_error_or_cut() -> None:
    limits = Limits(timeout_seconds=5)
    kit = tools_of(odd("hang", "die", "flood", limits=limits))
    journal = await played(kit, call("hang", "c1"), call("die", "c2"), call("flood", "c3"))
    assert told(journal, "c1") == "ToolTimeLimitError: took longer than 5 s"
    assert told(journal, "c2").startswith("ServerError: MCP server odd: ")
    assert MAX_RESULT_CHARS < len(told(journal, "c3")) < MAX_RESULT_CHARS + 100


async def test_a_failed_call_is_made_again_as_often_as_the_manifest_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.orchestrator.agents.limits.BACKOFF_SECONDS", 0)
    arguments = json.dumps({"marks": str(tmp_path / "tried")})
    kit = tools_of(odd("unsteady", limits=Limits(retries=1)))
    assert told(await played(kit, call("unsteady", "c1", arguments))) == "better"


async def test_a_name_that_another_tool_has_makes_the_servers_begin_with_its_own() -> None:
    async def look() -> str:
        return "the tool looked"

    kit = tools_of(odd("look", "secret", "bad.name"), taken=["look"])
    journal = await played(
        kit, call("look", "c1"), call("odd_look", "c2"), call("odd_secret", "c3"), tools=[look]
    )
    texts = [told(journal, f"c{number}") for number in (1, 2, 3)]
    assert texts == ["the tool looked", "the server saw here", "nothing"]
    assert sorted(one.name for one in kit.tools) == ["odd_look", "odd_secret"]


async def test_a_secret_is_taken_from_the_environment_by_its_name() -> None:
    server = odd("secret", secrets=(("TOKEN", "ODD_TOKEN"),))
    kit = tools_of(server, environment={"ODD_TOKEN": "hush"})
    assert told(await played(kit, call("secret", "c1"))) == "hush"


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
async def test_a_server_that_cannot_be_used_is_told_to_the_model_and_the_turn_goes_on(
    server: McpServer, why: str
) -> None:
    allowed = replace(server, allowed_tools=("look",))
    journal = await played(tools_of(allowed), call("look", "c1", '{"where": "there"}'))
    assert told(journal).startswith(f"ServerError: MCP server gone: {why}")
    assert result(journal, "c1").status == "error"


async def test_a_server_that_comes_back_is_used_in_the_next_turn(tmp_path: Path) -> None:
    script = tmp_path / "late.py"
    server = replace(odd("look"), args=(str(script), "look"), allowed_tools=("look",))
    kit = tools_of(server)
    assert told(await played(kit, call("look", "c1"))).startswith("ServerError: MCP server odd: ")
    script.write_text((HERE / "odd_server.py").read_text())
    assert told(await played(kit, call("look", "c1"))) == "the server saw here"


async def test_nothing_is_started_before_an_agent_has_its_turn(tmp_path: Path) -> None:
    script = tmp_path / "mark.py"
    script.write_text("import pathlib\npathlib.Path('begun').write_text('')\n")
    server = McpServer("mark", tmp_path, command="python", args=(str(script),))
    kit = tools_of(server)
    assert not (tmp_path / "begun").exists()
    await played(kit, call("mark", "c1"))
    assert (tmp_path / "begun").exists()


async def test_a_server_by_its_address_is_called_too() -> None:
    port = free_port()
    script = str(HERE / "odd_server.py")
    serving = await asyncio.create_subprocess_exec(sys.executable, script, "look", str(port))
    try:
        kit = tools_of(McpServer("odd", HERE, url=f"http://127.0.0.1:{port}/mcp"))
        async with asyncio.timeout(40):
            while told(journal := await played(kit, call("look", "c1"))) != "the server saw here":
                assert result(journal, "c1").status in ("error", "not_found")  # it still starts
    finally:
        serving.terminate()
        await serving.wait()


KEEP_ONE = """
import asyncio, sys
from pathlib import Path
from ag2 import MemoryStream
from ag2.context import ConversationContext
from ag2.events import ToolCallEvent
from services.orchestrator.agents.limits import Bounds
from services.orchestrator.agents.servers import ServerTools
from services.orchestrator.workflows.spec import McpServer

async def main():
    server = McpServer("deaf", Path.cwd(), command="python", args=("-c", sys.argv[1]))
    kit = ServerTools(server, {}, Bounds(server.limits), ())
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
async def test_a_server_that_ignores_everything_ends_with_a_killed_orchestrator() -> None:
    ours = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KEEP_ONE, DEAF),
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert ours.stderr is not None
    async with asyncio.timeout(40):
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


def test_names_that_do_are_left_as_they_are() -> None:
    assert adjusted(CONFIG, "s", ["look", "see"], {"other"}) is None


def test_a_taken_name_is_avoided_by_the_servers_own() -> None:
    better = adjusted(CONFIG, "s", ["look", "see"], {"look"})
    assert better == replace(CONFIG, tool_name_prefix="s_")
    assert better is not None
    assert adjusted(better, "s", ["s_look", "s_see"], {"look"}) is None


def test_what_is_still_taken_or_illegal_is_left_out() -> None:
    prefixed = replace(CONFIG, tool_name_prefix="s_")
    better = adjusted(prefixed, "s", ["s_look", "s_a.b", "s_see"], {"look", "s_look"})
    assert better == replace(prefixed, blocked_tools=["old", "look", "a.b"])


def test_too_many_tools_are_refused_with_the_key_that_helps() -> None:
    with pytest.raises(ValueError, match="offers 200 tools, 128 can be used: allowed_tools"):
        adjusted(CONFIG, "s", [f"t{n}" for n in range(200)], set())


def test_a_server_by_its_address_has_its_headers_from_the_environment() -> None:
    server = McpServer("s", HERE, url="https://tools.example/mcp", secrets=(("X-Key", "KEY"),))
    config = config_of(server, {"KEY": "hush"})
    assert getattr(config, "headers", None) == {"X-Key": "hush"}
    with pytest.raises(ServerError, match="MCP server s: the environment variable KEY is not set"):
        config_of(server, {})


def test_python_is_the_interpreter_that_runs_the_product() -> None:
    assert sys.executable in servers._started(TIME)
