"""What `mozaiks replay` replays: the events of a chat, and the workflow to replay them on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.frozen import replace
from contracts.ids import ChatKey, WorkflowName
from services.chassis.jetstream.command_line_connection import one_shot_gateway
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.version_registry import VersionRegistry
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.agents.replay import report
from services.orchestrator.agents.replay.log_file import RecordedLog, read_log_file, result_values
from services.orchestrator.agents.replay.log_replay import Replayed, agents_of, replay_log
from services.orchestrator.cli.prompt import NothingToShowError, facts_of_chat
from services.orchestrator.domain.evolution import replay
from services.orchestrator.settings import Settings
from services.orchestrator.workflows.code.bundle_store import BundleStore
from services.orchestrator.workflows.loading import (
    BrokenWorkflow,
    LoadedWorkflow,
    load_if_workflow,
)

NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class ToReplay:
    """`recorded` are the agents of the version that the chat ran; None where it is not known."""

    log: RecordedLog
    workflow: LoadedWorkflow
    recorded: AgentSet | None = None

    async def replayed(self) -> Replayed:
        """Raises NotReplayableError."""
        found = await replay_log(self.log, self.workflow)
        if found.divergence is None or self.recorded is None:
            return found
        return report.with_offer(found, self.recorded, agents_of(self.workflow))


def of_file(path: Path, workflows: Path, environment: Mapping[str, str]) -> ToReplay:
    """Raises LogFileError, NothingToShowError."""
    log = read_log_file(path)
    name = log.facts[0].envelope.workflow_name
    return ToReplay(log, loaded_workflow(name, workflows, environment))


async def of_installation(
    settings: Settings,
    environment: Mapping[str, str],
    models: ModelFactory,
    key: ChatKey,
    version: str | None,
    workflows: Path | None,
) -> ToReplay:
    """`version` and `workflows` as of the command. Raises NothingToShowError, NatsUnavailableError."""
    async with one_shot_gateway(settings, "orchestrator") as gateway:
        facts = await facts_of_chat(gateway, key)
        values = {one: await gateway.values.get(key, one) for one in result_values(facts)}
        log = RecordedLog(facts, values)
        registry = VersionRegistry(
            settings.workflows_path.resolve(),
            models,
            environment,
            BundleStore(gateway),
            settings.max_model_calls_per_turn,
        )
        await registry.load()
        state = replay(facts)
        own = await registry.version_of(state)
        if workflows is not None:
            found = loaded_workflow(facts[0].envelope.workflow_name, workflows, environment)
            return ToReplay(log, found, None if own is None else own.agent_set)
        chosen: WorkflowVersion | None = own
        if version is not None:
            pinned = None if version == NEWEST else version
            chosen = await registry.version_of(replace(state, workflow_version=pinned))
    if chosen is None:
        name = facts[0].envelope.workflow_name
        which = "the version that the chat runs" if version is None else f"version {version}"
        raise NothingToShowError(
            f"{which} of {name} is neither in WORKFLOWS_PATH nor in NATS: name another one with "
            "--workflow-version, or a folder with --workflows"
        )
    return ToReplay(log, chosen.loaded, None if own is None else own.agent_set)


def loaded_workflow(
    name: WorkflowName, root: Path, environment: Mapping[str, str]
) -> LoadedWorkflow:
    """Raises NothingToShowError."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        found = load_if_workflow(folder, environment) if folder.is_dir() else None
        if isinstance(found, LoadedWorkflow) and found.workflow.name == name:
            return found
        if isinstance(found, BrokenWorkflow) and found.name == name:
            raise NothingToShowError("; ".join(found.problems))
    raise NothingToShowError(f"there is no workflow {name} in {root}")
