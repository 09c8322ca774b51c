"""Base of event bodies."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from contracts.subjects import Category


class EventBody(BaseModel):
    """An event body: frozen; fields that a newer release adds are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    type: ClassVar[str]
    version: ClassVar[int] = 1
    category: ClassVar[Category] = "runtime"
