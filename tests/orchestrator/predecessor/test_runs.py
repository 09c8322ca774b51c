"""Workflows of the predecessor run to their end as they are, on scripted models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contracts.events.business import BusinessLogged
from contracts.events.turn import ToolReturned
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.testkit import Component, PlayedChat, play
from tests.orchestrator.agents.scripted_provider import strict_models
from tests.orchestrator.predecessor.folders import LOADABLE, ROOT


@dataclass(frozen=True)
class Run:
    """What the user and the models do in a workflow, and what comes of it."""

    inputs: Sequence[Any] = ()
    replies: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    tools: Sequence[str] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"calls": [{"tool": tool, "arguments": arguments}]}


PLAN = '{"title": "Mail", "steps": [{"agent": "A", "kind": "ask"}], "agent_message": "Look."}'
PHASE = '{"index": 1, "next": null, "tags": []}'
CHOICE = '{"pattern": "Star", "agent_message": "A star."}'

RUNS = {
    "Intake": Run(
        inputs=("Ana",),
        replies={
            "FrontDeskAgent": ["Your name?", call("record_name", name="Ana"), "Thank you."],
            "NurseAgent": ["Room A is free."],
        },
        tools=("load_rooms", "record_name"),
        variables={"visitor": "Ana", "rooms": ["A", "B"]},
    ),
    "Generator": Run(
        inputs=("Mails", Component({"data": {"accepted": True}})),
        replies={
            "InterviewAgent": ["What is to be automated?", "NEXT"],
            "PlannerAgent": [PLAN],
            "ReviewAgent": ["It is fine."],
            "DeliveryAgent": [call("deliver_files", count=3), "Done."],
        },
        tools=("action_plan", "deliver_files"),
        variables={"interview_complete": True, "plan_accepted": True, "delivered": 3},
    ),
    "AgentGenerator": Run(
        inputs=("Agents for mails", Component({"status": "ok"})),
        replies={
            "IntakeAgent": ["I am READY"],
            "PatternAgent": [CHOICE],
            "LoopAgent": [PHASE],
            "DownloadAgent": [call("offer_download", title="My Agents"), "Good-bye."],
        },
        tools=("count_turn", "choose_pattern", "offer_download", "summarise"),
        variables={"ready": True, "pattern": "Star", "turns": 1, "summary": "pattern Star"},
    ),
    "AppGenerator": Run(
        inputs=("An app for recipes", Component({"ok": True})),
        replies={
            "BlueprintAgent": ['{"name": "Recipes", "screens": ["list"]}'],
            "CodeAgent": [call("write_file", path="a.js", content="1"), "Written."],
        },
        tools=("show_blueprint", "write_file"),
        variables={"files": ["a.js"], "stack": {"frontend": "react"}},
    ),
    "DesignDocs": Run(
        replies={"DesignDocsAgent": ['{"title": "Design", "pages": ["one", "two"]}']},
        tools=("save_docs",),
        variables={"docs": {"title": "Design", "pages": ["one", "two"]}},
    ),
    "ValueEngine": Run(
        inputs=("Time", "Two hours"),
        replies={
            "ValueInterviewAgent": ["What is it worth?", "How much?", "VALUE_KNOWN"],
            "ValueScoreAgent": [call("score", points=12), "Scored."],
            "ValueSummaryAgent": ["It is worth it."],
        },
        tools=("score",),
        variables={"interview_done": True, "score": 10},
    ),
    "HelloWorld": Run(
        replies={"HelloAgent": ["Hello!", "Hello again!"]}, variables={"user_id": "user"}
    ),
}


async def played(folder: Path, run: Run, models: ModelFactory | None = None) -> PlayedChat:
    return await play(folder, run.inputs, replies=run.replies, models=models)


def check(chat: PlayedChat, run: Run) -> None:
    assert chat.ended == "completed", chat.events[-1]
    returned = chat.of(ToolReturned)
    assert [one.name for one in returned] == list(run.tools)
    assert {one.status for one in returned} <= {"ok"}, returned
    assert {name: chat.variables[name] for name in run.variables} == run.variables


def test_every_workflow_has_a_run() -> None:
    assert {folder.name for folder in LOADABLE} == set(RUNS)


@pytest.mark.parametrize("folder", LOADABLE, ids=lambda folder: folder.name)
async def test_a_workflow_of_the_predecessor_runs_to_its_end_as_it_is(folder: Path) -> None:
    run = RUNS[folder.name]
    check(await played(folder, run), run)


@pytest.mark.parametrize("folder", LOADABLE, ids=lambda folder: folder.name)
async def test_a_workflow_of_the_predecessor_runs_on_a_strict_provider(folder: Path) -> None:
    run = RUNS[folder.name]
    async with strict_models() as models:
        check(await played(folder, run, models), run)


async def test_its_business_events_are_ours() -> None:
    chat = await played(ROOT / "2025_12" / "AgentGenerator", RUNS["AgentGenerator"])
    (logged,) = chat.of(BusinessLogged)
    assert (logged.log_event_type, logged.level) == ("PATTERN_CHOSEN", "info")
    assert logged.message == "Star was chosen"
