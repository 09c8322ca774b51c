"""Asks the `check` function of a tool whether a call in doubt was done; what it cannot say is unknown."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from services.orchestrator.agents.sandbox.stdout_capture import capture_output
from services.orchestrator.agents.sandbox.thread_runner import AbandonedRuns, ThreadRunner
from services.orchestrator.workflows.code.loader import ToolLoadError

log = logging.getLogger(__name__)

CHECK_SECONDS = 30.0
"""How long a check may take."""

_OPTIONAL = ("arguments", "tool")
"""What a check may have parameters for, beside the key."""


@dataclass(frozen=True, slots=True)
class Done:
    """The call took effect, and this is what it returned."""

    result: Any


@dataclass(frozen=True, slots=True)
class NotDone:
    """The call took no effect."""


class CheckAnswerError(Exception):
    """A check returned something that is no answer."""


@dataclass(frozen=True, slots=True)
class CheckFunction:
    """The check of one tool or MCP server; `optional` are the parameters that it has of `_OPTIONAL`."""

    function: Callable[..., Any]
    optional: frozenset[str]
    thread_runner: ThreadRunner
    seconds: float = CHECK_SECONDS
    abandoned_runs: AbandonedRuns = field(default_factory=AbandonedRuns)

    async def outcome(
        self, key: str, tool: str, arguments: Mapping[str, Any], log_fields: Mapping[str, str]
    ) -> Done | NotDone | None:
        """None if it is unknown: also where the check raises, hangs or returns something else."""
        given = {"arguments": dict(arguments), "tool": tool}
        passed = {name: value for name, value in given.items() if name in self.optional}
        work = partial(self.function, key, **passed)
        try:
            self.abandoned_runs.check_capacity()
            with capture_output(dict(log_fields)):
                async with asyncio.timeout(self.seconds):
                    return _parsed(await self._run(work))
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _log_unknown(log_fields, cancelled)
        except Exception as error:  # noqa: BLE001  whatever the workflow's code raises
            _log_unknown(log_fields, error)
        return None

    async def _run(self, work: Callable[[], Any]) -> Any:
        if inspect.iscoroutinefunction(self.function):
            return await self.thread_runner.run_async(work, self.abandoned_runs)
        value = await self.thread_runner.run_blocking(work, self.abandoned_runs)
        if inspect.isawaitable(value):  # a decorator hides that the function is async
            return await self.thread_runner.run_async(
                partial(_identity, value), self.abandoned_runs
            )
        return value


def _identity(value: Any) -> Any:
    return value


def _log_unknown(log_fields: Mapping[str, str], error: BaseException) -> None:
    log.warning(
        "the check of a tool gave no answer", extra={**log_fields, "why": repr(error)[:500]}
    )


def _parsed(answer: Any) -> Done | NotDone | None:
    """Raises CheckAnswerError."""
    match answer:
        case {"status": "done", **more} if more.keys() <= {"result"}:
            return Done(more.get("result"))
        case {"status": "not_done", **more} if not more:
            return NotDone()
        case {"status": "unknown", **more} if not more:
            return None
        case _:
            raise CheckAnswerError(
                'a check returns {"status": "done", "result": ...}, {"status": "not_done"} or '
                f'{{"status": "unknown"}}, not {type(answer).__name__} {answer!r:.200}'
            )


def build_check(
    function: Callable[..., Any], name: str, thread_runner: ThreadRunner, timeout_seconds: float
) -> CheckFunction:
    """Raises ToolLoadError if the function cannot be called with a key."""
    try:
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        optional = frozenset(one.name for one in parameters[1:]) & set(_OPTIONAL)
        signature.bind("key", **dict.fromkeys(optional))
    except (TypeError, ValueError) as error:
        raise ToolLoadError(
            f"{name}: a check is called with the idempotency key, and with `arguments` and `tool` "
            f"if it has parameters of these names: {error}"
        ) from error
    return CheckFunction(function, optional, thread_runner, min(CHECK_SECONDS, timeout_seconds))
