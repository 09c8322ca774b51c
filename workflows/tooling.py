"""What a tool function may ask of the runtime: name a parameter `runtime` and it is handed in."""

from collections.abc import Coroutine, Sequence
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")


class ToolRuntime(Protocol):
    """Handed to a tool that has a parameter named `runtime`; models never see that parameter.

    So it is to a tool that the runtime calls: with an agent's structured output, or around a chat or
    a turn. Around a chat nobody can be asked.

    A tool that asks runs again from its start once the answer is there (perhaps weeks later, in
    another process), with earlier answers given at once: do nothing before an `ask` that must not
    happen twice, or guard it by `idempotency_key`.

    Tools run beside the runtime, in threads of their own: one that blocks holds nobody else up. Async
    ones share a loop that is not the runtime's. What a tool prints goes to the log.
    """

    @property
    def idempotency_key(self) -> str:
        """The same for every run of this one call, also after a crash."""
        ...

    @property
    def agent(self) -> str:
        """Whose turn it is; `runtime` before and after a chat."""
        ...

    @property
    def context_variables(self) -> dict[str, Any]:
        """The chat's context variables; what is set or removed here is kept. JSON values only."""
        ...

    async def ask(
        self,
        prompt: str,
        options: Sequence[str] = (),
        *,
        expires_in: float | None = None,
        default: str | None = None,
    ) -> str:
        """Ask the person and wait for the answer, however long; `options` are offered as buttons.

        With `expires_in`, in seconds, `default` is the answer of a person who gave none by then;
        without a default the turn fails and the chat with it.
        """
        ...

    async def use_ui_tool(
        self,
        ui_tool_id: str,
        payload: dict[str, Any],
        *,
        component: str | None = None,
        display: Literal["inline", "artifact"] | None = None,
        expires_in: float | None = None,
        default: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Show a UI component and wait for what the person does with it; expires as with `ask`.

        Without `component` and `display`, the tool's `ui` in the manifest says how.
        """
        ...

    async def emit_business_event(
        self,
        log_event_type: str,
        message: str,
        *,
        level: Literal["debug", "info", "warning", "error", "critical"] = "info",
        **metadata: Any,
    ) -> None:
        """Tell the rest of the company: other services subscribe to `mozaiks.evt.*.*.business`."""
        ...

    async def progress(self, percent: float | None = None, message: str = "") -> None:
        """Show the person how far this call is: 0 to 100, or none where that cannot be told.

        Shown while it happens and not kept: at most ten times a second, the newest always.
        """
        ...

    def wait(self, asked: Coroutine[Any, Any, T]) -> T:
        """For a tool that is not async: `runtime.wait(runtime.ask("Shall I?"))` blocks its thread."""
        ...
