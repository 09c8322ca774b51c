"""Python files of a workflow as tools: what loads, and what is reported."""

import json
from pathlib import Path, PurePath

import pytest
from ag2.tools.types import FunctionTool

from services.orchestrator.agents.sandbox.thread_runner import ThreadRunner
from services.orchestrator.agents.tools.function_tools import build_function, build_tool
from services.orchestrator.workflows.code.bundle import read_python_files
from services.orchestrator.workflows.code.loader import ToolCode, ToolLoadError, tool_code
from services.orchestrator.workflows.spec import Tool

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

DESCRIBED = """
from typing import Annotated
from pydantic import Field

def look(
    where: Annotated[str, "the place"],
    floor: Annotated[int, "counted from 0", Field(ge=0)] = 0,
    near: Annotated[list[str] | None, Field(description="neighbours")] = None,
) -> str: ...
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


def build(folder: Path, source: str) -> FunctionTool:
    (folder / "look.py").write_text(source)
    look = Tool("look", "", PurePath("look.py"), "look")
    return build_tool(build_function(look, code_in(folder), ThreadRunner()))


def code_in(folder: Path) -> ToolCode:
    return tool_code(folder, read_python_files(folder))


@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_file_without_the_function_is_reported(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(ToolLoadError) as caught:
        build(tmp_path, source)
    assert str(caught.value).startswith(message)
    assert str(tmp_path) not in str(caught.value)


def test_models_do_not_see_the_injected_parameters(tmp_path: Path) -> None:
    schema = build(tmp_path, TYPED).schema.function
    assert schema.name == "look"
    assert schema.description == "Look somewhere."
    assert set(schema.parameters["properties"]) == {"where"}


def test_the_model_gets_the_description_of_an_annotated_parameter(tmp_path: Path) -> None:
    properties = build(tmp_path, DESCRIBED).schema.function.parameters["properties"]
    assert properties["where"]["description"] == "the place"
    assert properties["where"]["type"] == "string"
    assert properties["floor"]["description"] == "counted from 0"
    assert properties["floor"]["minimum"] == 0
    assert properties["near"]["description"] == "neighbours"


NESTED = {
    "Annotated[str, 'the place'] | None": 1,
    "Optional[Annotated[str, 'the place']]": 1,
    "Union[int, Annotated[str, 'the place']]": 1,
    "list[Annotated[str, 'the place']]": 1,
    "List[Annotated[str, 'the place']]": 1,
    "dict[str, Annotated[int, 'the place']]": 1,
    "list[Annotated[str, 'the place'] | None]": 1,
    "Annotated[list[Annotated[str, 'the place']], 'the place', 'the place']": 2,
    "tuple[Annotated[int, 'the place'], ...]": 1,
    "Annotated[Literal['a', 'b'], 'the place']": 1,
    "Annotated[Optional[int], 'the place']": 1,
    "Annotated[Annotated[str, 'within'], 'the place']": 1,
    "Annotated[str, object(), 'the place']": 1,
    "Callable[[int], str] | Annotated[str, 'the place']": 1,
}


@pytest.mark.parametrize("annotation", NESTED)
def test_a_description_within_a_type_reaches_the_model(tmp_path: Path, annotation: str) -> None:
    source = f"""
from collections.abc import Callable
from typing import Annotated, List, Literal, Optional, Union


def look(where: {annotation}): ...
"""
    properties = build(tmp_path, source).schema.function.parameters["properties"]
    assert json.dumps(properties).count('"description": "the place"') == NESTED[annotation]
