"""Code of the predecessor finds its modules; what is not offered fails by name, and only when used."""

import ast
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from contracts.events.turn import ToolReturned
from services.orchestrator.compatibility import ui_tools, unavailable
from services.orchestrator.compatibility.autogen import ContextVariables
from services.orchestrator.compatibility.current_runtime import NoRuntimeError
from services.orchestrator.compatibility.logging_config import get_logger
from services.orchestrator.compatibility.modules import UNAVAILABLE, replacement_of
from services.orchestrator.compatibility.unavailable import UnavailableError
from services.orchestrator.testkit import Component, play
from services.orchestrator.workflows.code.import_rewriter import OwnModules, rewrite_imports
from services.orchestrator.workflows.loading import LoadedWorkflow, load

HERE = "services.orchestrator.compatibility"
MODULES = {
    "core.workflow.outputs.ui_tools": f"{HERE}.ui_tools",
    "core.workflow.ui_tools": f"{HERE}.ui_tools",
    "mozaiksai.core.workflow.outputs.ui_tools": f"{HERE}.ui_tools",
    "logs.logging_config": f"{HERE}.logging_config",
    "core.events.unified_event_dispatcher": f"{HERE}.events",
    "core.data.persistence": UNAVAILABLE,
    "autogen": f"{HERE}.autogen",
    "autogen.agentchat.group": f"{HERE}.autogen",
    "json": None,
    "corelib": None,
    "workflows.core": None,
}


@pytest.mark.parametrize(("module", "replacement"), MODULES.items())
def test_modules_of_the_predecessor_have_a_replacement(
    module: str, replacement: str | None
) -> None:
    assert replacement_of(module) == replacement


IMPORTS = {
    "from core.workflow.outputs.ui_tools import use_ui_tool, x as y": (
        f"from {HERE}.ui_tools import use_ui_tool\nfrom {HERE}.ui_tools import x as y"
    ),
    "from core.workflow.outputs import ui_tools": f"import {HERE}.ui_tools as ui_tools",
    "import logs.logging_config as l": f"import {HERE}.logging_config as l",
    "import autogen": f"import {HERE}.autogen as autogen",
    "from logs import logging_config as c": f"import {HERE}.logging_config as c",
    "import json": "import json",
}


@pytest.mark.parametrize(("written", "read"), IMPORTS.items())
def test_imports_of_the_predecessor_are_redirected(written: str, read: str) -> None:
    own = OwnModules("p", "Shop", {"p"}, "json".__eq__)
    assert ast.unparse(rewrite_imports(ast.parse(written), own, "p.tools")) == read


def test_a_module_of_the_folder_or_an_installed_package_takes_precedence() -> None:
    statement = "from core.workflow import ui_tools"
    own = OwnModules("p", "Shop", {"p", "p.core"}, lambda _: False)
    assert ast.unparse(rewrite_imports(ast.parse(statement), own, "p")).startswith("from p.core")
    installed = OwnModules("p", "Shop", {"p"}, "core".__eq__)
    assert ast.unparse(rewrite_imports(ast.parse(statement), installed, "p")) == statement


def test_what_is_not_offered_is_a_name_that_fails_when_it_is_used() -> None:
    manager = unavailable.AG2PersistenceManager

    class Own(manager):  # type: ignore[misc, valid-type]
        """As a tool file may declare it."""

    for use in (manager, Own, lambda: manager.save):
        with pytest.raises(UnavailableError, match="is not offered by this runtime"):
            use()


def test_an_exception_that_is_not_offered_is_one_to_catch() -> None:
    assert issubclass(unavailable.TransportError, Exception)


async def test_a_component_is_shown_only_while_a_tool_is_called() -> None:
    with pytest.raises(NoRuntimeError):
        await ui_tools.use_ui_tool("form", {})


def test_loggers_take_fields_as_keywords(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        get_logger("Shop", chat_id="c").info("paid %s", 3, amount=3, name="x", exc_info=False)
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("workflows.Shop", "paid 3")
    assert (vars(record)["amount"], vars(record)["chat_id"]) == (3, "c")


def test_variables_are_made_as_ag2_made_them() -> None:
    variables = ContextVariables(data={"a": 1})
    variables.set("b", 2)
    assert variables.to_dict() == {"a": 1, "b": 2}


def workflow(folder: Path, code: str, *functions: str, **first: Any) -> Path:
    """A workflow with these tools in one file; the user is asked by a component."""
    sections: dict[str, Any] = {
        "orchestrator": {
            "workflow_name": "Shop",
            "orchestration_pattern": "RoundRobinPattern",
            "max_turns": 1,
            "initial_message": "Begin.",
            **first,
        },
        "agents": {"agents": {"Clerk": {}}},
        "tools": {
            "tools": [{"agent": "Clerk", "file": "till.py", "function": one} for one in functions]
        },
    }
    for stem, content in sections.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    (folder / "till.py").write_text(code)
    return folder


ASKS = """
from core.workflow.outputs import ui_tools
from core.transport import SimpleTransport

def helper(payload):
    return ui_tools.use_ui_tool("Form", payload, "chat", "Shop", "artifact")

async def ask(context_variables=None) -> str:
    answer = await helper({"a": 1})
    return answer["word"]

def send() -> None:
    SimpleTransport.get_instance().send("x")
"""


async def test_a_helper_of_a_tool_asks_by_a_component_and_missing_parts_fail_their_call_alone(
    tmp_path: Path,
) -> None:
    calls = [{"tool": "send"}, {"tool": "ask"}]
    lines: dict[str, Any] = {"Clerk": [{"calls": calls}, "Done."]}
    folder = workflow(tmp_path, ASKS, "ask", "send")
    chat = await play(folder, [Component({"word": "yes"})], replies=lines)
    returned = {one.name: one for one in chat.of(ToolReturned)}
    assert "yes" in str(returned["ask"].parts)
    assert "SimpleTransport.get_instance is not offered" in (returned["send"].error or "")
    assert chat.ended == "completed"


BROKEN = """
import no_such_package_at_all

def ask() -> str:
    return "?"
"""


async def test_a_tool_that_does_not_load_is_left_out_only_of_a_workflow_that_is_read_leniently(
    tmp_path: Path,
) -> None:
    folder = workflow(tmp_path, BROKEN, "ask")
    chat = await play(folder, replies={"Clerk": ["Nothing to call."]})
    assert chat.texts == ["Nothing to call."]
    strict = workflow(tmp_path, BROKEN, "ask", strictness="strict")
    assert isinstance(load(strict), LoadedWorkflow)
    with pytest.raises(Exception, match="no_such_package_at_all"):
        await play(strict)


MORE = """
def ask(word: str, context_variables=None, **more) -> str:
    return word + str(more)
"""


async def test_models_do_not_see_further_keywords_of_a_tool_of_the_predecessor(
    tmp_path: Path,
) -> None:
    lines: dict[str, Any] = {
        "Clerk": [{"calls": [{"tool": "ask", "arguments": {"word": "a"}}]}, "."]
    }
    chat = await play(workflow(tmp_path, MORE, "ask"), replies=lines)
    (returned,) = chat.of(ToolReturned)
    assert (returned.status, "a{}" in str(returned.parts)) == ("ok", True)
