"""`core.workflow.outputs.ui_tools` of the predecessor: a tool shows a component and waits for the answer."""

from typing import Any

from services.orchestrator.compatibility.current_runtime import current_runtime
from services.orchestrator.compatibility.unavailable import placeholder

__all__ = ["UIToolError", "use_ui_tool"]

_DISPLAYS = ("inline", "artifact")


class UIToolError(Exception):
    """Kept so that code can catch it; nothing raises it."""


async def use_ui_tool(
    tool_id: str,
    payload: dict[str, Any],
    chat_id: str | None = None,
    workflow_name: str | None = None,
    display: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Show the component of a tool and return the user's answer, as `runtime.use_ui_tool` does.

    The chat and the workflow are those of the call, whatever is given. Raises NoRuntimeError.
    """
    del chat_id, workflow_name
    shown = display if display in _DISPLAYS else None
    return await current_runtime().use_ui_tool(tool_id, payload, display=shown)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return placeholder(name)
