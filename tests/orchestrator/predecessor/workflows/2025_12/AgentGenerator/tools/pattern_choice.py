"""Keeps the pattern."""

from core.events.unified_event_dispatcher import emit_business_event


async def choose_pattern(
    pattern: str, reason: str = None, context_variables=None, **runtime
) -> dict:
    context_variables["pattern"] = pattern
    await emit_business_event(
        "PATTERN_CHOSEN", f"{pattern} was chosen", context={"reason": reason}, level="INFO"
    )
    return {"pattern": pattern}
