"""Makes the calls of a tool: each is in the log before it begins, and one in doubt is resolved first.

A call is in doubt if the log has its dispatch and no result while nobody runs it, or if its time was
over before it returned. Then the tool's check is asked, and after it the policy of the manifest
decides: repeat the call, ask the user, tell the model, or fail the turn.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from contracts.events.human import Doubt
from contracts.events.turn import DispatchReason, ToolDispatched
from contracts.ids import QuestionId
from services.orchestrator.agents.session.human_requests import TO_USER, shown_arguments
from services.orchestrator.agents.session.recorder import TurnRecorder
from services.orchestrator.agents.tools.check_function import CheckFunction, Done, NotDone
from services.orchestrator.agents.tools.limits import CallLimiter, TimeBudget, ToolTimeLimitError
from services.orchestrator.domain.call_outcomes import (
    DidNotHappen,
    DoItAgain,
    Happened,
    argument_values,
    arguments_of,
)
from services.orchestrator.workflows.effect_policy import EffectPolicy
from services.orchestrator.workflows.spec import QuestionRouting

log = logging.getLogger(__name__)

INTERRUPTED = "the process that called it ended before it returned"


class OutcomeUnknownError(Exception):
    """An attempt ended without a result after its request was sent: nobody knows what it did.

    `error` is what the model is told where the call is not resolved.
    """

    def __init__(self, why: str, error: Exception) -> None:
        super().__init__(why)
        self.error = error


@dataclass(frozen=True, slots=True)
class ResolvedResult:
    """The result of a call that was in doubt, in place of what the tool would have returned."""

    value: Any


class _ResolvedError(Exception):
    """A call in doubt has its result: it is not made again."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


@dataclass(frozen=True, slots=True)
class GuardedTool:
    """One tool with its limits, its effect and its check; `routing` says who is asked in doubt."""

    name: str
    policy: EffectPolicy
    limiter: CallLimiter
    check: CheckFunction | None = None
    routing: QuestionRouting = TO_USER

    async def call(
        self,
        recorder: TurnRecorder,
        tool_call: str,
        work: Callable[[TimeBudget], Awaitable[Any]],
        may_have_begun: Callable[[], bool] = lambda: True,
    ) -> Any:
        """What `work` returns for one tool call, or the ResolvedResult of one in doubt.

        `may_have_begun` says of an attempt whose time is over whether it can have an effect. Raises what `work` raises on its last attempt, and what the journal raises.
        """
        return await _Call(self, recorder, tool_call, may_have_begun).run(work)


