"""The model of `workflow.json` or `orchestrator.yaml`."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, Field

from contracts.catalogue import StartupMode
from contracts.events.chat import WhileRunning
from contracts.subjects import token
from services.orchestrator.workflows.manifest.models.base import Section, aliases, not_executed
from services.orchestrator.workflows.spec import OnFailure, Pattern

_PATTERNS = {
    spelling: name
    for name, stem in {
        "DefaultPattern": "default",
        "AutoPattern": "auto",
        "RoundRobinPattern": "roundrobin",
        "RandomPattern": "random",
    }.items()
    for spelling in (stem, f"{stem}pattern")
}
_STARTUP_MODES = {mode.casefold(): mode for mode in ("AgentDriven", "UserDriven", "BackendOnly")}


def _check_workflow_name(name: str) -> str:
    token(name, "workflow_name")  # raises if the name is not valid in a key of a bucket
    return name


class WorkflowManifest(Section):
    """`workflow.json` or `orchestrator.yaml`: how the conversation starts, continues and ends."""

    workflow_name: Annotated[str, AfterValidator(_check_workflow_name)]
    description: str = ""
    orchestration_pattern: Annotated[Pattern, aliases(_PATTERNS)] = "AutoPattern"
    initial_agent: str | None = Field(
        default=None, validation_alias=AliasChoices("initial_agent", "recipient")
    )
    max_turns: int = Field(default=50, ge=1, le=10_000)
    human_in_the_loop: bool = False
    while_running: WhileRunning = "queue"
    on_failure: OnFailure = "wait"
    startup_mode: Annotated[StartupMode, aliases(_STARTUP_MODES)] = "AgentDriven"
    initial_message: str | None = None
    initial_message_to_user: str | None = None
    visual_agents: list[str] = []
    strictness: Literal["lenient", "strict"] | None = None
    """Whether what the predecessor's loader ignored is a warning; by default, if it is of the predecessor."""
    runtime_extensions: list[dict[str, Any]] = not_executed([])
    entry_point: bool = not_executed(default=False)
    metadata: Any = not_executed()
    triggers: Any = not_executed()
    inputs: Any = not_executed()
    outputs: Any = not_executed()
