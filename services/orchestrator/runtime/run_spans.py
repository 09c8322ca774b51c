"""Spans of a run: the workflow while it is not quiet, and each agent's turn in it.

A run is what one delivery of a command does. Its span ends once the chat waits for somebody: what
continues it, a month later or in another process, is a span of its own, with a link to this one.
"""

from contextlib import AbstractContextManager

from services.chassis.tracing.spans import Attributes, Span, span
from services.orchestrator.domain.state import ChatState, Effect, RunTurn
from services.orchestrator.domain.turn_steps import Failed, Outcome, Suspended
from services.orchestrator.runtime.chat_log import ChatLog


def workflow_span(chat: ChatLog) -> AbstractContextManager[Span]:
    """The span of a run, by the GenAI conventions, linked to the run that it continues."""
    workflow = chat.state.workflow or ""
    return span(
        f"invoke_workflow {workflow}",
        links=[chat.continued_trace],
        attributes={
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": workflow,
            **_of_chat(chat),
            "mozaiks.runner": chat.delivery.runner,
        },
    )


def note_end(current: Span, state: ChatState) -> None:
    """What the chat does after the run: it has ended, or whom it waits for."""
    if state.ended is not None:
        status: str = state.ended
    else:
        status = "waits_for_user" if state.waits_for_user else "waits_for_answer"
    current.set({"mozaiks.chat.status": status})
    if state.ended == "failed":
        current.fail("chat_failed")


def effect_span(effect: Effect, chat: ChatLog) -> AbstractContextManager[Span]:
    """The span of what an agent does of its turn in this run, or of the tools around a chat."""
    turn = chat.state.open_turn
    if not isinstance(effect, RunTurn) or turn is None:
        return span("run_lifecycle_tools", attributes=_of_chat(chat))
    return span(
        f"invoke_agent {turn.agent}",
        attributes={
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": turn.agent,
            **_of_chat(chat),
            "mozaiks.turn": turn.number,
        },
    )


def note_outcome(current: Span, outcome: Outcome | None) -> None:
    """How the turn went: None where it was ended from outside."""
    match outcome:
        case Failed(code=code):
            current.fail(code)
        case Suspended():
            current.set({"mozaiks.turn.suspended": True})
        case _:
            pass


def _of_chat(chat: ChatLog) -> Attributes:
    return {"gen_ai.conversation.id": chat.key.chat, "mozaiks.app_id": chat.key.app}