class _Call:
    """One tool call in this run of its turn."""

    def __init__(
        self,
        tool: GuardedTool,
        recorder: TurnRecorder,
        tool_call: str,
        may_have_begun: Callable[[], bool],
    ) -> None:
        self._may_have_begun = may_have_begun
        self._tool = tool
        self._recorder = recorder
        self._id = tool_call
        self._reason: DispatchReason | None = None
        """Why the next attempt is made; None if its dispatch is in the log already."""
        self._allowed_by: QuestionId | None = None

    async def run(self, work: Callable[[TimeBudget], Awaitable[Any]]) -> Any:
        try:
            await self._begin()
            return await self._tool.limiter.run(work, self._before_attempt, self._may_retry)
        except _ResolvedError as resolved:
            return ResolvedResult(resolved.value)

    async def _begin(self) -> None:
        """What the log says of the call decides why it is made now."""
        dispatches = self._recorder.dispatches
        self._allowed_by = self._recorder.human_requests.approval_of(self._id)
        if dispatches.take_early(self._id):
            self._reason = None
        elif (newest := dispatches.newest(self._id)) is None:
            self._reason = "first"
        elif not dispatches.is_running(self._id):
            await self._recorder.human_requests.wait_for_answers(self._id)
            self._reason = "continue"
        else:
            self._reason = await self._resolve(newest, INTERRUPTED)

    async def _before_attempt(self) -> None:
        if self._reason == "retry":
            self._recorder.restart_tool(self._id)
        if self._reason is not None:
            await self._recorder.dispatches.append(
                self._id,
                self._tool.name,
                self._tool.policy.effect,
                self._reason,
                call=max(self._recorder.call, 0),
                approval=self._allowed_by,
            )
        self._reason = "retry"

    async def _may_retry(self, error: Exception, allowed: bool) -> bool:  # noqa: FBT001
        """After a failed attempt; one whose outcome is unknown is resolved first."""
        if self._recorder.journal.error is not None:
            return False
        unknown = isinstance(error, ToolTimeLimitError | OutcomeUnknownError)
        if self._is_plain or not unknown or not self._may_have_begun():
            return allowed
        newest = self._recorder.dispatches.newest(self._id)
        if newest is None:
            return allowed
        self._reason = await self._resolve(newest, f"it {error}, and may still run")
        self._recorder.restart_tool(self._id)
        return allowed or self._reason != "repeat"

    async def _resolve(self, dispatch: ToolDispatched, why: str) -> DispatchReason:
        """Why a call in doubt is made again. Raises _ResolvedError with the result of one that is not."""
        requests = self._recorder.human_requests
        level = logging.INFO if self._is_plain else logging.WARNING
        log.log(
            level,
            "a tool call is in doubt",
            extra={"call": dispatch.idempotency_key, "attempt": dispatch.attempt, "why": why},
        )
        if not requests.is_asked_in_doubt(self._id, dispatch.attempt):
            match await self._checked(dispatch):
                case Done(result):
                    self._recorder.note_outcome(self._id, resolved_by="check")
                    raise _ResolvedError(result)
                case NotDone():
                    return "check"
                case None:
                    pass
        match self._tool.policy.in_doubt:
            case "repeat":
                return "repeat"
            case "ask":
                return await self._asked(dispatch, why)
            case "tell":
                raise self._resolved_by_policy(None, why)
            case "fail":
                error = f"It is not known whether {self._tool.name} took effect: {why}."
                raise self._resolved_by_policy(error, why)

    @property
    def _is_plain(self) -> bool:
        """Whether a call in doubt is simply repeated."""
        return self._tool.policy.in_doubt == "repeat" and self._tool.check is None

    async def _checked(self, dispatch: ToolDispatched) -> Done | NotDone | None:
        if self._tool.check is None:
            return None
        recorder = self._recorder
        return await self._tool.check.outcome(
            dispatch.idempotency_key,
            self._tool.name,
            argument_values(self._arguments),
            {
                "app": recorder.key.app,
                "chat": recorder.key.chat,
                "agent": str(recorder.turn.agent),
                "tool": self._tool.name,
            },
        )

    async def _asked(self, dispatch: ToolDispatched, why: str) -> DispatchReason:
        prompt = (
            f"It is not known whether {self._tool.name} took effect: {why}. "
            f"It was called with {shown_arguments(self._arguments)}. What happened? "
            "If it happened, its result may follow after a colon."
        )
        answer, question = await self._recorder.human_requests.ask_in_doubt(
            self._id,
            prompt,
            Doubt(tool=dispatch.name, digest=dispatch.arguments_digest, attempt=dispatch.attempt),
            self._tool.routing,
        )
        match answer:
            case Happened(result):
                self._recorder.note_outcome(self._id, resolved_by="user")
                told = (
                    result or "The user says that this call took effect. Its result is not known."
                )
                raise _ResolvedError(told)
            case DidNotHappen():
                text = (
                    f"This call of {self._tool.name} was interrupted: {why}. "
                    "The user says that it did not take effect."
                )
                self._recorder.note_outcome(
                    self._id, status="error", error=text, resolved_by="user"
                )
                raise _ResolvedError(text)
            case DoItAgain():
                self._allowed_by = question
                return "answer"

    def _resolved_by_policy(self, error: str | None, why: str) -> _ResolvedError:
        """The result `unknown`; with an error, it fails the turn."""
        self._recorder.note_outcome(self._id, status="unknown", error=error, resolved_by="policy")
        return _ResolvedError(
            f"It is not known whether this call of {self._tool.name} took effect: {why}. "
            "It was not repeated."
        )

    @property
    def _arguments(self) -> Any:
        return arguments_of(self._recorder.journal.state, self._id)
