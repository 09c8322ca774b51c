"""The model of the `hooks` section."""

from typing import Literal

from services.orchestrator.workflows.manifest.models.base import Section


class HookManifest(Section):
    """A function that may change what an agent (or `all` agents) reads or sends."""

    hook_type: Literal[
        "process_message_before_send",
        "update_agent_state",
        "process_last_received_message",
        "process_all_messages_before_reply",
    ]
    hook_agent: str = "all"
    filename: str
    function: str


class HooksManifest(Section):
    """`hooks`: functions that change what agents read or send."""

    hooks: list[HookManifest] = []
