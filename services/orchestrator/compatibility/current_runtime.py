"""The `runtime` of the tool call that is being run, for code that is not passed it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class UiRuntime(Protocol):
    """What the functions of this package need of a ToolRuntime (see workflows/tooling.py)."""

    async def use_ui_tool(
        self, ui_tool_id: str, payload: dict[str, Any], *, display: Any = None
    ) -> dict[str, Any]: ...

    async def emit_business_event(
        self, log_event_type: str, message: str, *, level: Any = "info", **metadata: Any
    ) -> None: ...


class NoRuntimeError(RuntimeError):
    """A function was called outside a tool call: while a file is imported, or by a hook."""


_CURRENT: ContextVar[UiRuntime | None] = ContextVar("tool_runtime", default=None)


@contextmanager
def as_current(runtime: UiRuntime) -> Iterator[None]:
    """Also for threads and tasks that are started inside."""
    token = _CURRENT.set(runtime)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_runtime() -> UiRuntime:
    """Raises NoRuntimeError."""
    if (runtime := _CURRENT.get()) is None:
        raise NoRuntimeError("only a tool asks the user and publishes events, while it is called")
    return runtime
