from pathlib import Path

from contracts.catalogue import ToolCard
from contracts.ids import AgentName
from services.orchestrator.workflows import workflow_cards
from services.orchestrator.workflows.spec import Agent, Output, Tool, ToolUi, Workflow
from tests.story import EDITOR, NEWSROOM, WRITER

LOOK = Tool("look", "Look it up.", Path("/secret/look.py"), "look")
SHOW = Tool("show", "", Path("show.py"), "show", ui=ToolUi("Draft", "artifact"))
TELL = Tool("tell", "", Path("tell.py"), "tell", ui=ToolUi(), auto_invoke=True)
OUTPUT = Output("Draft", {}, lambda _: {})


def workflow(**tools: tuple[Tool, ...]) -> Workflow:
    agents = {
        name: Agent(name, "A secret.", tools=tools.get(name, ())) for name in (WRITER, EDITOR)
    }
    return Workflow(name=NEWSROOM.name, agents=agents, initial_agent=WRITER)


def test_a_tool_is_listed_once_with_all_its_agents() -> None:
    listed = workflow_cards.tool_cards(workflow(Writer=(LOOK, SHOW), Editor=(LOOK,)))
    assert listed == [
        ToolCard(name="look", description="Look it up.", agents=[WRITER, EDITOR]),
        ToolCard(name="show", agents=[WRITER], component="Draft", mode="artifact"),
    ]


def test_a_tool_without_a_component_of_its_own_is_shown_by_its_name() -> None:
    (listed,) = workflow_cards.tool_cards(workflow(Writer=(TELL,)))
    assert (listed.component, listed.mode, listed.auto_invoke) == ("tell", "inline", True)


def test_two_tools_of_the_same_name_are_listed_separately() -> None:
    other = Tool("look", "Another.", Path("other.py"), "look")
    assert len(workflow_cards.tool_cards(workflow(Writer=(LOOK,), Editor=(other,)))) == 2


def test_a_card_has_output_models_but_no_prompts_or_paths() -> None:
    writer = Agent(WRITER, "A secret.", output=OUTPUT)
    workflow_with_output = Workflow(
        name=NEWSROOM.name, agents={WRITER: writer}, initial_agent=WRITER
    )
    assert workflow_cards.output_models(workflow_with_output) == {AgentName("Writer"): "Draft"}
    assert "secret" not in str(workflow_cards.tool_cards(workflow(Writer=(LOOK,))))
