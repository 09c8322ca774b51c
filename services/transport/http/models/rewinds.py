"""Models of the routes that retry, edit and rewind."""

from typing import Literal

from pydantic import Field, field_validator

from contracts.effects import CallEffect
from contracts.ids import UserId
from contracts.wire.client_messages import not_blank
from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.http.models.base import RequestModel, ResponseModel
from services.transport.http.models.effects import EXAMPLE


class RetryRequest(RequestModel):
    """Run the last turn of an agent again, also after a failure or the end of the chat."""

    user_id: UserId = Field(description="The user whose chat it is.", examples=["ana"])
    confirm: bool = Field(
        default=False,
        description="Go on although tools have had effects meanwhile that are not undone.",
    )
    seen_seq: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SAFE_INTEGER,
        description="The last event of the chat that the user has seen: after another one the request is"
        " refused. Without it: the last one there is.",
        examples=[12],
    )


class EditRequest(RetryRequest):
    """Replace a message of the user: what came after it does not count any more."""

    message_seq: int = Field(
        ge=1,
        le=MAX_SAFE_INTEGER,
        description="The message: `seq` of its `chat.text` frame.",
        examples=[7],
    )
    message: str = Field(description="The new text; not blank.", examples=["A shop for bread"])

    _message = field_validator("message")(not_blank)


class RewindRequest(RetryRequest):
    """Take the chat back to where it waited for the user, or had ended."""

    to_seq: int = Field(
        ge=1,
        le=MAX_SAFE_INTEGER,
        description="The last event that is to count: one after which the chat waited for a message or an"
        " answer of the user, or had ended.",
        examples=[6],
    )


class RewindAccepted(ResponseModel):
    """What has become of the request: the events of the chat show what follows."""

    status: Literal["rewound", "accepted"] = Field(
        description="`accepted`: it is stored, and will be handled.", examples=["rewound"]
    )
    seq: int | None = Field(
        le=MAX_SAFE_INTEGER,
        description="The position of `chat.rewound`, where it is known.",
        examples=[13],
    )


class RewindRefusedAnswer(ResponseModel):
    """Why the request had no effect."""

    detail: str = Field(
        description="The field that is wrong, a colon, what was found.",
        examples=["confirm: cannot undo what these tools have done: charge_card"],
    )
    code: str = Field(description="The error's code.", examples=["CONFIRMATION_REQUIRED"])
    effects: list[CallEffect] = Field(
        description="What would not be undone; empty for other codes.", examples=[[EXAMPLE]]
    )
