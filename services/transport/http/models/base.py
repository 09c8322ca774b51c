"""What every request and response model of the HTTP API has in common."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.fields import FieldInfo

from contracts.events.chat import Segment
from contracts.ids import ChatId
from contracts.wire.json_values import MAX_SAFE_INTEGER

Timestamp = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A point in time in UTC, written as `2026-11-25T12:00:00+00:00`: pydantic would end it with `Z`."""

Count = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]

EventSequence = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
"""The position of an event in its chat, from 1; 0 is before the first event."""

CHAT_ID = "6f1c2b9e-6d0f-5c1e-9a55-0a7f5a3c2d11"
QUESTION_ID = f"acme.{CHAT_ID}.1.0.call-1"
CURSOR = "12.0"
EARLIER = "2026-11-25T12:00:00+00:00"
LATER = "2026-11-25T12:00:09+00:00"


def _add_example(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema["examples"] = [example_of(model)]


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """An instance of the model as JSON: of each field the first example, else the default."""
    return {name: _example(field) for name, field in model.model_fields.items()}


def _example(field: FieldInfo) -> Any:
    return field.examples[0] if field.examples else field.default


class RequestModel(BaseModel):
    """What a client sends: unknown members are ignored, no value is converted to another type."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=True, json_schema_extra=_add_example
    )


class ResponseModel(BaseModel):
    """What a client gets: every member is there, those with a constant value included."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra=_add_example,
        json_schema_serialization_defaults_required=True,
    )


class ForkOrigin(ResponseModel):
    """Where a fork comes from."""

    chat_id: ChatId = Field(description="The chat that it is a fork of.", examples=[CHAT_ID])
    sequence: EventSequence = Field(
        description="The `seq` of the last event that it has of that chat.", examples=[12]
    )

    @classmethod
    def of(cls, origin: Segment | None) -> Self | None:
        return None if origin is None else cls(chat_id=origin.chat_id, sequence=origin.last)


class ErrorAnswer(ResponseModel):
    """Why a request was rejected; nothing was changed because of it."""

    detail: str = Field(
        description="The field that is wrong, a colon, what was found and what is accepted.",
        examples=["user_id: is required"],
    )
