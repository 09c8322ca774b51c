import json
from typing import Any

import pytest

from services.transport import inbound
from services.transport.inbound import AnswerComponent, Cancel, Resume, StartBody, SubmitInput
from services.transport.refusals import RefusalError

LIMIT = 200


def frame(**message: Any) -> inbound.Inbound:
    return inbound.frame(json.dumps(message), LIMIT)


def test_a_submitted_text_answers_the_question_that_it_names_either_way() -> None:
    for name in ("input_request_id", "request_id"):
        said = frame(type="user.input.submit", chat_id="c", text="red", **{name: "q"})
        assert isinstance(said, SubmitInput)
        assert (said.text, said.question) == ("red", "q")


def test_what_chat_ui_sends_along_is_let_pass() -> None:
    said = frame(type="user.input.submit", chat_id="c", text="hi", context={"source": "ui"})
    assert isinstance(said, SubmitInput)
    assert said.question is None


def test_a_components_response_becomes_an_object() -> None:
    whole = frame(type="ui_tool_response", eventId="e", response={"colour": "red"})
    bare = frame(type="ui_tool_response", eventId="e", response="red", ui_tool_id="t")
    assert isinstance(whole, AnswerComponent)
    assert isinstance(bare, AnswerComponent)
    assert (whole.answer, bare.answer) == ({"colour": "red"}, {"value": "red"})


def test_a_resume_and_a_cancel_are_understood() -> None:
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
def test_a_frame_is_refused_by_its_field(text: str | None, code: str, field: str) -> None:
    with pytest.raises(RefusalError) as refused:
        inbound.frame(text, LIMIT)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_body_is_refused_by_its_field() -> None:
    for data, field in ((b"{}", "user_id"), (b"\xff", "body"), (b"x" * 300, "body")):
        with pytest.raises(RefusalError) as refused:
            inbound.body(StartBody, data, LIMIT)
        assert refused.value.field == field


def test_a_frame_is_nested_as_deep_as_a_form_may_be_and_no_deeper() -> None:
    def nested(levels: int) -> str:
        inner = "[" * levels + "]" * levels
        return f'{{"type":"ui_tool_response","eventId":"e","response":{inner}}}'

    assert isinstance(inbound.frame(nested(inbound.DEPTH - 1), LIMIT), AnswerComponent)
    with pytest.raises(RefusalError, match="message: is nested more than"):
        inbound.frame(nested(inbound.DEPTH), LIMIT)
