"""A chat is played in process as it runs on the servers: rules, tools, questions, timers, limits."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.events.chat import ChatCompleted, ChatFailed, TurnLimitReported
from contracts.events.human import HumanAnswered
from contracts.events.turn import SpeakerSelected, ToolReturned
from services.orchestrator.testkit import Answer, Component, Expire, PlayedChat, Say, play
from services.orchestrator.testkit.cassette import cassette_of, compared
from services.orchestrator.testkit.player import PlayError
from services.orchestrator.testkit.replay import replay_cassette
from services.orchestrator.workflows.loading import LoadedWorkflow, load

TILL = """
async def sell(bread: str, runtime, context_variables) -> str:
    answer = await runtime.ask(f"One {bread}?", expires_in=60, default="No")
    context_variables["sold"] = answer == "Yes"
    return answer
"""
LINES: list[str | dict[str, Any]] = [
    {"calls": [{"tool": "sell", "arguments": {"bread": "{user}"}}]},
    "So: {result}",
]


@pytest.fixture
def bakery(tmp_path: Path) -> Path:
    sections: dict[str, Any] = {
        "workflow": {
            "workflow_name": "Bakery",
            "orchestration_pattern": "default",
            "startup_mode": "UserDriven",
            "human_in_the_loop": True,
        },
        "agents": {"agents": {"Clerk": {}}},
        "handoffs": {"handoff_rules": [{"source_agent": "Clerk", "target_agent": "user"}]},
        "tools": {"tools": [{"agent": "Clerk", "file": "till.py", "function": "sell"}]},
        "context_variables": {
            "definitions": {
                "sold": {"source": {"type": "state"}},
                "tone": {"source": {"type": "state"}, "settable_by": "user"},
            }
        },
    }
    for stem, content in sections.items():
        (tmp_path / f"{stem}.json").write_text(json.dumps(content))
    (tmp_path / "till.py").write_text(TILL)
    return tmp_path


async def sale(bakery: Path, *inputs: Any, **options: Any) -> PlayedChat:
    return await play(bakery, inputs, replies={"Clerk": LINES}, **options)


async def test_a_tool_that_asks_is_answered_and_the_chat_waits_for_the_next_message(
    bakery: Path,
) -> None:
    chat = await sale(bakery, "rye", "Yes")
    assert chat.texts == ["So: Yes"]
    assert chat.variables["sold"] is True
    assert (chat.ended, chat.state.waits_for_user) == (None, True)
    assert [one.status for one in chat.of(ToolReturned)] == ["ok"]


async def test_the_same_chat_has_the_same_events_in_every_run(bakery: Path) -> None:
    first, second = await sale(bakery, "rye", "Yes"), await sale(bakery, "rye", "Yes")
    assert compared(first.events) == compared(second.events)
    times = [[fact.envelope.time for fact in chat.facts] for chat in (first, second)]
    assert times[0] == times[1]


async def test_a_question_that_expires_has_its_default(bakery: Path) -> None:
    chat = await sale(bakery, Say("rye"), Expire())
    assert chat.texts == ["So: No"]


async def test_a_client_sets_settable_variables_only(bakery: Path) -> None:
    chat = await sale(bakery, variables={"tone": "dry", "sold": True})
    assert (chat.variables["tone"], chat.variables["sold"]) == ("dry", None)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ((Answer("Yes"),), "input 1 is Answer.*the chat waits for a message"),
        (("rye", Component({"a": 1})), "input 2 is Component.*the answer to"),
        ((Expire(),), "input 1 is Expire"),
    ],
)
async def test_an_input_that_does_not_fit_is_named(
    bakery: Path, inputs: tuple[Any, ...], why: str
) -> None:
    with pytest.raises(PlayError, match=why):
        await sale(bakery, *inputs)


async def test_a_workflow_that_does_not_load_is_named_with_its_problems(tmp_path: Path) -> None:
    (tmp_path / "agents.json").write_text("{")
    with pytest.raises(PlayError, match=r"agents\.json"):
        await play(tmp_path)


async def test_a_chat_that_fails_is_played_to_its_failure(bakery: Path) -> None:
    endless = [LINES[0]] * 40
    chat = await play(bakery, ["rye", *["Yes"] * 40], replies={"Clerk": endless})
    (failed,) = chat.of(ChatFailed)
    assert failed.code == "CALL_LIMIT"


async def talk_in_a_circle(folder: Path, *inputs: str, human_in_the_loop: bool) -> PlayedChat:
    """Two agents that hand over to each other: five turns at most."""
    circle = [
        {"source_agent": "Clerk", "target_agent": "Baker"},
        {"source_agent": "Baker", "target_agent": "Clerk"},
    ]
    sections: dict[str, Any] = {
        "workflow": {
            "workflow_name": "Circle",
            "orchestration_pattern": "default",
            "max_turns": 5,
            "human_in_the_loop": human_in_the_loop,
        },
        "agents": {"agents": {"Clerk": {}, "Baker": {}}},
        "handoffs": {"handoff_rules": circle},
    }
    for stem, content in sections.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return await play(folder, inputs)


async def test_a_chat_with_a_user_warns_before_max_turns_waits_there_and_goes_on(
    tmp_path: Path,
) -> None:
    chat = await talk_in_a_circle(tmp_path, "Go on", human_in_the_loop=True)
    reported = [(one.turns, one.waits) for one in chat.of(TurnLimitReported)]
    assert reported == [(4, False), (5, True), (9, False), (10, True)]
    chosen = [(str(one.agent), str(one.by)) for one in chat.of(SpeakerSelected)]
    assert chosen.count(("user", "max_turns")) == 2
    assert len(chosen) == 12
    assert (chat.ended, chat.state.waits_for_user) == (None, True)


async def test_a_chat_without_a_user_ends_at_max_turns(tmp_path: Path) -> None:
    chat = await talk_in_a_circle(tmp_path, human_in_the_loop=False)
    assert chat.of(TurnLimitReported) == []
    assert [one.reason for one in chat.of(ChatCompleted)] == ["max_turns"]


async def test_a_model_ends_the_chat_by_a_rule_that_says_when(tmp_path: Path) -> None:
    ends = {
        "source_agent": "Clerk",
        "target_agent": "terminate",
        "handoff_type": "condition",
        "condition": "Everything is sold.",
    }
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Bakery", "orchestration_pattern": "round_robin"},
        "agents": {"agents": {"Clerk": {}}},
        "handoffs": {"handoff_rules": [ends]},
    }
    for stem, content in sections.items():
        (tmp_path / f"{stem}.json").write_text(json.dumps(content))
    lines: dict[str, Any] = {"Clerk": ["More?", {"calls": [{"tool": "transfer_to_terminate"}]}]}
    chat = await play(tmp_path, replies=lines)
    assert [one.reason for one in chat.of(ChatCompleted)] == ["terminate"]
    assert chat.texts[0] == "More?"


async def test_an_approval_of_others_is_decided_in_a_played_chat_and_its_recording(
    bakery: Path,
) -> None:
    approval = {
        "approvers": {"roles": ["baker"]},
        "allow_always": True,
        "escalation": {"after_seconds": 60, "users": ["zoe"]},
    }
    tool = {"agent": "Clerk", "file": "till.py", "function": "sell", "approval": approval}
    (bakery / "tools.json").write_text(json.dumps({"tools": [tool]}))
    inputs: list[Any] = [
        "rye",
        Answer("perhaps"),
        Answer("Too late", approved=False),
        "rye",
        Answer("always"),
    ]
    inputs += [Answer("Yes"), "rye", Answer("No")]
    chat = await play(bakery, inputs, replies={"Clerk": LINES * 3})
    assert [one.status for one in chat.of(ToolReturned)] == ["refused", "ok", "ok"]
    assert "The answer was: Too late" in chat.texts[0]
    answers = [(one.approved, one.always, one.role) for one in chat.of(HumanAnswered)]
    assert answers == [
        (None, False, "baker"),
        (False, False, "baker"),
        (True, True, "baker"),
        (None, False, None),  # what the tool itself asks
        (None, False, None),
    ]
    loaded = load(bakery)
    assert isinstance(loaded, LoadedWorkflow), loaded.problems
    recorded = cassette_of(chat.facts, loaded.workflow)
    again = await replay_cassette(bakery, recorded)
    assert compared(again.events) == recorded.events


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        (
            "context_variables['sold'] = 'x' * 9_000_000",
            "context variable sold has 9,000,002 bytes",
        ),
        ("await runtime.emit_business_event('A', 'x' * 2_000_000)", "a business event may have"),
        ("await runtime.ask('x' * 2_000_000)", "prompt: a question, with what it changes, may"),
    ],
)
async def test_what_no_log_could_keep_fails_its_call_as_in_the_product(
    bakery: Path, tool: str, error: str
) -> None:
    code = f"async def sell(bread: str, runtime, context_variables) -> None:\n    {tool}\n"
    (bakery / "till.py").write_text(code)
    (result,) = (await sale(bakery, "rye")).of(ToolReturned)
    assert result.status == "error"
    assert error in str(result.error)
