"""A call that has finished is in the log: after a kill it is not made again, whatever came of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from ag2 import ToolResult
from ag2.testing import Turn

from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.human import UiToolRequested
from contracts.events.parts import text_of
from contracts.events.turn import ToolReturned, VariablesChanged
from contracts.json_preview import CUT
from services.chassis.secrets import process_redactor
from services.orchestrator.domain.turn_steps import Completed, Suspended
from tests.orchestrator.agents.turn_harness import (
    OPEN_TURN,
    MemoryJournal,
    TurnHarness,
    model_response,
    request_digests,
    tool_call,
    tool_result,
)
from workflows.tooling import ToolRuntime


class BrokenReprError(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class LyingMapping(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


class NoDict:
    __slots__ = ("x",)

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


def nested(levels: int) -> Any:
    value: Any = "end"
    for number in range(levels):
        value = {"a": value} if number % 2 else [value]
    return value


def raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


OUTCOMES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "bytes that are no text": lambda: b"\xff\xfe\x00",
    "a value of 5,000 levels": lambda: nested(5_000),
    "infinity": lambda: [float("inf"), float("-inf"), float("nan")],
    "an integer of 10,000 digits": lambda: 10**10_000,
    "half a character as a key": lambda: {"\ud83d": {"\udc4d": "\ud83d"}},
    "keys that are no text": lambda: {(1, 2): "a", None: "b", 3.5: "c"},
    "a mapping that fails": LyingMapping,
    "an object that has nothing": NoDict,
    "a class": lambda: NoDict,
    "a module": lambda: json,
    "an exception as a value": lambda: ValueError("x"),
    "megabytes": lambda: {"rows": ["x" * 100] * 30_000},
    "gigantic metadata": lambda: ToolResult("x", metadata={"a": "y" * 3_000_000}),
    "an exception without words": raising(BrokenReprError()),
    "an exception with an exception in it": raising(ValueError(ValueError({"a": [1]}))),
    "half a character in an exception": raising(ValueError("\ud83d")),
    "an exception of megabytes": raising(ValueError("x" * 3_000_000)),
    "an exit": raising(SystemExit(3)),
    "an interrupt": raising(KeyboardInterrupt()),
    "a group of exceptions": raising(ExceptionGroup("two", [ValueError("a"), OSError("b")])),
    "a recursion error": raising(RecursionError("too deep")),
}


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES.keys())
async def test_a_finished_call_is_not_made_again_whatever_came_of_it(
    outcome: Callable[[], Any],
) -> None:
    runs: list[int] = []

    def work() -> Any:
        runs.append(1)
        return outcome()

    lines: list[Turn] = [model_response(None, tool_call("work", "c1")), "Done."]
    journal = MemoryJournal()
    assert await TurnHarness(lines, [work]).run(journal) == Completed("Done.", None)
    recorded = tool_result(journal, "c1")
    assert ToolReturned.model_validate_json(recorded.model_dump_json()) == recorded
    assert "Traceback" not in text_of(recorded.parts)
    assert ".py" not in text_of(recorded.parts) or recorded.status == "ok"
    assert runs == [1]

    resumed = MemoryJournal(OPEN_TURN.then(*until_result(journal)))
    assert await TurnHarness(lines, [work]).run(resumed) == Completed("Done.", None)
    assert runs == [1]
    assert request_digests(resumed) == request_digests(journal)[-1:]


def until_result(journal: MemoryJournal) -> list[Event]:
    """What was recorded up to the result of the call, as another process reads it."""
    events: list[Event] = []
    for event in journal.events:
        events.append(type(event).model_validate_json(event.model_dump_json()))
        if isinstance(event, ToolReturned):
            break
    return events


async def sent_and_recorded(value: Any) -> tuple[Any, Any]:
    """A value that a tool returns: as the model gets it, and as the log has it."""

    def work() -> Any:
        return value

    journal = MemoryJournal()
    lines: list[Turn] = [model_response(None, tool_call("work", "c1")), "Done."]
    assert await TurnHarness(lines, [work]).run(journal) == Completed("Done.", None)
    (part,) = tool_result(journal, "c1").parts
    logged = json.loads(part.model_dump_json())
    return json.loads(text_of([part])), logged["data"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"n": float("nan")}, {"n": None}),
        ([1.5, float("inf")], [1.5, None]),
        ({"a": {1}}, {"a": [1]}),
        ({1: "one"}, {"1": "one"}),
    ],
    ids=repr,
)
async def test_a_model_gets_the_same_value_as_the_log(value: Any, kept: Any) -> None:
    assert await sent_and_recorded(value) == (kept, kept)


async def test_a_result_that_is_cut_is_json_with_a_mark() -> None:
    sent, logged = await sent_and_recorded({"rows": [{"id": n} for n in range(90_000)], "n": 1})
    assert sent == logged
    assert sent["rows"][0] == {"id": 0}
    assert sent["rows"][-1].startswith(f"{CUT} ")
    assert CUT in sent


DEEP = '{"a":' * 5_000 + "1" + "}" * 5_000
MALFORMED = {
    "5,000 levels": DEEP,
    "not closed": '{"a": 1',
    "a list": "[1]",
    "NaN": '{"a": NaN}',
    "two objects": '{"a": 1}{"a": 2}',
    "text": "please",
    "half a character": '{"a": "\ud83d',
}


@pytest.mark.parametrize("arguments", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_arguments_are_a_result_and_the_turn_goes_on(arguments: str) -> None:
    runs: list[Any] = []

    def work(a: Any) -> str:
        runs.append(a)
        return "worked"

    lines: list[Turn] = [model_response(None, tool_call("work", "c1", arguments)), "Done."]
    journal = MemoryJournal()
    assert await TurnHarness(lines, [work]).run(journal) == Completed("Done.", None)
    assert tool_result(journal, "c1").status == "error"
    assert runs == []


# -- secrets of the environment -----------------------------------------------------------------------

SECRET = "correct-horse-battery"


async def keep_it(context_variables: dict[str, Any]) -> str:
    context_variables["login"] = {"key": SECRET, SECRET: 1}
    return "kept"


async def ask_with_it(runtime: ToolRuntime) -> str:
    return await runtime.ask(f"Is {SECRET} right?", [SECRET, "no"], default=SECRET)


async def show_it(runtime: ToolRuntime) -> dict[str, Any]:
    return await runtime.use_ui_tool("form", {"key": [SECRET]}, default={"key": SECRET})


async def report_it(runtime: ToolRuntime) -> str:
    await runtime.emit_business_event("LOGIN", f"by {SECRET}", key=SECRET)
    await runtime.progress(50, f"with {SECRET}")
    return "reported"


async def attach_it() -> ToolResult:
    return ToolResult("x", metadata={"key": SECRET})


@pytest.mark.parametrize("tool", [keep_it, ask_with_it, show_it, report_it, attach_it])
async def test_a_secret_of_the_environment_is_in_nothing_that_a_tool_hands_over(
    monkeypatch: pytest.MonkeyPatch, tool: Callable[..., Any]
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", SECRET)
    process_redactor.cache_clear()
    try:
        journal = MemoryJournal()
        lines: list[Turn] = [model_response(None, tool_call(tool.__name__, "c1")), "Done."]
        outcome = await TurnHarness(lines, [tool]).run(journal)
    finally:
        process_redactor.cache_clear()
    assert isinstance(outcome, Completed | Suspended)
    kept = "".join(event.model_dump_json() for event in journal.events) + str(journal.progress)
    assert SECRET not in kept
    assert "[redacted]" in kept
    for kind in (BusinessLogged, UiToolRequested, VariablesChanged):
        assert all(kind.model_validate(one.model_dump()) == one for one in journal.of(kind))
