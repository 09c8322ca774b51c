"""The demo model's lines: one after the other, again from the start, or an echo."""

import pytest
from pydantic import ValidationError

from services.orchestrator.workflows.demo import DemoLine, DemoScripts, Script

FIRST, SECOND = DemoLine(say="one"), DemoLine(say="two")


def test_lines_follow_in_order_and_end() -> None:
    script = Script(lines=[FIRST, SECOND])
    assert [script.line(spoken) for spoken in range(3)] == [FIRST, SECOND, None]


def test_a_loop_begins_again() -> None:
    script = Script(lines=[FIRST, SECOND], loop=True)
    assert [script.line(spoken) for spoken in range(3)] == [FIRST, SECOND, FIRST]


def test_an_agent_without_a_script_repeats_what_it_hears() -> None:
    line = DemoScripts().script("Anyone").line(7)
    assert line is not None
    assert "{user}" in line.say


def test_a_script_without_lines_is_refused() -> None:
    with pytest.raises(ValidationError, match="lines: must not be empty"):
        Script(lines=[])
