"""Whether the caller may see what was said and sent, as whole events have it."""

from services.transport.auth.principal import require_scope
from services.transport.context import RequestContext
from services.transport.errors import ApiError


def require_raw_events(context: RequestContext) -> None:
    """Raises ApiError: RAW_EVENTS=false, or not an operator."""
    require_scope(context.identity, "operators")
    if not context.services.settings.raw_events:
        problem = "it has prompts as they were sent, which RAW_EVENTS=false forbids"
        raise ApiError("SCOPE_MISSING", "token", problem)
