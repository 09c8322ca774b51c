"""The authors' guide names every key that has an effect."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from services.orchestrator.workflows import manifest
from services.orchestrator.workflows.manifest import IDLE

GUIDE = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text()
TAUGHT: tuple[type[BaseModel], ...] = (
    manifest.WorkflowManifest,
    manifest.AgentManifest,
    manifest.LlmConfig,
    manifest.ToolManifest,
    manifest.LifecycleToolManifest,
    manifest.ToolUi,
    manifest.McpManifest,
    manifest.OutputField,
    manifest.HookManifest,
)


def keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if not (isinstance(extra, dict) and extra.get(IDLE)):
            yield field.alias or name


@pytest.mark.parametrize("model", TAUGHT, ids=lambda model: model.__name__)
def test_every_key_of_a_section_is_in_the_guide(model: type[BaseModel]) -> None:
    assert [key for key in keys(model) if f"`{key}`" not in GUIDE and f'"{key}"' not in GUIDE] == []
