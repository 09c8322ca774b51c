"""What a turn needs next: around the agent, from the agent, and with what it said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.events import Event
from contracts.events.human import HumanAsked
from contracts.events.parts import TextPart
from contracts.events.turn import (
    RUNTIME,
    ConversationProcessed,
    ModelRequested,
    OutputStructured,
    ToolInvoked,
    ToolReturned,
)
from contracts.seed import turn_key
from contracts.subjects import question
from services.orchestrator.state import CallAround, RunTurn, pending
from services.orchestrator.turns import (
    OUTPUT_TRIES,
    Broke,
    Capture,
    Done,
    Invoke,
    Process,
    Spoke,
    Step,
    Talk,
    next_step,
)
from services.orchestrator.workflows.spec import (
    Agent,
    Hook,
    Interface,
    Output,
    OutputInvalidError,
    Tool,
    Workflow,
)
from tests.story import CANCEL, EDITOR, KEY, NEWSROOM, STARTED, WRITER, calls, given, says, speaks


def parse(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        raise OutputInvalidError("bread: Field required")
    told: dict[str, Any] = json.loads(text)
    return told


def tool(name: str) -> Tool:
    return Tool(name, "", Path("tools.py"), name)


ORDER = Output("Order", {}, parse)
SHOW = replace(tool("show"), auto_invoke=True, interface=Interface("Card", "artifact"))
PLAIN = Agent(WRITER, "Write.")
STRICT = replace(PLAIN, output=ORDER, output_required=True)
AUTO = replace(STRICT, auto_tool_mode=True, tools=(tool("other"), SHOW))
KEY_OF_TURN = turn_key(KEY.chat, 1)
GOOD = '{"bread": "rye", "agent_message": "Here you are."}'


def after(agent: Agent, *told: Event) -> Step:
    turn = given(STARTED, speaks(), *told).state.open
    assert turn is not None
    return next_step(turn, agent, KEY.chat)


def returned(call: str, occasion: Any = None, **more: Any) -> ToolReturned:
    return ToolReturned(
        turn=1,
        call=0,
        agent=WRITER,
        tool_call_id=call,
        name="a",
        status="ok",
        occasion=occasion,
        **more,
    )


STRUCTURED = OutputStructured(
    turn=1, agent=WRITER, model_name="Order", data=parse(GOOD), auto_tool_mode=True
)


def test_a_turn_begins_with_its_model_and_ends_with_what_it_says() -> None:
    assert after(PLAIN) == Talk()
    assert after(PLAIN, says("Rye.")) == Done(Spoke("Rye.", None))


def test_a_model_goes_on_until_its_tools_are_done_and_it_has_spoken() -> None:
    assert after(PLAIN, calls("a", "b")) == Talk()
    assert after(PLAIN, calls("a", "b"), returned("call-1")) == Talk()
    assert after(PLAIN, calls("a"), returned("call-1")) == Talk()
    assert after(PLAIN, calls("a"), returned("call-1"), says("Rye.", call=1)) == Done(
        Spoke("Rye.", None)
    )


def test_the_first_final_result_in_the_order_of_calls_ends_the_turn() -> None:
    hands = {"final": True, "metadata": {"handoff": str(EDITOR)}, "parts": [TextPart(text="over")]}
    late = returned("call-2", **{**hands, "metadata": {}})
    early = returned("call-1", **hands)
    assert after(PLAIN, calls("a", "b"), late) == Talk()
    assert after(PLAIN, calls("a", "b"), late, early) == Done(Spoke("over", EDITOR))


def test_an_answer_that_misses_its_model_is_asked_for_again_within_a_bound() -> None:
    step = after(STRICT, says("Rye."))
    assert isinstance(step, Talk)
    assert "bread: Field required" in (step.again or "")
    missed = [says("Rye.", call=number) for number in range(OUTPUT_TRIES)]
    assert isinstance(after(STRICT, *missed[:-1]), Talk)
    broke = after(STRICT, *missed)
    assert isinstance(broke, Done)
    assert isinstance(broke.outcome, Broke)
    assert broke.outcome.code == "OUTPUT_INVALID"


def test_an_answer_that_meets_its_model_is_captured_once() -> None:
    step = after(STRICT, says("Rye."), says(GOOD, call=1))
    assert step == Capture(STRUCTURED.model_copy(update={"auto_tool_mode": False}))
    assert after(STRICT, says(GOOD), STRUCTURED) == Done(Spoke(GOOD, None))


def test_a_model_that_is_only_registered_captures_what_meets_it_and_asks_for_nothing() -> None:
    registered = replace(PLAIN, output=ORDER)
    assert after(registered, says("Rye.")) == Done(Spoke("Rye.", None))
    assert isinstance(after(registered, says(GOOD)), Capture)


def test_a_handoff_needs_no_output() -> None:
    hands = returned("call-1", final=True, metadata={"handoff": str(EDITOR)})
    assert after(STRICT, calls("a"), hands) == Done(Spoke("", EDITOR))


def test_the_runtime_calls_the_agents_tool_with_its_output_exactly_once() -> None:
    assert isinstance(after(AUTO, says(GOOD)), Capture)
    step = after(AUTO, says(GOOD), STRUCTURED)
    assert isinstance(step, Invoke)
    assert step.tool == SHOW
    assert step.call == ToolInvoked(
        turn=1,
        agent=WRITER,
        tool_call_id=KEY_OF_TURN,
        name="show",
        occasion="auto_invoke",
        arguments=parse(GOOD),
        component="Card",
        display="artifact",
        caption="Here you are.",
    )
    assert after(AUTO, says(GOOD), STRUCTURED, step.call) == step
    done = returned(KEY_OF_TURN, "auto_invoke")
    assert after(AUTO, says(GOOD), STRUCTURED, step.call, done) == Done(Spoke(GOOD, None))


def test_a_key_of_a_turn_is_what_it_was_in_the_original() -> None:
    assert turn_key("chat_abc123", 7) == "turn-16720159d78a5555b934fefc8d9d35f5"


def test_a_turn_waits_while_the_tool_that_the_runtime_called_waits_for_the_person() -> None:
    invoked = ToolInvoked(
        turn=1, agent=WRITER, tool_call_id=KEY_OF_TURN, name="show", occasion="auto_invoke"
    )
    asked = HumanAsked(
        question_id=question(KEY, 1, KEY_OF_TURN, 0),
        turn=1,
        agent=WRITER,
        tool_call_id=KEY_OF_TURN,
        ordinal=0,
        prompt="Well?",
    )
    story = given(STARTED, speaks(), says(GOOD), STRUCTURED, invoked)
    assert pending(story.state) == RunTurn(1)
    assert pending(story.then(asked).state) is None


def test_tools_around_an_agent_are_called_in_order_each_once() -> None:
    agent = replace(PLAIN, before=(tool("a"), tool("b")), after=(tool("c"),))
    told: list[Event] = []
    names = []
    while not isinstance(step := after(agent, *told), Done):
        if isinstance(step, Invoke):
            names.append(step.call.name)
            told += [step.call, returned(step.call.tool_call_id, step.call.occasion)]
        else:
            names.append("talk")
            told.append(says("Rye."))
    assert names == ["a", "b", "talk", "c"]


def test_hooks_see_the_conversation_before_the_first_request_and_only_then() -> None:
    hook = Hook("process_all_messages_before_reply", Path("hooks.py"), "shorten")
    agent = replace(PLAIN, hooks=(hook,))
    asked = ModelRequested(turn=1, call=0, agent=WRITER, prompt=["Write."], digest="00")
    processed = ConversationProcessed(turn=1, agent=WRITER, messages=[], prompt="Write.")
    assert after(agent) == Process()
    assert after(agent, processed) == Talk()
    assert after(agent, asked) == Talk()
    edits = replace(PLAIN, hooks=(replace(hook, kind="process_message_before_send"),))
    assert after(edits) == Talk()


AROUND = replace(NEWSROOM, before_chat=(tool("open"),), after_chat=(tool("close"),))


def around(call: str, occasion: Any) -> ToolReturned:
    named = {"turn": 0, "agent": RUNTIME, "tool_call_id": call, "occasion": occasion}
    return returned("x").model_copy(update=named)


@pytest.mark.parametrize("workflow", [AROUND, replace(AROUND, startup_mode="UserDriven")])
def test_the_tools_before_a_chat_go_first_and_those_after_it_last(workflow: Workflow) -> None:
    started = STARTED.model_copy(update={"before_chat": ["open"], "after_chat": ["close"]})
    began = given(started, speaks())
    opened = began.then(around("before_chat-0", "before_chat"))
    assert pending(given().state) is None
    assert pending(began.state) == CallAround("before_chat")
    assert pending(opened.state) == RunTurn(1)
    ended = opened.under(workflow).then(CANCEL)
    assert pending(ended.state) == CallAround("after_chat")
    closed = ended.then(around("after_chat-0", "after_chat"))
    assert pending(closed.state) is None
    assert closed.state.ended == "cancelled"
