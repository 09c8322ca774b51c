"""The demo model's replies: in order, in a loop, or an echo; and the schema of their file."""

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import ValidationError

from services.orchestrator.workflows.demo import DemoReply, DemoScript, DemoScripts
from services.orchestrator.workflows.json_schemas import schema_files

SHIPPED = Path(__file__).parents[3] / "workflows"
SCHEMA = json.loads(schema_files()["demo.json"])
FIRST, SECOND = DemoReply(say="one"), DemoReply(say="two")


def test_replies_follow_in_order_and_end() -> None:
    script = DemoScript(lines=[FIRST, SECOND])
    assert [script.reply(spoken) for spoken in range(3)] == [FIRST, SECOND, None]


def test_a_loop_starts_again() -> None:
    script = DemoScript(lines=[FIRST, SECOND], loop=True)
    assert [script.reply(spoken) for spoken in range(3)] == [FIRST, SECOND, FIRST]


def test_an_agent_without_a_script_repeats_the_last_message() -> None:
    line = DemoScripts().script("Anyone").reply(7)
    assert line is not None
    assert "{user}" in line.say


def test_a_script_without_lines_is_rejected() -> None:
    with pytest.raises(ValidationError, match="lines: must not be empty"):
        DemoScript(lines=[])


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*/demo.*")), ids=lambda one: one.parent.name)
def test_the_samples_fit_the_schema(file: Path) -> None:
    jsonschema.validate(yaml.safe_load(file.read_text()), SCHEMA)


FILES: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing": ({}, True),
    "the schema's own path": ({"$schema": "demo.json", "agents": {}}, True),
    "a text": ({"agents": {"Clerk": {"lines": [{"say": "Hello."}]}}}, True),
    "a call": (
        {"agents": {"Clerk": {"lines": [{"calls": [{"tool": "sell"}]}], "loop": True}}},
        True,
    ),
    "no lines": ({"agents": {"Clerk": {"lines": []}}}, False),
    "a line that is a text": ({"agents": {"Clerk": {"lines": ["Hello."]}}}, False),
    "a call without a tool": ({"agents": {"Clerk": {"lines": [{"calls": [{}]}]}}}, False),
    "an unknown key": ({"agents": {"Clerk": {"lines": [{"says": "Hello."}]}}}, False),
}


@pytest.mark.parametrize(("content", "is_valid"), FILES.values(), ids=FILES.keys())
def test_the_schema_accepts_what_the_reader_accepts(
    content: dict[str, Any], *, is_valid: bool
) -> None:
    errors = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(content))
    assert (not errors) == is_valid
    lines = {key: value for key, value in content.items() if key != "$schema"}
    try:
        DemoScripts.model_validate(lines)
    except ValidationError:
        assert not is_valid
    else:
        assert is_valid
