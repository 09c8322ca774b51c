"""One workflow per pattern for the demo model, and a user who keeps sending messages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from contracts.events import Event
from contracts.events.turn import SELECTOR, ToolDispatched, UsageRecorded
from contracts.ids import AgentName, WorkflowName
from services.orchestrator.agents.execution.agent_factory import build_agent_set
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import UserInput
from services.orchestrator.workflows.code.bundle import read_python_files
from services.orchestrator.workflows.code.loader import tool_code
from services.orchestrator.workflows.demo import DemoCall, DemoReply, DemoScript, DemoScripts
from services.orchestrator.workflows.expressions import parse
from services.orchestrator.workflows.loading import LoadedWorkflow
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

DEMO_MODELS = ModelFactory(
    demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
)
"""The demo model without a pause between words."""

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


def workflows_by_pattern(folder: Path) -> dict[str, LoadedWorkflow]:
    """By pattern: a workflow in which the writer takes notes by a tool of this folder."""
    (folder / "note.py").write_text(NOTE)
    note, opens, closes = (
        Tool(name, "", PurePath("note.py"), name) for name in ("note", "open_book", "close_book")
    )
    code = tool_code(folder, read_python_files(folder))
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
        workflow.pattern: LoadedWorkflow(
            workflow.pattern, workflow, DemoScripts(agents={**SCRIPTS, **own}), code=code
        )
        for workflow, own in (
            (_with_rules(base), {str(EDITOR): HANDOFF_SCRIPT}),
            (replace(base, pattern="RoundRobinPattern"), {}),
            (replace(base, pattern="RandomPattern"), {}),
            (_with_user(base), {}),
        )
    }


def _with_user(base: Workflow) -> Workflow:
    """The selector may choose the user, and a message of the user after three notes ends the chat."""
    ends = Rule(TERMINATE, parse("${notes} >= 3"))
    return replace(base, pattern="AutoPattern", human_in_the_loop=True, after_user_if=(ends,))


def _with_rules(base: Workflow) -> Workflow:
    """The writer and the user alternate until there are two notes; then each rule applies once."""
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


def _script(*lines: str | DemoReply) -> DemoScript:
    replies = [line if isinstance(line, DemoReply) else DemoReply(say=line) for line in lines]
    return DemoScript(lines=replies, loop=True)


SCRIPTS: dict[str, DemoScript] = {
    WRITER: _script(
        DemoReply(say="I note it.", calls=[DemoCall(tool="note", arguments={"text": "rain"})]),
        "It rains: {result}.",
    ),
    EDITOR: _script("Edited: {user}"),
    CRITIC: _script("Good."),
    SELECTOR: _script("Critic", "Somebody", '{"next": "Writer"}', "user", "Writer"),
}
HANDOFF_SCRIPT = _script(DemoReply(say="More!", calls=[DemoCall(tool=transfer_name(WRITER))]))


def demo_catalogue(loaded: LoadedWorkflow) -> Catalogue:
    """The catalogue of a process that has loaded this workflow, with the demo model."""
    version = WorkflowVersion(loaded, build_agent_set(loaded, DEMO_MODELS))
    return Catalogue({loaded.workflow.name: version})


def next_user_message(state: ChatState) -> str:
    """The next message of the user."""
    return f"More, please ({sum(isinstance(entry, UserInput) for entry in state.conversation)})."


def lasting(events: Sequence[Event]) -> list[Event]:
    """The events that are equal in an interrupted run: without durations and repeated dispatches."""
    return [without_durations(event) for event in events if not is_repeated_dispatch(event)]


def is_repeated_dispatch(event: Event) -> bool:
    """Whether an event says that a call is made again."""
    return isinstance(event, ToolDispatched) and event.attempt > 1


def without_durations(event: Event) -> Event:
    """The event without what differs between two equal runs, of which each has a chat of its own."""
    if isinstance(event, ToolDispatched):
        return event.model_copy(update={"idempotency_key": ""})
    if isinstance(event, UsageRecorded):
        return event.model_copy(update={"duration": 0.0, "time_to_first_chunk": None})
    return event
