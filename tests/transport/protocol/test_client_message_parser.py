import json
from typing import Any

import pytest

from contracts.wire.client_messages import (
    AnswerComponent,
    Cancel,
    ClientMessage,
    Resume,
    SubmitInput,
)
from services.transport.errors import ApiError
from services.transport.protocol import client_message_parser

LIMIT = 200


def frame(**message: Any) -> ClientMessage:
    return client_message_parser.parse_frame(json.dumps(message), LIMIT)


def test_a_submitted_text_answers_the_question_that_it_names_either_way() -> None:
    for name in ("input_request_id", "request_id"):
        message = frame(type="user.input.submit", chat_id="c", text="red", **{name: "q"})
        assert isinstance(message, SubmitInput)
        assert (message.text, message.question) == ("red", "q")


def test_extra_fields_of_chat_ui_are_ignored() -> None:
    message = frame(type="user.input.submit", chat_id="c", text="hi", context={"source": "ui"})
    assert isinstance(message, SubmitInput)
    assert message.question is None


def test_a_components_response_becomes_an_object() -> None:
    whole = frame(type="ui_tool_response", eventId="e", response={"colour": "red"})
    bare = frame(type="ui_tool_response", eventId="e", response="red", ui_tool_id="t")
    assert isinstance(whole, AnswerComponent)
    assert isinstance(bare, AnswerComponent)
    assert (whole.answer, bare.answer) == ({"colour": "red"}, {"value": "red"})


def test_a_resume_and_a_cancel_are_parsed() -> None:
    resume = frame(type="client.resume", chat_id="c", lastClientIndex=-1)
    cancel = frame(type="chat.cancel", reason="enough")
    assert resume == Resume(type="client.resume", chat_id="c", lastClientIndex=-1)
    assert cancel == Cancel(type="chat.cancel", reason="enough")


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        (None, "SCHEMA_VALIDATION_FAILED", "message"),
        ("", "SCHEMA_VALIDATION_FAILED", "message"),
        ("null", "SCHEMA_VALIDATION_FAILED", "message"),
        ('{"type":"ping"}', "SCHEMA_VALIDATION_FAILED", "type"),
        ('{"type":"client.resume","chat_id":"c"}', "SCHEMA_VALIDATION_FAILED", "lastClientIndex"),
        (
            '{"type":"client.resume","chat_id":"c","lastClientIndex":-2}',
            "SCHEMA_VALIDATION_FAILED",
            "lastClientIndex",
        ),
        ('{"type":"ui_tool_response","eventId":"e"}', "SCHEMA_VALIDATION_FAILED", "response"),
        ("ü" * 101, "MESSAGE_TOO_LARGE", "message"),
    ],
)
def test_an_invalid_message_is_rejected_by_its_field(
    text: str | None, code: str, field: str
) -> None:
    with pytest.raises(ApiError) as refused:
        client_message_parser.parse_frame(text, LIMIT)
    assert (refused.value.code, refused.value.field) == (code, field)
