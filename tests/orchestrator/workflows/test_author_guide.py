"""The authors' guide names every key that has an effect."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from services.orchestrator.workflows.manifest.models.agents import AgentManifest, LlmConfig
from services.orchestrator.workflows.manifest.models.base import NOT_EXECUTED
from services.orchestrator.workflows.manifest.models.hooks import HookManifest
from services.orchestrator.workflows.manifest.models.outputs import OutputField
from services.orchestrator.workflows.manifest.models.tools import (
    LifecycleToolManifest,
    McpManifest,
    ToolManifest,
    ToolUi,
)
from services.orchestrator.workflows.manifest.models.workflow import WorkflowManifest

GUIDE = (Path(__file__).parents[3] / "docs/workflows/writing_workflows.md").read_text()
DOCUMENTED: tuple[type[BaseModel], ...] = (
    WorkflowManifest,
    AgentManifest,
    LlmConfig,
    ToolManifest,
    LifecycleToolManifest,
    ToolUi,
    McpManifest,
    OutputField,
    HookManifest,
)


def keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if not (isinstance(extra, dict) and extra.get(NOT_EXECUTED)):
            yield field.alias or name


@pytest.mark.parametrize("model", DOCUMENTED, ids=lambda model: model.__name__)
def test_every_key_of_a_section_is_in_the_guide(model: type[BaseModel]) -> None:
    assert [key for key in keys(model) if f"`{key}`" not in GUIDE and f'"{key}"' not in GUIDE] == []
