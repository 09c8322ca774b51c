"""The `runtime` that a tool function is handed: asking the user, progress, events and variables."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic_core import to_json

from contracts.events.business import BusinessLogged, Level
from contracts.events.human import Display
from services.orchestrator.agents.ag2.json_values import jsonable
from services.orchestrator.agents.sandbox.loop_bridge import LoopBridge
from services.orchestrator.agents.session.dispatches import idempotency_key
from services.orchestrator.agents.session.recorder import TurnRecorder
from services.orchestrator.agents.tools.limits import TimeBudget
from services.orchestrator.agents.tools.progress import (
    ProgressReporter,
    ProgressUpdate,
    parse_progress,
)
from services.orchestrator.workflows.spec import (
    DataReference,
    QuestionRouting,
    Recipients,
    Tool,
    ToolUi,
)

T = TypeVar("T")

MAX_RECEIPT_BYTES = 4_096
"""Of a receipt as JSON: it names what was done, it is not what was done."""


class Runtime:
    """The ToolRuntime of one run of a tool (its interface is in workflows/tooling.py).

    Tools run in other threads than the turn: what they ask for is done in the turn's loop.
    """

    def __init__(
        self,
        recorder: TurnRecorder,
        tool_call: str,
        declared: Tool,
        budget: TimeBudget,
        references: Sequence[DataReference] = (),
    ) -> None:
        self._recorder = recorder
        self._tool_call = tool_call
        self._tool_name = declared.name
        self._ui = declared.ui or ToolUi()
        self._budget = budget
        self._references = {one.name: one for one in references}
        self._bridge = LoopBridge()
        self._progress = ProgressReporter(self._show_progress)

    @property
    def idempotency_key(self) -> str:
        return idempotency_key(self._recorder.key, self._recorder.turn.number, self._tool_call)

    @property
    def agent(self) -> str:
        return self._recorder.turn.agent

    @property
    def context_variables(self) -> dict[str, Any]:
        return self._recorder.variables

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
        ask = self._recorder.human_requests.ask
        routing = _routing(
            users,
            roles,
            escalate_after,
            escalate_to_users,
            escalate_to_roles,
            send_links=send_links,
        )
        return await self._without_time_limit(
            partial(ask, self._tool_call, prompt, options, expires_in, default, routing)
        )

    async def use_ui_tool(
        self,
        ui_tool_id: str,
        payload: dict[str, Any],
        *,
        component: str | None = None,
        display: Display | None = None,
        expires_in: float | None = None,
        default: dict[str, Any] | None = None,
        users: Sequence[str] = (),
        roles: Sequence[str] = (),
        escalate_after: float | None = None,
        escalate_to_users: Sequence[str] = (),
        escalate_to_roles: Sequence[str] = (),
        send_links: bool = False,
    ) -> dict[str, Any]:
        routing = _routing(
            users,
            roles,
            escalate_after,
            escalate_to_users,
            escalate_to_roles,
            send_links=send_links,
        )
        return await self._without_time_limit(
            partial(
                self._recorder.human_requests.use_ui_tool,
                self._tool_call,
                ui_tool_id,
                component or self._ui.component or ui_tool_id,
                display or self._ui.display,
                payload,
                expires_in,
                default,
                routing,
            )
        )

    async def emit_business_event(
        self, log_event_type: str, message: str, *, level: Level = "info", **metadata: Any
    ) -> None:
        event = BusinessLogged(
            log_event_type=jsonable(log_event_type),
            level=level,
            message=jsonable(message),
            metadata=jsonable(metadata),
        )
        await self._bridge.call(partial(self._recorder.log_business, self._tool_call, event))

    async def progress(self, percent: float | None = None, message: str = "") -> None:
        update = parse_progress(percent, message)

        async def report() -> None:
            self._progress.report(update)

        await self._bridge.call(report)

    async def refresh(self, name: str) -> Any:
        if (reference := self._references.get(name)) is None:
            known = ", ".join(self._references) or "none"
            raise ValueError(
                f"name: {name} is no variable with a data_reference (accepted: {known})"
            )
        return await self._bridge.call(partial(self._recorder.refresh, self._tool_call, reference))

    def receipt(self, value: Any) -> None:
        kept = jsonable(value)
        size = len(to_json(kept))
        if size > MAX_RECEIPT_BYTES:
            raise ValueError(f"receipt: has {size:,} bytes, and may have {MAX_RECEIPT_BYTES:,}")
        if not self._bridge.closed:
            self._recorder.note_outcome(self._tool_call, receipt=kept)

    def wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return self._bridge.call_blocking(lambda: asked)

    # -- for those who run the tool ------------------------------------------------------------

    @property
    def log_fields(self) -> dict[str, str]:
        """The ids that log records of this run carry."""
        key = self._recorder.key
        agent = str(self._recorder.turn.agent)
        return {"app": key.app, "chat": key.chat, "agent": agent, "tool": self._tool_name}

    @property
    def is_active(self) -> bool:
        """Whether the call is neither suspended nor being cancelled."""
        task = asyncio.current_task()
        return not self._recorder.journal.suspended and task is not None and not task.cancelling()

    def attribute_changes(self) -> None:
        """In the tool's own thread: attribute the variables changed so far to this call."""
        if not self._bridge.closed:
            self._recorder.attribute_changes(self._tool_call)

    async def close(self) -> None:
        """Nobody waits for the run any more: what the tool still asks for is not done."""
        await self._bridge.close()
        await self._progress.close()

    async def _without_time_limit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self.attribute_changes()

        async def run() -> T:
            with self._budget.paused():
                return await work()

        return await self._bridge.call(run)

    async def _show_progress(self, update: ProgressUpdate) -> None:
        await self._recorder.show_progress(
            self._tool_call, self._tool_name, update.percent, update.message
        )


def _routing(
    users: Sequence[str],
    roles: Sequence[str],
    escalate_after: float | None,
    escalate_to_users: Sequence[str],
    escalate_to_roles: Sequence[str],
    *,
    send_links: bool,
) -> QuestionRouting:
    if escalate_after is not None and not escalate_after > 0:
        raise ValueError("escalate_after: must be more than 0 seconds")
    if escalate_after is None and (escalate_to_users or escalate_to_roles):
        raise ValueError("escalate_after: is needed to escalate: the seconds until then")
    return QuestionRouting(
        to=Recipients(tuple(users), tuple(roles)) if users or roles else None,
        escalate_after=escalate_after,
        escalate_to=Recipients(tuple(escalate_to_users), tuple(escalate_to_roles)),
        send_links=send_links,
    )
