"""Tools that require an approval: each call waits until somebody who may approve it decides."""

from ag2 import Context
from ag2.events import ToolCallEvent, ToolResultEvent
from ag2.middleware import ToolExecution, ToolMiddleware, ToolResultType

from contracts.approvals import DENY
from services.orchestrator.agents.ag2.codec import refused_result
from services.orchestrator.agents.session.human_requests import CallToApprove, Decision
from services.orchestrator.agents.session.recorder import RECORDER, TurnRecorder
from services.orchestrator.workflows.spec import ApprovalPolicy


def require_approval(policy: ApprovalPolicy) -> ToolMiddleware:
    """AG2 middleware: makes the call if it is approved; otherwise the model gets the refusal."""

    async def approve(
        call_next: ToolExecution, event: ToolCallEvent, context: Context
    ) -> ToolResultType:
        recorder: TurnRecorder = context.dependencies[RECORDER]
        call = CallToApprove(event.id, event.name, event.arguments)
        decision = await recorder.human_requests.ask_approval(call, policy)
        if decision.approved:
            return await call_next(event, context)
        return refusal(event, decision)

    return approve


def refusal(event: ToolCallEvent, decision: Decision) -> ToolResultEvent:
    """The result of a call that is not made."""
    return refused_result(event, denial_message(event.name, decision))


def denial_message(tool: str, decision: Decision) -> str:
    """What the model reads; with the answer's own words if it has any."""
    if decision.expired:
        return f"Nobody approved this call of {tool} in time, so it was not made."
    words = decision.text.strip()
    message = f"This call of {tool} was not approved, so it was not made."
    if words.casefold() in ("", DENY.casefold()):
        return message
    return f"{message} The answer was: {words}"
