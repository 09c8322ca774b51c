from pathlib import Path

from contracts.catalogue import ToolCard
from contracts.ids import AgentName
from services.orchestrator.workflows import cards
from services.orchestrator.workflows.spec import Agent, Interface, Output, Tool, Workflow
from tests.story import EDITOR, NEWSROOM, WRITER

LOOK = Tool("look", "Look it up.", Path("/secret/look.py"), "look")
SHOW = Tool("show", "", Path("show.py"), "show", interface=Interface("Draft", "artifact"))
TELL = Tool("tell", "", Path("tell.py"), "tell", interface=Interface(), auto_invoke=True)
OUTPUT = Output("Draft", {}, lambda _: {})


def workflow(**tools: tuple[Tool, ...]) -> Workflow:
    agents = {
        name: Agent(name, "A secret.", tools=tools.get(name, ())) for name in (WRITER, EDITOR)
    }
    return Workflow(name=NEWSROOM.name, agents=agents, initial_agent=WRITER)


def test_a_tool_is_listed_once_with_everyone_who_has_it() -> None:
    listed = cards.tools(workflow(Writer=(LOOK, SHOW), Editor=(LOOK,)))
    assert listed == [
        ToolCard(name="look", description="Look it up.", agents=[WRITER, EDITOR]),
        ToolCard(name="show", agents=[WRITER], component="Draft", mode="artifact"),
    ]


def test_a_tool_without_a_component_of_its_own_is_shown_by_its_name() -> None:
    (listed,) = cards.tools(workflow(Writer=(TELL,)))
    assert (listed.component, listed.mode, listed.auto_invoke) == ("tell", "inline", True)


def test_two_tools_of_one_name_are_two() -> None:
    other = Tool("look", "Another.", Path("other.py"), "look")
    assert len(cards.tools(workflow(Writer=(LOOK,), Editor=(other,)))) == 2


def test_a_card_says_who_answers_in_which_model_and_nothing_of_prompts_or_paths() -> None:
    writer = Agent(WRITER, "A secret.", output=OUTPUT)
    told = Workflow(name=NEWSROOM.name, agents={WRITER: writer}, initial_agent=WRITER)
    assert cards.outputs(told) == {AgentName("Writer"): "Draft"}
    assert "secret" not in str(cards.tools(workflow(Writer=(LOOK,))))
