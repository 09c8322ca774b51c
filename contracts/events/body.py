"""What every event body has in common."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from contracts.subjects import Category


class EventBody(BaseModel):
    """A fact. Frozen, tolerant of fields that a newer writer adds, and sure of its name and version."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    type: ClassVar[str]
    version: ClassVar[int] = 1
    category: ClassVar[Category] = "runtime"
