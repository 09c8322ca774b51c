"""Parse the messages of WebSocket clients, or reject them by the field."""

from typing import get_args

from pydantic import ValidationError

from contracts.wire.client_messages import ClientMessage
from services.transport.errors import bad_request, too_large
from services.transport.protocol.validation import parse_object, validation_error

_BY_TYPE: dict[str, type[ClientMessage]] = {
    type_: model
    for model in get_args(ClientMessage)
    for type_ in get_args(model.model_fields["type"].annotation)
}


def parse_frame(text: str | None, limit: int) -> ClientMessage:
    """The message in a WebSocket text frame; `limit` is in bytes. Raises ApiError."""
    if text is None:
        raise bad_request("message", "must be text, not binary")
    if len(text) > limit or len(text.encode(errors="replace")) > limit:
        raise too_large("message", limit)
    message = parse_object("message", text)
    type_ = message.get("type")
    model = _BY_TYPE.get(type_) if isinstance(type_, str) else None
    if model is None:
        raise bad_request("type", f"must be one of {', '.join(_BY_TYPE)}")
    try:
        return model.model_validate(message)
    except ValidationError as error:
        raise validation_error(error, "message") from error
