"""Names in a manifest: the agents that an entry of `visual_agents` means."""

import pytest

from services.orchestrator.workflows.manifest.names import resolve_visual

SAME_AGENT = ["Interview Agent", "InterviewAgent", "interview agent", "INTERVIEW", " Interview "]


@pytest.mark.parametrize("entry", SAME_AGENT)
@pytest.mark.parametrize("agent", SAME_AGENT)
def test_an_entry_may_differ_in_case_spaces_and_the_word_agent(entry: str, agent: str) -> None:
    assert resolve_visual(entry, ["Writer", agent]) == (agent,)


@pytest.mark.parametrize(
    ("entry", "agent"),
    [
        ("Planner", "Planner"),
        ("PlannerAgent", "PlannerAgent"),
        ("Planner Agent", "PlannerAgent"),
        ("planner agent", "PlannerAgent"),
        ("planner", "Planner"),
        (" planner", "Planner"),
        ("AgentPlanner", "Planner PlannerAgent"),
        ("plan", ""),
    ],
)
def test_the_strictest_comparison_that_matches_decides(entry: str, agent: str) -> None:
    matching = resolve_visual(entry, ["Planner", "PlannerAgent"])
    assert matching == tuple(agent.split())


def test_agents_that_match_equally_well_are_all_meant() -> None:
    assert resolve_visual("PLANNER", ["Planner", "planner", "Writer"]) == ("Planner", "planner")


@pytest.mark.parametrize("entry", ["", " ", "Agents", "agentagent"])
def test_the_word_agent_alone_matches_only_itself(entry: str) -> None:
    assert resolve_visual(entry, ["Agent", "Writer", "s"]) == (("s",) if entry == "Agents" else ())
    assert resolve_visual("agent", ["Agent", "Writer"]) == ("Agent",)
