"""Frames as a client receives them: parsed into the models of the wire."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.wire.frames import FrameData, of_type


class UnknownData(BaseModel):
    """The `data` of a frame that this release of the client does not know."""

    model_config = ConfigDict(frozen=True, extra="allow")


class _Received(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str
    data: dict[str, Any] = {}
    timestamp: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Frames of earlier events; `first_sequence` is the `before` of the page before, 1 at the start."""

    frames: list["Frame"]
    first_sequence: int


class Frame(BaseModel):
    """One message from the transport.

    `seq` is the number of the event that the frame is of; none for what is no event, such as text
    that is being streamed.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    data: FrameData | UnknownData = Field(union_mode="left_to_right")
    timestamp: str | None = None
    seq: int | None = None

    @property
    def status(self) -> Literal[0, 1, 2, 3] | None:
        """The chat's status number where the frame says it: 1 to 3 mean that the chat has ended."""
        found: Literal[0, 1, 2, 3] | None = getattr(self.data, "status", None)
        return found if self.type in ("chat.resume_boundary", "chat.run_complete") else None


def parse(text: str | bytes) -> Frame:
    """Raises pydantic.ValidationError where the text is no frame."""
    return _frame(_Received.model_validate_json(text))


def parse_all(frames: Iterable[dict[str, Any]]) -> list[Frame]:
    """The frames of a page or of a history. Raises pydantic.ValidationError."""
    return [_frame(_Received.model_validate(one)) for one in frames]


def _frame(received: _Received) -> Frame:
    return Frame.model_construct(
        type=received.type,
        data=_data(received),
        timestamp=received.timestamp,
        seq=received.seq,
    )


def _data(received: _Received) -> FrameData | UnknownData:
    for model in of_type(received.type):
        try:
            return model.model_validate(received.data)
        except ValidationError:
            continue  # another `data` of the same type, or of a newer release
    return UnknownData.model_validate(received.data)
