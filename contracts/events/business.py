"""Business events: what workflows publish to other services."""

from typing import Any, ClassVar, Literal

from contracts.events.body import EventBody
from contracts.subjects import Category

Level = Literal["debug", "info", "warning", "error", "critical"]


class BusinessLogged(EventBody):
    """The seed's `emit_business_event(log_event_type, level, message, **metadata)`.

    `occasion` identifies the call in a tool's run, so that a tool which runs again after a crash
    publishes it once.
    """

    type: ClassVar[str] = "business.logged"
    category: ClassVar[Category] = "business"
    log_event_type: str
    level: Level = "info"
    message: str
    metadata: dict[str, Any] = {}
    occasion: str | None = None
