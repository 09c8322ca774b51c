"""A tool file is changed where it speaks of the predecessor; everything else stays as it is written."""

import ast
from typing import Any

import pytest

from services.orchestrator.workflows.migration.python_edits import Surroundings, rewritten

HERE = "services.orchestrator.compatibility"
ASKS = "from core.workflow.outputs.ui_tools import use_ui_tool\n"
IMPORTS = "from workflows.tooling import ToolRuntime\n"


def rewrite(text: str, tool: str = "ask", **around: Any) -> str:
    surroundings = Surroundings("Old", "New", tools={tool}, **around)
    found = rewritten(text, surroundings).text
    ast.parse(found)
    return found


QUESTIONS = {
    "keywords": (
        (
            "async def ask(title: str):\n"
            "    # Über ü\n"
            '    return await use_ui_tool("form", {"ü": title}, chat_id=c, workflow_name="W")  # why\n'
        ),
        (
            "async def ask(runtime: ToolRuntime, title: str):\n"
            "    # Über ü\n"
            '    return await runtime.use_ui_tool("form", {"ü": title})  # why\n'
        ),
    ),
    "positions": (
        'async def ask():\n    return await use_ui_tool("f", {}, chat, "W", "artifact")\n',
        (
            "async def ask(runtime: ToolRuntime):\n"
            '    return await runtime.use_ui_tool("f", {}, display="artifact")\n'
        ),
    ),
    "names of parameters": (
        'async def ask(*, a=1):\n    await use_ui_tool(tool_id="f", payload={}, display="inline")\n',
        (
            "async def ask(runtime: ToolRuntime, *, a=1):\n"
            '    await runtime.use_ui_tool(ui_tool_id="f", payload={}, display="inline")\n'
        ),
    ),
    "lines": (
        (
            "@decorated\nasync def ask(\n    title,\n):\n"
            "    await use_ui_tool(\n"
            '        "f",  # the form\n'
            "        {},\n"
            "        chat_id=c,\n"
            '        display="inline",\n'
            "    )\n"
        ),
        (
            "@decorated\nasync def ask(\n    runtime: ToolRuntime,\n    title,\n):\n"
            "    await runtime.use_ui_tool(\n"
            '        "f",  # the form\n'
            "        {},\n"
            '        display="inline",\n'
            "    )\n"
        ),
    ),
}


@pytest.mark.parametrize(("written", "wanted"), QUESTIONS.values(), ids=QUESTIONS.keys())
def test_a_tool_asks_by_its_runtime(written: str, wanted: str) -> None:
    assert rewrite(f'"""Doc."""\n{ASKS}\n{written}') == f'"""Doc."""\n{IMPORTS}\n{wanted}'


def test_a_tool_that_imports_the_module_asks_by_its_runtime() -> None:
    text = "from core.workflow.outputs import ui_tools\nasync def ask():\n    await ui_tools.use_ui_tool('f', {})\n"
    assert rewrite(text) == (
        f"{IMPORTS}async def ask(runtime: ToolRuntime):\n    await runtime.use_ui_tool('f', {{}})\n"
    )


KEPT = {
    "a helper": "async def helper():\n    await use_ui_tool('f', {})\n",
    "a tool that another calls": "async def ask():\n    await use_ui_tool('f', {})\nasync def b():\n    await ask()\n",
    "a parameter of that name": "async def ask(**runtime):\n    await use_ui_tool('f', {})\n",
    "a display that is known later": "async def ask(d):\n    await use_ui_tool('f', {}, display=d)\n",
    "arguments in a list": "async def ask(d):\n    await use_ui_tool(*d)\n",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT.keys())
def test_what_cannot_have_a_runtime_asks_by_the_compatibility_package(text: str) -> None:
    assert rewrite(ASKS + text) == f"from {HERE}.ui_tools import use_ui_tool\n{text}"


def test_a_tool_that_other_files_refer_to_keeps_its_signature() -> None:
    text = "async def ask():\n    await use_ui_tool('f', {})\n"
    assert "runtime" not in rewrite(ASKS + text, called={"ask"})


STATEMENTS = {
    "import autogen\n": f"import {HERE}.autogen as autogen\n",
    "from autogen import ContextVariables as C\n": f"from {HERE}.autogen import ContextVariables as C\n",
    "if True:\n    from logs.logging_config import (\n        get_logger,  # ours\n        x,\n    )\n": (
        f"if True:\n    from {HERE}.logging_config import get_logger, x\n"
    ),
    "from core.workflow.outputs import ui_tools, other\n": (
        f"from {HERE} import ui_tools\nfrom {HERE}.unavailable import other\n"
    ),
    "from workflows.Old.tools import a\n": "from workflows.New.tools import a\n",
    "import workflows.Old.tools as t\n": "import workflows.New.tools as t\n",
    "from workflows.Older import a\n": "from workflows.Older import a\n",
    "from .core import a\n": "from .core import a\n",
    "import json  # core\n": "import json  # core\n",
}


@pytest.mark.parametrize(("written", "wanted"), STATEMENTS.items())
def test_imports_are_replaced(written: str, wanted: str) -> None:
    assert rewrite(written) == wanted


def test_modules_of_the_folder_and_installed_packages_are_not_the_predecessors() -> None:
    text = "from core.a import b\nimport logs\n"
    assert rewrite(text, own={"core"}, installed="logs".__eq__) == text


def test_what_is_not_offered_and_what_has_to_be_written_otherwise_is_listed() -> None:
    text = "import os\nimport core.data\nfrom core.data import Manager\nfrom logs.logging_config import get_x_logger\n"
    found = rewritten(text, Surroundings("Old", "New"))
    assert found.decisions == (
        "2: import core.data has to be written as `from ... import ...`",
        "3: core.data.Manager is not offered: code that uses it fails when it is called",
    )


ODD_FILES = {
    "Windows lines": ASKS.replace("\n", "\r\n")
    + "async def ask():\r\n    await use_ui_tool('f', {})\r\n",
    "old Macintosh lines": f"{ASKS}# a\rasync def ask():\n    await use_ui_tool('f', {{}})\n",
    "a form feed": f"{ASKS}\f\nasync def ask():\n    await use_ui_tool('f', {{}})\n",
    "wide characters": f"{ASKS}async def ask():\n    x = '𝒳é'; await use_ui_tool('🍞', {{}})\n",
    "no last line end": f"{ASKS}async def ask(): return await use_ui_tool('f', {{}})",
    "one line": "import autogen; from core.a import b; x = 1\n",
}


@pytest.mark.parametrize("text", ODD_FILES.values(), ids=ODD_FILES.keys())
def test_an_odd_file_is_python_afterwards_or_is_left_as_it_is(text: str) -> None:
    found = rewritten(text, Surroundings("Old", "New", tools={"ask"}))
    ast.parse(found.text)
    assert found.text != text or "cannot be rewritten" in found.decisions[0]


def test_lines_keep_their_ends_and_characters() -> None:
    found = rewrite(ODD_FILES["Windows lines"])
    assert found.endswith("    await runtime.use_ui_tool('f', {})\r\n")
    assert "x = '𝒳é'; await runtime.use_ui_tool('🍞', {})" in rewrite(ODD_FILES["wide characters"])
