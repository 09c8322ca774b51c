"""`core.events` of the predecessor: business events."""

from collections.abc import Mapping
from typing import Any

from services.orchestrator.compatibility.current_runtime import current_runtime
from services.orchestrator.compatibility.unavailable import placeholder

__all__ = ["emit_business_event"]

_LEVELS = ("debug", "info", "warning", "error", "critical")


async def emit_business_event(
    log_event_type: str,
    description: str = "",
    context: Mapping[str, Any] | None = None,
    level: str = "info",
    *,
    message: str = "",
    **metadata: Any,
) -> None:
    """Publish a business event, as `runtime.emit_business_event` does. Raises NoRuntimeError."""
    severity = level.casefold() if level.casefold() in _LEVELS else "info"
    await current_runtime().emit_business_event(
        log_event_type, message or description, level=severity, **{**(context or {}), **metadata}
    )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return placeholder(name)
