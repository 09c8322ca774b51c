"""The runtime as tool functions see it: a parameter named `runtime` receives a ToolRuntime."""

from collections.abc import Coroutine, Sequence
from typing import Any, Literal, Protocol, Required, TypedDict, TypeVar

T = TypeVar("T")


class CheckAnswer(TypedDict, total=False):
    """What a `check` found out about a call; made by `done`, or one of NOT_DONE and UNKNOWN."""

    status: Required[Literal["done", "not_done", "unknown"]]
    result: Any


NOT_DONE: CheckAnswer = {"status": "not_done"}
UNKNOWN: CheckAnswer = {"status": "unknown"}


def done(result: Any = None) -> CheckAnswer:
    """The call took effect; `result` is what it returned, for the model."""
    return {"status": "done", "result": result}


class ToolRuntime(Protocol):
    """Passed to a tool that has a parameter named `runtime`; models do not see that parameter.

    It is also passed to tools that the runtime calls: with an agent's structured output, and before
    or after a chat or a turn. Before and after a chat, the user cannot be asked.

    A tool that asks the user is run again from its start when the answer arrives (possibly weeks
    later, in another process). Its earlier `ask` calls then return their answers at once. Anything
    before an `ask` that must not happen twice needs `idempotency_key`.

    Tools run in threads of their own, so a blocking tool does not block the runtime. Async tools
    share one event loop, which is not the runtime's. What a tool prints is logged.
    """

    @property
    def idempotency_key(self) -> str:
        """A key of this tool call; the same every time the call is run, also after a crash."""
        ...

    @property
    def agent(self) -> str:
        """The name of the agent whose turn it is; `runtime` before and after a chat."""
        ...

    @property
    def context_variables(self) -> dict[str, Any]:
        """The chat's context variables (JSON values). Changes to this dict are stored in the chat."""
        ...

    async def ask(
        self,
        prompt: str,
        options: Sequence[str] = (),
        *,
        expires_in: float | None = None,
        default: str | None = None,
        users: Sequence[str] = (),
        roles: Sequence[str] = (),
        escalate_after: float | None = None,
        escalate_to_users: Sequence[str] = (),
        escalate_to_roles: Sequence[str] = (),
        send_links: bool = False,
    ) -> str:
        """Ask the user and wait for the answer, without a time limit; `options` are shown as buttons.

        With `expires_in` (seconds), the answer is `default` if the user has not answered by then;
        without a default, the chat fails. `users` (ids) and `roles` (of tokens) are asked instead of
        the chat's user. After `escalate_after` seconds, those of `escalate_to_users` and
        `escalate_to_roles` may answer, too. With `send_links`, business events `question.waiting`
        hold links that answer the question.
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
        users: Sequence[str] = (),
        roles: Sequence[str] = (),
        escalate_after: float | None = None,
        escalate_to_users: Sequence[str] = (),
        escalate_to_roles: Sequence[str] = (),
        send_links: bool = False,
    ) -> dict[str, Any]:
        """Show a UI component and wait for the user's response; for whom and until when as in `ask`.

        `component` and `display` default to the tool's `ui` in the manifest.
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
        """Publish a business event; other services subscribe to `mozaiks.evt.*.*.business`."""
        ...

    async def progress(self, percent: float | None = None, message: str = "") -> None:
        """Show the user the progress of this call: 0 to 100, or None if it cannot be measured.

        Progress is shown live and not stored: at most ten times a second, always the newest value.
        """
        ...

    async def refresh(self, name: str) -> Any:
        """Look up a context variable whose source is a `data_reference` again; returns its value."""
        ...

    def receipt(self, value: Any) -> None:
        """Keep what the outside world calls what was done: an id, an address (any JSON, 4 KB).

        It is stored with the result of the call and listed in the chat's effects; the last one counts.
        Raises ValueError if it is larger.
        """
        ...

    def wait(self, asked: Coroutine[Any, Any, T]) -> T:
        """For tools that are not async: `runtime.wait(runtime.ask("Continue?"))` blocks their thread."""
        ...
