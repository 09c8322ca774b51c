"""The model of the `ui_config` section."""

from typing import Any

from services.orchestrator.workflows.manifest.models.base import Section, not_executed


class UiManifest(Section):
    """`ui_config`: only `visual_agents` has an effect."""

    visual_agents: list[str] = []
    display_name: str | None = not_executed()
    icon: Any = not_executed()
    dashboard: Any = not_executed()
    chat_pane_agents: Any = not_executed()
    artifact_agents: Any = not_executed()
    components: Any = not_executed()
