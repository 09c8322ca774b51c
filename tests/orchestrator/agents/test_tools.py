"""A workflow's Python files as tools: what loads, and what is reported instead."""

from pathlib import Path, PurePath

import pytest
from ag2.tools.types import FunctionTool

from services.orchestrator.agents.tools import build_function, build_tool
from services.orchestrator.agents.workbench import Workbench
from services.orchestrator.workflows.functions import ToolCode, ToolLoadError, tool_code
from services.orchestrator.workflows.spec import Tool
from services.orchestrator.workflows.versions import code_of

TYPED = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Place:
    name: str

def look(where: str, runtime: object, context_variables: dict[str, object]) -> str:
    'Look somewhere.'
    return Place(where).name
"""

BROKEN = {
    "a syntax error": ("def look(:\n", "look.py: SyntaxError"),
    "no such function": ("x = 1\n", "look.py: has no function look"),
    "no function but a value": ("look = 1\n", "look.py: has no function look"),
    "an error while it loads": ("1 / 0\n", "look.py: ZeroDivisionError"),
    "an exit while it loads": ("raise SystemExit(3)\n", "look.py: SystemExit"),
    "a missing import": ("import absent_module\n", "look.py: ModuleNotFoundError"),
    "arguments without a schema": ("def look(**more): ...\n", "look.py: look: "),
    "an unknown annotation": ("def look(a: 'Absent'): ...\n", "look.py: look: "),
}


def built(folder: Path, source: str) -> FunctionTool:
    (folder / "look.py").write_text(source)
    look = Tool("look", "", PurePath("look.py"), "look")
    return build_tool(build_function(look, code_in(folder), Workbench()))


def code_in(folder: Path) -> ToolCode:
    return tool_code(folder, code_of(folder))


@pytest.mark.parametrize(("source", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_offers_no_tool_is_reported(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(ToolLoadError) as caught:
        built(tmp_path, source)
    assert str(caught.value).startswith(told)
    assert str(tmp_path) not in str(caught.value)


def test_models_see_the_arguments_and_not_what_is_handed_in(tmp_path: Path) -> None:
    schema = built(tmp_path, TYPED).schema.function
    assert schema.name == "look"
    assert schema.description == "Look somewhere."
    assert set(schema.parameters["properties"]) == {"where"}
