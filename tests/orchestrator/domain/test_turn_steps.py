"""The next step of a turn: tools before and after, model calls, structured output."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.cache_seed import turn_key
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
from contracts.subjects import question
from services.orchestrator.domain.state import RunLifecycleTools, RunTurn, pending
from services.orchestrator.domain.turn_steps import (
    MAX_OUTPUT_ATTEMPTS,
    CallModel,
    Completed,
    EndTurn,
    Failed,
    InvokeTool,
    ProcessConversation,
    RecordOutput,
    Step,
    next_step,
)
from services.orchestrator.workflows.spec import (
    Agent,
    Hook,
    Output,
    OutputInvalidError,
    Tool,
    ToolUi,
    Workflow,
)
from tests.story import CANCEL, EDITOR, KEY, NEWSROOM, STARTED, WRITER, calls, given, says, speaks


def parse(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        raise OutputInvalidError("bread: Field required")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def tool(name: str) -> Tool:
    return Tool(name, "", Path("tools.py"), name)


ORDER = Output("Order", {}, parse)
SHOW = replace(tool("show"), auto_invoke=True, ui=ToolUi("Card", "artifact"))
PLAIN = Agent(WRITER, "Write.")
STRICT = replace(PLAIN, output=ORDER, output_required=True)
AUTO = replace(STRICT, auto_tool_mode=True, tools=(tool("other"), SHOW))
KEY_OF_TURN = turn_key(KEY.chat, 1)
GOOD = '{"bread": "rye", "agent_message": "Here you are."}'


def after(agent: Agent, *events: Event) -> Step:
    turn = given(STARTED, speaks(), *events).state.open_turn
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


def test_a_turn_starts_with_a_model_call_and_ends_with_its_reply() -> None:
    assert after(PLAIN) == CallModel()
    assert after(PLAIN, says("Rye.")) == EndTurn(Completed("Rye.", None))


def test_the_model_is_called_until_its_tools_are_done_and_it_has_replied() -> None:
    assert after(PLAIN, calls("a", "b")) == CallModel()
    assert after(PLAIN, calls("a", "b"), returned("call-1")) == CallModel()
    assert after(PLAIN, calls("a"), returned("call-1")) == CallModel()
    assert after(PLAIN, calls("a"), returned("call-1"), says("Rye.", call=1)) == EndTurn(
        Completed("Rye.", None)
    )


def test_the_first_final_result_in_the_order_of_calls_ends_the_turn() -> None:
    hands = {"final": True, "metadata": {"handoff": str(EDITOR)}, "parts": [TextPart(text="over")]}
    late = returned("call-2", **{**hands, "metadata": {}})
    early = returned("call-1", **hands)
    assert after(PLAIN, calls("a", "b"), late) == CallModel()
    assert after(PLAIN, calls("a", "b"), late, early) == EndTurn(Completed("over", EDITOR))


def test_a_reply_that_does_not_match_its_model_is_repeated_within_a_limit() -> None:
    step = after(STRICT, says("Rye."))
    assert isinstance(step, CallModel)
    assert "bread: Field required" in (step.correction or "")
    missed = [says("Rye.", call=number) for number in range(MAX_OUTPUT_ATTEMPTS)]
    assert isinstance(after(STRICT, *missed[:-1]), CallModel)
    broke = after(STRICT, *missed)
    assert isinstance(broke, EndTurn)
    assert isinstance(broke.outcome, Failed)
    assert broke.outcome.code == "OUTPUT_INVALID"


def test_a_reply_that_matches_its_model_is_recorded_once() -> None:
    step = after(STRICT, says("Rye."), says(GOOD, call=1))
    assert step == RecordOutput(STRUCTURED.model_copy(update={"auto_tool_mode": False}))
    assert after(STRICT, says(GOOD), STRUCTURED) == EndTurn(Completed(GOOD, None))


def test_an_optional_output_model_records_matching_replies_and_repeats_none() -> None:
    registered = replace(PLAIN, output=ORDER)
    assert after(registered, says("Rye.")) == EndTurn(Completed("Rye.", None))
    assert isinstance(after(registered, says(GOOD)), RecordOutput)


def test_a_handoff_needs_no_output() -> None:
    hands = returned("call-1", final=True, metadata={"handoff": str(EDITOR)})
    assert after(STRICT, calls("a"), hands) == EndTurn(Completed("", EDITOR))


def test_the_runtime_calls_the_auto_invoked_tool_exactly_once() -> None:
    assert isinstance(after(AUTO, says(GOOD)), RecordOutput)
    step = after(AUTO, says(GOOD), STRUCTURED)
    assert isinstance(step, InvokeTool)
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
    assert after(AUTO, says(GOOD), STRUCTURED, step.call, done) == EndTurn(Completed(GOOD, None))


def test_the_key_of_a_turn_is_that_of_the_original_runtime() -> None:
    assert turn_key("chat_abc123", 7) == "turn-16720159d78a5555b934fefc8d9d35f5"


def test_a_turn_is_suspended_while_a_tool_of_the_runtime_waits_for_the_user() -> None:
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


def test_tools_before_and_after_an_agent_are_called_once_in_order() -> None:
    agent = replace(PLAIN, before_tools=(tool("a"), tool("b")), after_tools=(tool("c"),))
    events: list[Event] = []
    names = []
    while not isinstance(step := after(agent, *events), EndTurn):
        if isinstance(step, InvokeTool):
            names.append(step.call.name)
            events += [step.call, returned(step.call.tool_call_id, step.call.occasion)]
        else:
            names.append("talk")
            events.append(says("Rye."))
    assert names == ["a", "b", "talk", "c"]


def test_hooks_process_the_conversation_only_before_the_first_request() -> None:
    hook = Hook("process_all_messages_before_reply", Path("hooks.py"), "shorten")
    agent = replace(PLAIN, hooks=(hook,))
    asked = ModelRequested(turn=1, call=0, agent=WRITER, prompt=["Write."], digest="00")
    processed = ConversationProcessed(turn=1, agent=WRITER, prompt="Write.")
    assert after(agent) == ProcessConversation()
    assert after(agent, processed) == CallModel()
    assert after(agent, asked) == CallModel()
    edits = replace(PLAIN, hooks=(replace(hook, kind="process_message_before_send"),))
    assert after(edits) == CallModel()


AROUND = replace(NEWSROOM, before_chat=(tool("open"),), after_chat=(tool("close"),))


def around(call: str, occasion: Any) -> ToolReturned:
    named = {"turn": 0, "agent": RUNTIME, "tool_call_id": call, "occasion": occasion}
    return returned("x").model_copy(update=named)


@pytest.mark.parametrize("workflow", [AROUND, replace(AROUND, startup_mode="UserDriven")])
def test_tools_before_a_chat_are_called_first_and_those_after_it_last(workflow: Workflow) -> None:
    started = STARTED.model_copy(update={"before_chat": ["open"], "after_chat": ["close"]})
    began = given(started, speaks())
    opened = began.then(around("before_chat-0", "before_chat"))
    assert pending(given().state) is None
    assert pending(began.state) == RunLifecycleTools("before_chat")
    assert pending(opened.state) == RunTurn(1)
    ended = opened.under(workflow).then(CANCEL)
    assert pending(ended.state) == RunLifecycleTools("after_chat")
    closed = ended.then(around("after_chat-0", "after_chat"))
    assert pending(closed.state) is None
    assert closed.state.ended == "cancelled"
