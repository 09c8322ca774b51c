"""Members of a request that a provider refuses: it is asked again without, and not a third time with."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from contracts.events.turn import ModelResponded
from services.orchestrator.agents.models.openai_wire.refused_members import (
    MAX_ENTRIES,
    RefusedMembers,
)
from services.orchestrator.agents.models.providers import SharedByAgents
from services.orchestrator.domain.turn_steps import Completed, Failed
from tests.orchestrator.agents.execution.test_failed_model_calls import calling, look, streamed
from tests.orchestrator.agents.provider_stub import ANSWER, ErrorReply, ProviderStub, Reply, Rule
from tests.orchestrator.agents.provider_turn import PROVIDER, run_turn
from tests.orchestrator.agents.turn_harness import MemoryJournal
from tests.story import done, heard, speaks

PROVIDER_WITH_ALL = replace(PROVIDER, model="m", temperature=0.2, max_tokens=500)


def refusing(member: str, status: int, message: str, otherwise: Reply = ANSWER) -> Rule:
    def rule(body: Mapping[str, Any]) -> Reply:
        is_there = member in body or any(member in one for one in body["messages"])
        return ErrorReply(status, None, message) if is_there else otherwise

    return rule


REFUSALS = [
    (
        "stream_options",
        422,
        "[{'type': 'extra_forbidden', 'loc': ['body', 'stream_options', 'include_usage']}]",
        {},
    ),
    ("stream_options", 400, "Unrecognized request argument supplied: stream_options", {}),
    (
        "temperature",
        400,
        "Unsupported value: 'temperature' does not support 0.2 with this model.",
        {},
    ),
    (
        "max_tokens",
        400,
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        {"max_completion_tokens": 500},
    ),
]


@pytest.mark.parametrize(("member", "status", "message", "instead"), REFUSALS)
async def test_a_refused_member_is_left_out_from_then_on(
    member: str, status: int, message: str, instead: Mapping[str, Any]
) -> None:
    shared = SharedByAgents()
    with ProviderStub(refusing(member, status, message)).running() as stub:
        for _ in range(2):
            outcome, _ = await run_turn(stub, provider=PROVIDER_WITH_ALL, shared=shared)
            assert outcome == Completed("At last.", None)
        first, second, third = stub.bodies
    assert second == third == {k: v for k, v in first.items() if k != member} | dict(instead)


async def test_several_refused_members_are_found_one_after_the_other() -> None:
    def rule(body: Mapping[str, Any]) -> Reply:
        for member in ("stream_options", "temperature", "max_tokens", "max_completion_tokens"):
            if member in body:
                return ErrorReply(422, None, f"body.{member}: Extra inputs are not permitted")
        return ANSWER

    with ProviderStub(rule).running() as stub:
        outcome, _ = await run_turn(stub, provider=PROVIDER_WITH_ALL)
        assert stub.bodies[-1].keys() == {"model", "stream", "messages"}
        assert len(stub.bodies) == 5
    assert outcome == Completed("At last.", None)


@pytest.mark.parametrize(
    "message",
    [
        "temperature must be at most 1",
        "stream_options: something went wrong",
        "This model is not supported",
        "Unsupported parameter: 'top_k'",
    ],
)
async def test_another_error_is_none_of_a_member(message: str) -> None:
    with ProviderStub(ErrorReply(400, None, message)).running() as stub:
        outcome, _ = await run_turn(stub, provider=PROVIDER_WITH_ALL)
        assert len(stub.bodies) == 1
    assert isinstance(outcome, Failed)
    assert outcome.code == "MODEL_REQUEST_INVALID"


def test_what_is_remembered_is_bounded() -> None:
    refused = RefusedMembers()
    for number in range(2 * MAX_ENTRIES):
        refused.add("https://one.example", f"m{number}", "temperature")
    assert not refused.of("https://one.example", "m0")
    assert refused.of("https://one.example", f"m{2 * MAX_ENTRIES - 1}") == {"temperature"}


# -- reasoning that goes back ------------------------------------------------------------------

THINKING_CALL = streamed(
    {"reasoning_content": "I should "},
    {"reasoning_content": "look."},
    calling("look", "{}"),
    finish="tool_calls",
)


def deepseek(body: Mapping[str, Any]) -> Reply:
    """Refuses an assistant's message with calls and without its reasoning, as DeepSeek does."""
    for number, message in enumerate(body["messages"]):
        if "tool_calls" in message and "reasoning_content" not in message:
            text = f"Missing `reasoning_content` field in the assistant message at index {number}."
            return ErrorReply(400, "invalid_request_error", text)
    return ANSWER if body["messages"][-1]["role"] == "tool" else THINKING_CALL


async def test_a_provider_gets_the_reasoning_before_its_calls_back() -> None:
    with ProviderStub(deepseek).running() as stub:
        outcome, journal = await run_turn(stub, tools=[look])
        (message,) = [one for one in stub.bodies[-1]["messages"] if "tool_calls" in one]
        assert message["reasoning_content"] == "I should look."
        later = journal.story.then(done("At last.", 1), heard("Again."), speaks(turn=2))
        await run_turn(stub, journal=_Journal(later), tools=[look])
        assert len(stub.bodies) == 4
    assert outcome == Completed("At last.", None)
    assert journal.of(ModelResponded)[0].native is not None


class _Journal(MemoryJournal):
    async def show(self, delta: Any) -> None:
        """Nobody watches."""


REASONING_REFUSED = [
    "property 'reasoning_content' is unsupported",
    "Please remove the reasoning_content from your message.",
    "messages.2.reasoning_content: Extra inputs are not permitted",
]


@pytest.mark.parametrize("message", REASONING_REFUSED)
async def test_a_provider_that_refuses_its_reasoning_does_not_get_it(message: str) -> None:
    rule: Callable[..., Reply] = refusing("reasoning_content", 400, message)
    with ProviderStub(THINKING_CALL, rule).running() as stub:
        outcome, _ = await run_turn(stub, tools=[look])
        assert len(stub.bodies) == 3
        assert not [one for one in stub.bodies[-1]["messages"] if "reasoning_content" in one]
    assert outcome == Completed("At last.", None)


async def test_reasoning_without_calls_is_kept_and_not_sent() -> None:
    thought = streamed({"reasoning_content": "Rain."}, {"content": "It rains."}, finish="stop")
    with ProviderStub(thought).running() as stub:
        _, journal = await run_turn(stub)
        later = journal.story.then(done("It rains.", 1), heard("Again."), speaks(turn=2))
        await run_turn(stub, journal=_Journal(later))
        assert "reasoning_content" not in str(stub.bodies)
    assert journal.of(ModelResponded)[0].native is not None
