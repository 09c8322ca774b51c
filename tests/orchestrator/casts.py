"""One workflow per pattern, played by the demo model, and a person who goes on asking for more."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from contracts.events import Event
from contracts.events.turn import SELECTOR, UsageRecorded
from contracts.ids import AgentName, WorkflowName
from services.orchestrator.agents import demo
from services.orchestrator.agents.build import build_cast
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.offer import Edition, Offer
from services.orchestrator.state import ChatState, Said
from services.orchestrator.workflows.demo import DemoCall, DemoLine, DemoScripts, Script
from services.orchestrator.workflows.expressions import parse
from services.orchestrator.workflows.functions import tool_code
from services.orchestrator.workflows.loading import Loaded
from services.orchestrator.workflows.spec import (
    TERMINATE,
    USER,
    Agent,
    Handoff,
    Rule,
    Tool,
    Workflow,
    transfer_name,
)
from services.orchestrator.workflows.versions import code_of

WRITER, EDITOR, CRITIC = AgentName("Writer"), AgentName("Editor"), AgentName("Critic")

NOTE = '''
"""Notes, counted."""


def note(text: str, context_variables: dict) -> str:
    """Write a note down."""
    context_variables["notes"] = context_variables.get("notes", 0) + 1
    return f"noted {text}"


def open_book(context_variables: dict) -> None:
    context_variables["book"] = "open"


def close_book(context_variables: dict) -> str:
    context_variables["book"] = f"closed after {context_variables['notes']}"
    return context_variables["book"]
'''


def cast(folder: Path) -> dict[str, Loaded]:
    """By pattern: a workflow in which the writer takes notes by a tool of this folder."""
    (folder / "note.py").write_text(NOTE)
    note, opens, closes = (
        Tool(name, "", PurePath("note.py"), name) for name in ("note", "open_book", "close_book")
    )
    code = tool_code(folder, code_of(folder))
    writer = Agent(WRITER, "You write.", tools=(note,))
    others = {EDITOR: Agent(EDITOR, "You edit."), CRITIC: Agent(CRITIC, "You judge.")}
    base = Workflow(
        name=WorkflowName("Newsroom"),
        agents={WRITER: writer, **others},
        initial_agent=WRITER,
        initial_message="Write about rain.",
        max_turns=6,
        before_chat=(opens,),
        after_chat=(closes,),
    )
    return {
        workflow.pattern: Loaded(
            workflow.pattern, workflow, DemoScripts(agents={**SCRIPTS, **own}), code=code
        )
        for workflow, own in (
            (_with_rules(base), {str(EDITOR): HANDS_OVER}),
            (replace(base, pattern="RoundRobinPattern"), {}),
            (replace(base, pattern="RandomPattern"), {}),
            (replace(base, pattern="AutoPattern", human_in_the_loop=True), {}),
        )
    }


def _with_rules(base: Workflow) -> Workflow:
    """The writer and the person until there are two notes; then all of them, one by one rule."""
    agents: Mapping[AgentName, Agent] = {
        WRITER: replace(
            base.agents[WRITER],
            after_work_if=(Rule(CRITIC, parse("${notes} >= 2")),),
            after_work=USER,
        ),
        CRITIC: replace(
            base.agents[CRITIC],
            before_reply=(Rule(EDITOR, parse("${notes} < 3")),),
            after_work=TERMINATE,
        ),
        EDITOR: replace(
            base.agents[EDITOR],
            handoffs=(Handoff(WRITER, "when one more note is missing"),),
            max_consecutive_auto_reply=1,
        ),
    }
    again = Rule(WRITER, parse("not (${notes} >= 2)"))
    return replace(base, agents=agents, after_user_if=(again,), after_user=EDITOR)


def _says(*lines: str | DemoLine) -> Script:
    spoken = [line if isinstance(line, DemoLine) else DemoLine(say=line) for line in lines]
    return Script(lines=spoken, loop=True)


SCRIPTS: dict[str, Script] = {
    WRITER: _says(
        DemoLine(say="I note it.", calls=[DemoCall(tool="note", arguments={"text": "rain"})]),
        "It rains: {result}.",
    ),
    EDITOR: _says("Edited: {user}"),
    CRITIC: _says("Good."),
    SELECTOR: _says("Critic", "Somebody", '{"next": "Writer"}', "user", "Writer"),
}
HANDS_OVER = _says(DemoLine(say="More!", calls=[DemoCall(tool=transfer_name(WRITER))]))


def offered(loaded: Loaded) -> Offer:
    """What a process offers that has loaded this one, played by the demo model without a pause."""
    models = Models(demo.MODEL, demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
    name = loaded.workflow.name
    return Offer({name: Edition(loaded, build_cast(loaded, models))})


def more(state: ChatState) -> str:
    """What the person says next."""
    return f"More, please ({sum(isinstance(line, Said) for line in state.lines)})."


def timeless(event: Event) -> Event:
    """The event without what differs between two runs of the same."""
    if isinstance(event, UsageRecorded):
        return event.model_copy(update={"duration": 0.0})
    return event
