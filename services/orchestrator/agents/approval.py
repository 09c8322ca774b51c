"""Tools that a person must approve: each call of one waits for a yes before it does anything."""

from ag2 import Context
from ag2.events import ToolCallEvent, ToolResultEvent
from ag2.middleware import ToolExecution, ToolResultType

from services.orchestrator.agents.scope import SCOPE, Scope

APPROVE, DENY = "Approve", "Deny"
_YES = frozenset({"approve", "approved", "yes", "y"})
"""What AG2's own approval takes for a yes, and the button's words."""
_SHOWN_CHARS = 4_000
"""Of the arguments, in the question; the call itself is shown whole."""


async def ask_first(
    call_next: ToolExecution, event: ToolCallEvent, context: Context
) -> ToolResultType:
    """AG2 middleware: the call goes on when the person says yes, else the model hears what they said."""
    scope: Scope = context.dependencies[SCOPE]
    said = await scope.ask_approval(event.id, question(event), [APPROVE, DENY])
    if said.strip().casefold() in _YES:
        return await call_next(event, context)
    return ToolResultEvent.from_call(event, result=denial(event.name, said))


def question(event: ToolCallEvent) -> str:
    given = event.arguments
    shown = given if len(given) <= _SHOWN_CHARS else f"{given[:_SHOWN_CHARS]}…"
    return f"May {event.name} be called with {shown}?"


def denial(tool: str, said: str) -> str:
    """What the model reads; the person's own words where they chose no button."""
    words = said.strip()
    told = f"The person did not approve this call of {tool}, and it was not made."
    return told if words.casefold() in ("", DENY.casefold()) else f"{told} They said: {words}"
