"""A turn with lifecycle tools, hooks, and a structured output that is corrected once."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ag2.events import ModelMessageChunk
from ag2.testing import Turn

from contracts import event_log
from contracts.cache_seed import turn_key
from contracts.codec import Origin
from contracts.event_log import EMPTY
from contracts.events.chat import ChatStarted
from contracts.events.human import UiToolRequested
from contracts.events.turn import (
    ConversationProcessed,
    ModelRequested,
    ModelResponded,
    NewMessages,
    OutputStructured,
    ToolInvoked,
    ToolReturned,
    VariablesChanged,
)
from services.orchestrator.agents.execution.hooks import Hooks
from services.orchestrator.domain.turn_steps import Completed, Failed, Outcome
from services.orchestrator.workflows.spec import (
    Agent,
    Hook,
    HookKind,
    Output,
    OutputInvalidError,
    Tool,
    ToolUi,
)
from tests.orchestrator.agents.turn_harness import (
    OPEN_TURN,
    MemoryJournal,
    TurnHarness,
    function_of,
    model_response,
    request_digests,
    responses,
    tool_call,
)
from tests.story import ANA, KEY, NEWSROOM, NOON, WRITER, given, heard, speaks
from workflows.tooling import ToolRuntime

RUNS: Counter[str] = Counter()
"""How often each function was started."""
GOOD = '{"bread": "rye", "agent_message": "A card."}'
KEY_OF_TURN = turn_key(KEY.chat, 1)


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


def open_till(context_variables: dict[str, Any]) -> None:
    RUNS["open_till"] += 1
    context_variables["till"] = "open"


async def close_till(runtime: ToolRuntime) -> str:
    RUNS["close_till"] += 1
    raise OSError(f"{runtime.agent} lost the key of /var/lib/till")


async def show(bread: str, runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    RUNS["show"] += 1
    answer = await runtime.ask(f"One {bread}?")
    context_variables["answer"] = answer
    return answer


def parse(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        raise OutputInvalidError("bread: Field required")
    data: dict[str, Any] = json.loads(text)
    return data


def tool(function: Callable[..., Any], **options: Any) -> Tool:
    return Tool(function.__name__, "", Path("tools.py"), function.__name__, **options)


SHOW = tool(show, auto_invoke=True, ui=ToolUi("Card", "inline"))
OPEN, CLOSE = tool(open_till), tool(close_till)
SELLER = Agent(
    WRITER,
    "You sell.",
    tools=(SHOW,),
    output=Output("Order", {}, parse),
    output_required=True,
    auto_tool_mode=True,
    before_tools=(OPEN,),
    after_tools=(CLOSE,),
    hooks=(Hook("update_agent_state", Path("hooks.py"), "name_till"),),
)
FUNCTIONS = {
    SHOW: function_of(show, SHOW),
    OPEN: function_of(open_till, OPEN),
    CLOSE: function_of(close_till, CLOSE),
}


def name_till(agent: Any, messages: list[dict[str, Any]]) -> None:
    RUNS["name_till"] += 1
    agent.update_system_message(f"{agent.system_message} The till is {len(messages)}.")
    agent.context_variables["named"] = True


def hooks(*functions: tuple[HookKind, Callable[..., Any]]) -> Hooks:
    return Hooks(functions)


LINES: list[Turn] = [
    ModelMessageChunk("I would "),
    ModelMessageChunk("say rye."),
    model_response("I would say rye."),
    ModelMessageChunk(GOOD),
    model_response(GOOD),
]


def harness() -> TurnHarness:
    agent_hooks = hooks(("update_agent_state", name_till))
    return TurnHarness(LINES, agent=SELLER, functions=FUNCTIONS, hooks=agent_hooks)


async def run_to_end(journal: MemoryJournal) -> tuple[Outcome, list[str]]:
    turn = harness()
    return await turn.run_answering(journal), turn.sent_digests


async def test_a_turn_runs_its_lifecycle_tools_and_hooks_once_and_in_order() -> None:
    journal = MemoryJournal()
    outcome, _ = await run_to_end(journal)
    assert outcome == Completed(GOOD, None)
    assert RUNS == {
        "open_till": 1,
        "name_till": 1,
        "show": 2,
        "close_till": 1,
    }  # show runs again with the answer
    invoked = [(one.name, one.occasion) for one in journal.of(ToolInvoked)]
    assert invoked == [
        ("open_till", "before_agent"),
        ("show", "auto_invoke"),
        ("close_till", "after_agent"),
    ]
    returned = {one.tool_call_id: one for one in journal.of(ToolReturned)}
    assert returned[KEY_OF_TURN].status == "ok"
    assert returned["after_agent-0"].error == "OSError: Writer lost the key of till"
    (output,) = journal.of(OutputStructured)
    assert (output.model_name, output.data["bread"]) == ("Order", "rye")
    variables = journal.state.variables
    assert (variables["till"], variables["named"], variables["answer"]) == ("open", True, "red")


async def test_an_invalid_output_is_corrected_in_the_same_conversation() -> None:
    journal = MemoryJournal()
    await run_to_end(journal)
    first, second = journal.of(ModelRequested)
    assert first.prompt == ["You write. The till is 1."]
    assert "bread: Field required" in str(second.parts)
    assert second.prompt == first.prompt


async def test_the_text_of_an_agent_in_auto_tool_mode_is_hidden() -> None:
    journal = MemoryJournal()
    await run_to_end(journal)
    assert journal.shown == []
    assert all(response.hidden for response in journal.of(ModelResponded))


async def test_a_turn_interrupted_after_any_append_ends_the_same_and_repeats_nothing() -> None:
    uninterrupted = MemoryJournal()
    outcome, sent = await run_to_end(uninterrupted)
    assert request_digests(uninterrupted) == sent
    for cut in range(len(uninterrupted.batches) + 1):
        RUNS.clear()
        story = OPEN_TURN.then(*(event for batch in uninterrupted.batches[:cut] for event in batch))
        turn = story.state.open_turn
        assert turn is not None
        finished = {one.name for one in turn.tool_results.values()}
        resumed = MemoryJournal(story)
        assert await run_to_end(resumed) == (outcome, sent[responses(story) :]), cut
        assert resumed.state.variables == uninterrupted.state.variables, cut
        assert resumed.story.transcript == uninterrupted.story.transcript, cut
        assert not finished & set(RUNS), cut
        assert RUNS["name_till"] == (turn.processed is None), cut


async def test_a_hook_gets_all_messages_and_decides_what_the_model_reads() -> None:
    seen: list[Any] = []

    def shorten(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        seen.extend(messages)
        return [{"role": "user", "name": "user", "content": "Only this."}]

    async def louder(content: str) -> str:
        return content.upper()

    agent_hooks = hooks(
        ("process_all_messages_before_reply", shorten), ("process_last_received_message", louder)
    )
    agent = Agent(WRITER, "", hooks=(Hook("process_last_received_message", Path(), ""),))
    journal = MemoryJournal()
    assert await TurnHarness(["Rye."], agent=agent, hooks=agent_hooks).run(journal) == Completed(
        "Rye.", None
    )
    assert seen == [{"role": "user", "name": "user", "content": "Write about rain."}]
    (processed,) = journal.of(ConversationProcessed)
    only = {"role": "user", "name": "user", "content": "ONLY THIS."}
    assert processed.changes == [NewMessages(messages=[only])]
    assert "ONLY THIS." in str(journal.of(ModelRequested)[0].parts)


def undecorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """As a decorator that does not say that the function is async."""
    return lambda *arguments: function(*arguments)


async def test_a_hook_whose_decorator_hides_that_it_is_async_is_awaited() -> None:
    async def louder(content: str) -> str:
        return content.upper()

    agent_hooks = hooks(("process_last_received_message", undecorated(louder)))
    agent = Agent(WRITER, "", hooks=(Hook("process_last_received_message", Path(), ""),))
    journal = MemoryJournal()
    await TurnHarness(["Rye."], agent=agent, hooks=agent_hooks).run(journal)
    assert "WRITE ABOUT RAIN." in str(journal.of(ModelRequested)[0].parts)


def label(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        message["content"] += " (read)"


def rewrite(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**message, "content": message["content"].upper()} for message in messages]


@pytest.mark.parametrize(("hook", "size"), [(label, 5_000), (rewrite, 800_000)])
async def test_hooks_change_messages_of_more_than_a_megabyte(
    hook: Callable[..., Any], size: int
) -> None:
    story = given(
        ChatStarted(user_id=ANA, seed=7),
        *(heard(f"{n} {'word ' * 48_000}") for n in range(5)),
        speaks(),
    )
    agent = Agent(WRITER, "", hooks=(Hook("process_all_messages_before_reply", Path(), ""),))
    agent_hooks = hooks(("process_all_messages_before_reply", hook))
    harness = TurnHarness(["Rye."], agent=agent, hooks=agent_hooks)
    journal = MemoryJournal(story)
    assert await harness.run(journal) == Completed("Rye.", None)
    (processed,) = journal.of(ConversationProcessed)
    decision = event_log.seal([processed], EMPTY, [Origin(KEY, NEWSROOM.name, NOON, "c")])
    assert len(decision.data) < size
    sent = journal.of(ModelRequested)[0].parts
    assert str(sent).count("(read)" if hook is label else "WORD") >= 1
    # Another process continues before the request, and sends the same.
    resumed = MemoryJournal(story.then(processed))
    assert await harness.run(resumed) == Completed("Rye.", None)
    assert request_digests(resumed) == request_digests(journal)


async def test_a_hook_edits_an_answer_before_it_is_shown() -> None:
    def redact(sender: Any, message: str, recipient: Any, silent: object) -> str:
        assert (sender.name, recipient.name, silent) == ("Writer", "user", False)
        return message.replace("4711", "****")

    journal = MemoryJournal()
    lines: list[Turn] = [ModelMessageChunk("It is "), ModelMessageChunk("4711."), "It is 4711."]
    harness = TurnHarness(lines, hooks=hooks(("process_message_before_send", redact)))
    assert await harness.run(journal) == Completed("It is ****.", None)
    assert "4711" not in str(journal.shown) + str(journal.events)


async def test_half_a_character_in_a_hooks_text_is_replaced() -> None:
    def cut(_: Any, message: str, __: Any, ___: object) -> str:
        return f"{message} \ud83d"

    journal = MemoryJournal()
    harness = TurnHarness(["Rye."], hooks=hooks(("process_message_before_send", cut)))
    assert await harness.run(journal) == Completed("Rye. \ufffd", None)
    (responded,) = journal.of(ModelResponded)
    assert responded.model_dump_json()


@pytest.mark.parametrize(
    "made",
    [b"\xff", ["Rye."], iter(["Rye."]), object(), {"content": b"Rye."}, ValueError("no")],
    ids=["bytes", "list", "iterator", "object", "message", "raised"],
)
async def test_a_hook_that_makes_no_text_of_an_answer_fails_the_turn_and_nothing_is_shown(
    made: Any,
) -> None:
    def break_(_: Any, __: str, ___: Any, ____: object) -> Any:
        if isinstance(made, Exception):
            raise made
        return made

    journal = MemoryJournal()
    harness = TurnHarness(["Rye."], hooks=hooks(("process_message_before_send", break_)))
    outcome = await harness.run(journal)
    assert isinstance(outcome, Failed)
    assert outcome.code == "HOOK_FAILED"
    assert not journal.shown
    assert not journal.of(ModelResponded)


@pytest.mark.parametrize("made", ["nothing", [], [{"role": "tool", "content": "x"}], [1]])
async def test_a_hook_that_fails_or_returns_no_conversation_fails_the_turn_with_a_message(
    made: Any,
) -> None:
    def break_(_: list[dict[str, Any]]) -> Any:
        if made == "nothing":
            raise ValueError("no way at /srv/hooks/a.py with sk-abcdefghijklmnopqrstuvwx")
        return made

    agent = Agent(WRITER, "", hooks=(Hook("process_all_messages_before_reply", Path(), ""),))
    agent_hooks = hooks(("process_all_messages_before_reply", break_))
    outcome = await TurnHarness(["Rye."], agent=agent, hooks=agent_hooks).run(MemoryJournal())
    assert isinstance(outcome, Failed)
    assert outcome.code == "HOOK_FAILED"
    assert "/srv" not in outcome.message
    assert "sk-" not in outcome.message


async def test_a_reply_that_may_become_hidden_is_not_streamed() -> None:
    hiding = Agent(WRITER, "", hidden=frozenset({"ORDERED"}))
    signal: list[Turn] = [ModelMessageChunk("ORD"), ModelMessageChunk("ERED"), "ORDERED\n"]
    journal = MemoryJournal()
    await TurnHarness(signal, agent=hiding).run(journal)
    assert journal.shown == []
    assert [response.hidden for response in journal.of(ModelResponded)] == [True]
    words: list[Turn] = [ModelMessageChunk("ORD"), ModelMessageChunk("ER it."), "ORDER it."]
    journal = MemoryJournal()
    await TurnHarness(words, agent=hiding).run(journal)
    assert journal.shown == [(0, 0, "ORDER it.")]
    assert [response.hidden for response in journal.of(ModelResponded)] == [False]


async def test_variables_set_from_outside_reach_the_tools_of_a_running_turn() -> None:
    journal, seen = MemoryJournal(), []

    def first(context_variables: dict[str, Any]) -> str:
        context_variables["mine"] = 1
        journal.add(VariablesChanged(turn=1, agent=WRITER, changed={"theirs": 2, "mine": 3}))
        return "done"

    def second(context_variables: dict[str, Any]) -> str:
        seen.append(dict(context_variables))
        return "done"

    lines: list[Turn] = [
        model_response(None, tool_call("first", "c1")),
        model_response(None, tool_call("second", "c2")),
        "Done.",
    ]
    await TurnHarness(lines, [first, second]).run(journal)
    assert (seen[0]["theirs"], seen[0]["mine"]) == (2, 1)


async def test_a_ui_tool_is_displayed_as_its_manifest_says() -> None:
    async def pick(runtime: ToolRuntime) -> str:
        return str(await runtime.use_ui_tool("pick", {"colours": 2}))

    declared = tool(pick, ui=ToolUi("ColourPicker", "artifact"))
    invoked = replace(
        SELLER, auto_tool_mode=False, output=None, output_required=False, after_tools=()
    )
    agent = replace(invoked, before_tools=(declared,), hooks=())
    journal = MemoryJournal()
    functions = {declared: function_of(pick, declared)}
    await TurnHarness(["Rye."], agent=agent, functions=functions).run(journal)
    (shown,) = journal.of(UiToolRequested)
    assert (shown.component, shown.display) == ("ColourPicker", "artifact")
