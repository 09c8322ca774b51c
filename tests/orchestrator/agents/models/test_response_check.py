"""Which responses are answers: whole ones, and cut ones that are of use."""

import pytest
from ag2.events import ModelMessage, ModelResponse, ToolCallEvent, ToolCallsEvent

from services.orchestrator.agents.models.response_check import classify_response


def response(text: str | None, *arguments: str, finish: str | None = "stop") -> ModelResponse:
    calls = [ToolCallEvent("echo", id=str(n), arguments=one) for n, one in enumerate(arguments)]
    message = None if text is None else ModelMessage(text)
    return ModelResponse(message, tool_calls=ToolCallsEvent(calls), finish_reason=finish)


def code(response: ModelResponse, *, structured: bool = False) -> str | None:
    failure = classify_response(response, structured=structured)
    return None if failure is None else failure.code


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " \n",
        "\ufeff",
        "\u200b",
        "\u2060\u00ad \x00\n",
        "<think>It rains.</think>",
        "<think>It rains",
        "<THINK></THINK> \n",
    ],
)
def test_an_answer_without_words_or_calls_is_empty(text: str | None) -> None:
    assert code(response(text)) == "MODEL_EMPTY"
    assert code(response(text, finish="tool_calls")) == "MODEL_EMPTY"
    assert code(response(text, "")) is None


@pytest.mark.parametrize("arguments", [['{"a": '], ['{"a": 1}', '{"b'], [""], ['"text"'], ["["]])
def test_calls_that_are_cut_are_of_no_use(arguments: list[str]) -> None:
    assert code(response("I look.", *arguments, finish="length")) == "ANSWER_CUT"
    assert code(response("I look.", *arguments)) is None


def test_calls_with_all_arguments_are_of_use_though_the_answer_was_cut() -> None:
    assert code(response("I loo", '{"a": 1}', "{}", finish="length")) is None


@pytest.mark.parametrize("text", [None, "", "<think>It rains and rains"])
def test_a_cut_answer_without_words_is_of_no_use(text: str | None) -> None:
    assert code(response(text, finish="length")) == "ANSWER_CUT"


def test_a_cut_text_is_of_use_unless_it_has_a_form() -> None:
    assert code(response("It rains and", finish="length")) is None
    assert code(response('{"n": 1, "m', finish="length"), structured=True) == "ANSWER_CUT"
    assert code(response('{"n": 1}   ', finish="length"), structured=True) is None
