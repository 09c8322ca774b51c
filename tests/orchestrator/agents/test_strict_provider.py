"""What strict providers refuse is found in the requests of every model that tests use."""

from typing import Any

import pytest
from ag2 import Agent
from ag2.events import ModelMessage, ModelRequest, ModelResponse, TextInput, ToolCallsEvent
from ag2.testing import TestConfig

from tests.orchestrator.agents.turn_harness import tool_call
from tests.strict_provider import refusals

USER = {"role": "user", "content": "rye"}


def calls(*named: tuple[str, str, str]) -> dict[str, Any]:
    """An assistant's message with calls, each of an id, a name and arguments."""
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": one, "type": "function", "function": {"name": name, "arguments": arguments}}
            for one, name, arguments in named
        ],
    }


def result(call: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": "sold"}


SELL = calls(("c1", "sell", "{}"))

ACCEPTED: dict[str, list[dict[str, Any]]] = {
    "a message": [{"role": "system", "content": "You sell."}, USER],
    "an image": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}],
    "a call and its result": [USER, SELL, result("c1")],
    "two calls whose results come in another order": [
        USER,
        calls(("c1", "sell", "{}"), ("c2", "weigh", "{}")),
        result("c2"),
        result("c1"),
    ],
}

REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "nothing but a prompt": ([{"role": "system", "content": "You sell."}], "nothing to answer"),
    "a null content": ([{**USER, "content": None}], "content is null"),
    "no content": ([USER, {"role": "assistant", "tool_calls": SELL["tool_calls"]}], "missing"),
    "an empty message": ([{**USER, "content": ""}], "empty content"),
    "an empty answer": ([USER, {"role": "assistant", "content": ""}], "without content and calls"),
    "half a character": ([{**USER, "content": "\ud83d"}], "half a character"),
    "no parts": ([{**USER, "content": []}], "no parts"),
    "an unknown part": ([{**USER, "content": [{"type": "video"}]}], "the part"),
    "an unknown role": ([{"role": "Clerk", "content": "rye"}], "the role 'Clerk'"),
    "an unknown member": ([{**USER, "agent": "Clerk"}], "the members ['agent']"),
    "a call without a result": ([USER, SELL, USER], "calls without results: ['c1']"),
    "a call without a result at the end": ([USER, SELL], "calls without results: ['c1']"),
    "a result without a call": ([USER, result("c1")], "the result of no call"),
    "a result twice": ([USER, SELL, result("c1"), result("c1")], "the result of no call"),
    "two calls with one id": (
        [USER, calls(("c1", "sell", "{}"), ("c1", "sell", "{}")), result("c1"), result("c1")],
        "the same id",
    ),
    "a long id": ([USER, calls(("c" * 41, "sell", "{}")), result("c" * 41)], "the id"),
    "a name with a dot": ([USER, calls(("c1", "a.b", "{}")), result("c1")], "the name 'a.b'"),
    "no name": ([USER, calls(("c1", "", "{}")), result("c1")], "the name ''"),
    "arguments that are a list": ([USER, calls(("c1", "sell", "[]")), result("c1")], "no object"),
    "no calls in a list of calls": ([USER, {**SELL, "tool_calls": []}], "tool_calls is empty"),
}


@pytest.mark.parametrize("messages", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_every_provider_accepts_is_accepted(messages: list[dict[str, Any]]) -> None:
    assert refusals({"messages": messages}) == []


@pytest.mark.parametrize(("messages", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_strict_provider_refuses_is_refused(
    messages: list[dict[str, Any]], why: str
) -> None:
    assert any(why in one for one in refusals({"messages": messages}))


@pytest.mark.parametrize("names", [["a b"], [""], ["sell", "sell"], ["s" * 65]])
def test_a_tool_whose_name_no_provider_takes_is_refused(names: list[str]) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    assert len(refusals({"messages": [USER], "tools": tools})) == 1


async def test_a_call_of_a_model_in_this_process_is_checked(strict_model_calls: list[str]) -> None:
    agent = Agent("Clerk", config=TestConfig("Sold."))
    unpaired = ModelResponse(
        ModelMessage("One moment."), tool_calls=ToolCallsEvent([tool_call("sell", "c1")])
    )
    await agent.resume(ModelRequest([TextInput("rye")]), unpaired, ModelRequest([TextInput("?")]))
    assert strict_model_calls == ["messages.3: calls without results: ['c1']"]
    strict_model_calls.clear()
