"""The results of tool calls that have none when their turn ends early."""

from contracts.events.parts import TextPart
from contracts.events.turn import Occasion, ToolReturned
from services.orchestrator.domain.turn import Turn


def in_doubt(text: str) -> str:
    """The result of a call that acts once and had begun."""
    return f"{text} It is not known whether it took effect."


def results_of_unfinished(
    turn: Turn, text: str, not_begun: str | None = None
) -> list[ToolReturned]:
    """A result for each call of a turn that has none.

    `text` is the error of one that had begun, `not_begun` of one that had not, by default the same.
    """
    found = [
        _result(turn, call, one.id, one.name, None, text, not_begun)
        for call, one in turn.unfinished_calls
    ]
    results, last = turn.tool_results, max(turn.next_call - 1, 0)
    return found + [
        _result(turn, last, one.tool_call_id, one.name, one.occasion, text, not_begun)
        for one in turn.invocations
        if one.tool_call_id not in results
    ]


def _result(
    turn: Turn,
    call: int,
    tool_call: str,
    name: str,
    occasion: Occasion | None,
    text: str,
    not_begun: str | None,
) -> ToolReturned:
    dispatch = turn.dispatches.get(tool_call)
    is_in_doubt = dispatch is not None and dispatch.effect == "once"
    if dispatch is None:
        text = not_begun or text
    elif is_in_doubt:
        text = in_doubt(text)
    return ToolReturned(
        turn=turn.number,
        call=call,
        agent=turn.agent,
        tool_call_id=tool_call,
        name=name,
        status="unknown" if is_in_doubt else "error",
        parts=[TextPart(text=text)],
        error=None if is_in_doubt else text,
        occasion=occasion,
        resolved_by="policy" if is_in_doubt else None,
    )
