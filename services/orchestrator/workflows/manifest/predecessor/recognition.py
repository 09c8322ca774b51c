"""Recognise workflows of the predecessor by their manifests and their code."""

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel

from services.orchestrator.workflows.manifest.models.agents import AgentManifest
from services.orchestrator.workflows.manifest.models.tools import (
    LifecycleToolManifest,
    ToolManifest,
)
from services.orchestrator.workflows.manifest.models.variables import VariableManifest
from services.orchestrator.workflows.manifest.models.workflow import WorkflowManifest
from services.orchestrator.workflows.manifest.sections import Source

Strictness = Literal["lenient", "strict"]

PACKAGES = ("core", "mozaiksai", "logs", "autogen")
"""The packages that tool files of the predecessor import: its own, and AG2 before version 1."""

_ITS_KEYS = frozenset(
    {
        *("workflow_name", "description", "orchestration_pattern", "initial_agent", "max_turns"),
        *("human_in_the_loop", "startup_mode", "initial_message", "initial_message_to_user"),
        *("visual_agents", "runtime_extensions", "entry_point", "metadata", "triggers", "inputs"),
        *("outputs", "name", "system_message", "prompt_sections", "prompt_sections_custom"),
        *("max_consecutive_auto_reply", "auto_tool_mode", "structured_outputs_required"),
        *("image_generation_enabled", "display_name", "human_input_mode", "agent", "file"),
        *("function", "tool_type", "auto_invoke", "ui", "constraints", "integration", "trigger"),
        *("type", "source"),
    }
)
"""The keys of the predecessor's workflows, agents, tools and variables."""
_MODELS: Mapping[str, tuple[type[BaseModel], ...]] = MappingProxyType(
    {
        "workflow": (WorkflowManifest,),
        "agents": (AgentManifest,),
        "tools": (ToolManifest, LifecycleToolManifest),
        "context_variables": (VariableManifest,),
    }
)
_NEW_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        section: frozenset(key for model in models for key in model.model_fields) - _ITS_KEYS
        for section, models in _MODELS.items()
    }
)
"""By section: the keys that only this product reads."""
_ENTRIES = {
    "agents": ("agents",),
    "tools": ("tools", "lifecycle_tools"),
    "context_variables": ("definitions",),
    "handoffs": ("handoff_rules",),
}
"""By section: the keys of its lists."""
_OLD_KEYS = frozenset(
    {
        *("transition_target", "image_generation_enabled", "human_input_mode", "entry_point"),
        *("runtime_extensions", "metadata", "constraints", "integration", "db_type", "transitions"),
    }
)
"""Keys of the predecessor that this product's guides do not mention."""
_OLD_SOURCES = frozenset(
    {"environment", "database", "derived", "data_entity", "external", "runtime"}
)
"""Types of variables' sources that this product's guides do not mention."""


def strictness_of(
    sources: Mapping[str, Source], imported: Collection[str], stated: Strictness | None = None
) -> Strictness:
    """How a workflow's manifests are read; `stated` is what its first section says itself.

    They are read leniently if they are of the predecessor: the first section is `orchestrator`, no
    section has a key or file that only this product reads, and there is a mark of the predecessor. Marks
    are an `orchestrator.json`, a key or a type of source that only the predecessor's guides mention, an
    explicit null, and Python code that imports the predecessor's packages: `imported` are the packages
    that it imports.
    """
    if stated is not None:
        return stated
    first = sources.get("workflow")
    if first is None or not first.file.casefold().startswith("orchestrator."):
        return "strict"
    if "demo" in sources or any(_has_new_key(name, one.raw) for name, one in sources.items()):
        return "strict"
    is_old = (
        first.file.casefold().endswith(".json")
        or bool(set(PACKAGES) & set(imported))
        or any(_has_mark(name, one.raw) for name, one in sources.items())
    )
    return "lenient" if is_old else "strict"


def _has_new_key(section: str, raw: Any) -> bool:
    """Not where keys are names that the author chooses, as those of output fields."""
    new = _NEW_KEYS.get(section, frozenset())
    return any(not new.isdisjoint(entry) for entry in _entries(section, raw))


def _entries(section: str, raw: Any) -> Iterator[dict[str, Any]]:
    """The workflow, or the agents, tools, variables or rules of a section."""
    if not isinstance(raw, dict):
        return
    if section == "workflow":
        yield raw
    for key in _ENTRIES.get(section, ()):
        match raw.get(key):
            case dict() as named:
                entries = list(named.values())
            case list() as entries:
                pass
            case _:
                entries = []
        yield from (entry for entry in entries if isinstance(entry, dict))


def _has_mark(section: str, raw: Any) -> bool:
    return any(
        not _OLD_KEYS.isdisjoint(entry) or None in entry.values() or _is_old(entry.get("source"))
        for entry in _entries(section, raw)
    )


def _is_old(source: Any) -> bool:
    """Whether a variable's source is written as the predecessor's guides say."""
    if not isinstance(source, dict):
        return False
    return str(source.get("type")) in _OLD_SOURCES or not _OLD_KEYS.isdisjoint(source)
