"""What a workflow tells the rest of the company."""

from typing import Any, ClassVar, Literal

from contracts.events.body import EventBody
from contracts.subjects import Category

Level = Literal["debug", "info", "warning", "error", "critical"]


class BusinessLogged(EventBody):
    """The seed's `emit_business_event(log_event_type, level, message, **metadata)`."""

    type: ClassVar[str] = "business.logged"
    category: ClassVar[Category] = "business"
    log_event_type: str
    level: Level = "info"
    message: str
    metadata: dict[str, Any] = {}
