"""A turn with everything around it: lifecycle tools, hooks, an output that is missed once, its tool."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ag2.events import ModelMessageChunk
from ag2.testing import Turn

from contracts.events.human import UiToolRequested
from contracts.events.turn import (
    ConversationProcessed,
    ModelRequested,
    ModelResponded,
    OutputStructured,
    ToolInvoked,
    ToolReturned,
    VariablesChanged,
)
from contracts.seed import turn_key
from services.orchestrator.agents.hooks import Hooks
from services.orchestrator.projection import messages
from services.orchestrator.turns import Broke, Outcome, Spoke
from services.orchestrator.workflows.spec import (
    Agent,
    Hook,
    HookKind,
    Interface,
    Output,
    OutputInvalidError,
    Tool,
)
from tests.orchestrator.agents.stage import (
    BEGUN,
    MemoryJournal,
    Stage,
    call,
    function_of,
    requests,
    responses,
    says,
)
from tests.story import KEY, WRITER
from workflows.tooling import ToolRuntime

RUNS: Counter[str] = Counter()
"""How often each function has begun."""
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
    told: dict[str, Any] = json.loads(text)
    return told


def tool(work: Callable[..., Any], **more: Any) -> Tool:
    return Tool(work.__name__, "", Path("tools.py"), work.__name__, **more)


SHOW = tool(show, auto_invoke=True, interface=Interface("Card", "inline"))
OPEN, CLOSE = tool(open_till), tool(close_till)
SELLER = Agent(
    WRITER,
    "You sell.",
    tools=(SHOW,),
    output=Output("Order", {}, parse),
    output_required=True,
    auto_tool_mode=True,
    before=(OPEN,),
    after=(CLOSE,),
    hooks=(Hook("update_agent_state", Path("hooks.py"), "name_till"),),
)
FUNCTIONS = {
    SHOW: function_of(show, SHOW),
    OPEN: function_of(open_till, OPEN),
    CLOSE: function_of(close_till, CLOSE),
}


def name_till(agent: Any, told: list[dict[str, Any]]) -> None:
    RUNS["name_till"] += 1
    agent.update_system_message(f"{agent.system_message} The till is {len(told)}.")
    agent.context_variables["named"] = True


def hooks(*functions: tuple[HookKind, Callable[..., Any]]) -> Hooks:
    return Hooks(functions)


LINES: list[Turn] = [
    ModelMessageChunk("I would "),
    ModelMessageChunk("say rye."),
    says("I would say rye."),
    ModelMessageChunk(GOOD),
    says(GOOD),
]


def stage() -> Stage:
    shaped = hooks(("update_agent_state", name_till))
    return Stage(LINES, agent=SELLER, functions=FUNCTIONS, hooks=shaped)


async def played(journal: MemoryJournal) -> tuple[Outcome, list[str]]:
    told = stage()
    return await told.play(journal), told.heard


async def test_a_turn_passes_everything_around_it_once_and_in_order() -> None:
    journal = MemoryJournal()
    outcome, _ = await played(journal)
    assert outcome == Spoke(GOOD, None)
    assert RUNS == {"open_till": 1, "name_till": 1, "show": 2, "close_till": 1}  # asks, is answered
    invoked = [(one.name, one.occasion) for one in journal.of(ToolInvoked)]
    assert invoked == [
        ("open_till", "before_agent"),
        ("show", "auto_invoke"),
        ("close_till", "after_agent"),
    ]
    returned = {one.tool_call_id: one for one in journal.of(ToolReturned)}
    assert returned[KEY_OF_TURN].status == "ok"
    assert returned["after_agent-0"].error == "OSError: Writer lost the key of till"
    (captured,) = journal.of(OutputStructured)
    assert (captured.model_name, captured.data["bread"]) == ("Order", "rye")
    variables = journal.state.variables
    assert (variables["till"], variables["named"], variables["answer"]) == ("open", True, "red")


async def test_the_model_is_asked_again_in_words_and_remembers_it() -> None:
    journal = MemoryJournal()
    await played(journal)
    first, second = journal.of(ModelRequested)
    assert first.prompt == ["You write. The till is 1."]
    assert "bread: Field required" in str(second.parts)
    assert second.prompt == first.prompt


async def test_what_an_agent_in_tool_mode_says_is_shown_to_nobody() -> None:
    journal = MemoryJournal()
    await played(journal)
    assert journal.shown == []
    assert all(said.hidden for said in journal.of(ModelResponded))


async def test_a_turn_cut_at_every_append_ends_the_same_and_repeats_nothing_finished() -> None:
    whole = MemoryJournal()
    outcome, sent = await played(whole)
    assert requests(whole) == sent
    for cut in range(len(whole.batches) + 1):
        RUNS.clear()
        story = BEGUN.then(*(event for batch in whole.batches[:cut] for event in batch))
        turn = story.state.open
        assert turn is not None
        finished = {one.name for one in turn.returned.values()}
        resumed = MemoryJournal(story)
        assert await played(resumed) == (outcome, sent[responses(story) :]), cut
        assert resumed.state.variables == whole.state.variables, cut
        assert messages(resumed.state) == messages(whole.state), cut
        assert not finished & set(RUNS), cut
        assert RUNS["name_till"] == (turn.processed is None), cut


async def test_a_hook_sees_all_messages_and_decides_what_the_model_reads() -> None:
    seen: list[Any] = []

    def shorten(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
        seen.extend(told)
        return [{"role": "user", "name": "user", "content": "Only this."}]

    async def louder(content: str) -> str:
        return content.upper()

    shaped = hooks(
        ("process_all_messages_before_reply", shorten), ("process_last_received_message", louder)
    )
    agent = Agent(WRITER, "", hooks=(Hook("process_last_received_message", Path(), ""),))
    journal = MemoryJournal()
    assert await Stage(["Rye."], agent=agent, hooks=shaped).run(journal) == Spoke("Rye.", None)
    assert seen == [{"role": "user", "name": "user", "content": "Write about rain."}]
    (processed,) = journal.of(ConversationProcessed)
    assert processed.messages == [{"role": "user", "name": "user", "content": "ONLY THIS."}]
    assert "ONLY THIS." in str(journal.of(ModelRequested)[0].parts)


async def test_a_hook_edits_what_an_agent_says_before_anyone_hears_it() -> None:
    def redact(sender: Any, message: str, recipient: Any, silent: object) -> str:
        assert (sender.name, recipient.name, silent) == ("Writer", "user", False)
        return message.replace("4711", "****")

    journal = MemoryJournal()
    lines: list[Turn] = [ModelMessageChunk("It is "), ModelMessageChunk("4711."), "It is 4711."]
    told = Stage(lines, hooks=hooks(("process_message_before_send", redact)))
    assert await told.run(journal) == Spoke("It is ****.", None)
    assert "4711" not in str(journal.shown) + str(journal.events)


@pytest.mark.parametrize("made", ["nothing", [{"role": "tool", "content": "x"}], [1]])
async def test_a_hook_that_fails_or_makes_no_conversation_ends_the_turn_in_words(made: Any) -> None:
    def break_(_: list[dict[str, Any]]) -> Any:
        if made == "nothing":
            raise ValueError("no way at /srv/hooks/a.py")
        return made

    agent = Agent(WRITER, "", hooks=(Hook("process_all_messages_before_reply", Path(), ""),))
    shaped = hooks(("process_all_messages_before_reply", break_))
    outcome = await Stage(["Rye."], agent=agent, hooks=shaped).run(MemoryJournal())
    assert isinstance(outcome, Broke)
    assert outcome.code == "HOOK_FAILED"
    assert "/srv" not in outcome.message


async def test_a_reply_that_is_to_be_hidden_is_held_back_while_it_may_become_it() -> None:
    hiding = Agent(WRITER, "", hidden=frozenset({"ORDERED"}))
    signal: list[Turn] = [ModelMessageChunk("ORD"), ModelMessageChunk("ERED"), "ORDERED\n"]
    journal = MemoryJournal()
    await Stage(signal, agent=hiding).run(journal)
    assert journal.shown == []
    assert [said.hidden for said in journal.of(ModelResponded)] == [True]
    words: list[Turn] = [ModelMessageChunk("ORD"), ModelMessageChunk("ER it."), "ORDER it."]
    journal = MemoryJournal()
    await Stage(words, agent=hiding).run(journal)
    assert journal.shown == [(0, 0, "ORDER it.")]
    assert [said.hidden for said in journal.of(ModelResponded)] == [False]


async def test_what_others_set_meanwhile_reaches_the_tools_of_a_turn_that_goes_on() -> None:
    journal, seen = MemoryJournal(), []

    def first(context_variables: dict[str, Any]) -> str:
        context_variables["mine"] = 1
        journal.add(VariablesChanged(turn=1, agent=WRITER, changed={"theirs": 2, "mine": 3}))
        return "done"

    def second(context_variables: dict[str, Any]) -> str:
        seen.append(dict(context_variables))
        return "done"

    lines: list[Turn] = [
        says(None, call("first", "c1")),
        says(None, call("second", "c2")),
        "Done.",
    ]
    await Stage(lines, [first, second]).run(journal)
    assert (seen[0]["theirs"], seen[0]["mine"]) == (2, 1)


async def test_a_ui_tool_is_shown_as_its_manifest_says() -> None:
    async def pick(runtime: ToolRuntime) -> str:
        return str(await runtime.use_ui_tool("pick", {"colours": 2}))

    declared = tool(pick, interface=Interface("ColourPicker", "artifact"))
    invoked = replace(SELLER, auto_tool_mode=False, output=None, output_required=False, after=())
    agent = replace(invoked, before=(declared,), hooks=())
    journal = MemoryJournal()
    functions = {declared: function_of(pick, declared)}
    await Stage(["Rye."], agent=agent, functions=functions).run(journal)
    (shown,) = journal.of(UiToolRequested)
    assert (shown.component, shown.display) == ("ColourPicker", "artifact")
