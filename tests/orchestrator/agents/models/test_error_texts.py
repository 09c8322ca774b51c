"""What providers write when a request is too long, or asks for a form of answer that they do not have."""

import pytest

from services.orchestrator.agents.models.error_texts import (
    is_about_schema,
    is_context_too_long,
    is_format_refused,
    named_context_window,
)
from services.orchestrator.agents.models.wire.provider_error import ErrorBody

TOO_LONG: list[tuple[int, str, int | None]] = [
    (
        400,
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens. Please reduce the length of the messages.",
        8192,
    ),
    (
        400,
        "This model's maximum context length is 8191 tokens, however you requested 10346 tokens (10346 in your prompt; 5 for the completion).",
        8191,
    ),
    (
        400,
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        None,
    ),
    (
        400,
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
        272000,
    ),
    (400, "prompt is too long: 208310 tokens > 200000 maximum", 200000),
    (
        400,
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length",
        200000,
    ),
    (
        400,
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        1048576,
    ),
    (
        400,
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        131072,
    ),
    (400, "Please reduce the length of the messages or completion.", None),
    (
        413,
        "Request too large for model `llama` in organization `x` on tokens per minute (TPM): Limit 6000, Requested 9000, please reduce your message size and try again.",
        6000,
    ),
    (
        429,
        "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 35000. The input or output tokens must be reduced in order to run successfully.",
        30000,
    ),
    (
        400,
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        32768,
    ),
    (
        400,
        "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (149000 of text input, 1000 in the output).",
        131072,
    ),
    (
        400,
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        4096,
    ),
    (400, "Input length (5000) exceeds model's maximum context length (4096).", 4096),
    (
        400,
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        4096,
    ),
    (
        400,
        "the request exceeds the available context size. try increasing the context size or enable context shift",
        None,
    ),
    (
        400,
        "Trying to keep the first 6000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
        4096,
    ),
    (
        400,
        "The number of tokens to keep from the initial prompt is greater than the context length",
        None,
    ),
    (
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 100 `max_new_tokens`",
        4096,
    ),
    (422, "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000", 4096),
    (
        400,
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000.",
        4081,
    ),
    (400, "Input is too long for requested model.", None),
    (400, "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)", 8192),
    (400, "Range of input length should be [1, 30720]", 30720),
    (400, "context window exceeds limit (2013)", 2013),
    (400, "Prompt exceeds max length", None),
    (
        400,
        "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
        8192,
    ),
    (400, "The prompt is too long: 140000, model maximum context length: 131071", 131071),
    (400, "prompt token count of 140000 exceeds the limit of 128000", 128000),
    (413, "<html><head><title>413 Request Entity Too Large</title></head></html>", None),
    (400, "max_tokens must be at least 1, got -5.", None),
    (400, "prompt too long; exceeded max context length by 5 tokens", None),
]


@pytest.mark.parametrize(("status", "message", "window"), TOO_LONG)
def test_a_conversation_that_is_too_long_is_recognised_with_its_window(
    status: int, message: str, window: int | None
) -> None:
    error = ErrorBody(message)
    assert is_context_too_long(status, error)
    assert named_context_window(error) == window


@pytest.mark.parametrize(
    "error",
    [
        ErrorBody("no", "context_length_exceeded"),
        ErrorBody("no", None, "exceed_context_size_error"),
        ErrorBody("no", "model_max_prompt_tokens_exceeded"),
        ErrorBody("Invalid 'messages[1].content': string too long.", "string_above_max_length"),
    ],
)
def test_a_code_says_it_whatever_the_message_is(error: ErrorBody) -> None:
    assert is_context_too_long(400, error)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            429,
            "Rate limit reached on tokens per min (TPM): Limit 30000, Used 29000, Requested 3500.",
        ),
        (429, "You exceeded your current quota: input_token_count limit: 250000"),
        (400, "Invalid schema for function 'look_up'"),
        (
            400,
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens.",
        ),
        (400, "Unsupported parameter: 'max_tokens' is not supported with this model."),
        (400, "Invalid value for 'messages[3].tool_call_id'"),
        (401, "Your context window is fine, your key is not"),
    ],
)
def test_other_errors_are_about_something_else(status: int, message: str) -> None:
    assert not is_context_too_long(status, ErrorBody(message))
    assert not is_format_refused(status, ErrorBody(message))


@pytest.mark.parametrize(
    "message", ["exceeds context size 12", "token limit: 999999999999999999999999", "context limit"]
)
def test_a_senseless_window_is_none(message: str) -> None:
    assert named_context_window(ErrorBody(message)) is None


FORMAT_REFUSED = [
    (400, "This response_format type is unavailable now"),
    (
        422,
        "Failed to deserialize the JSON body: response_format.type `json_schema` is unavailable now",
    ),
    (400, "'response_format' json_object cannot be combined with tool/function calling"),
    (400, "json mode cannot be combined with tool/function calling"),
    (400, "Function calling with a response mime type: 'application/json' is unsupported"),
    (
        400,
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
    ),
    (400, "'response_format.type' must be 'json_schema' or 'text'"),
    (422, "[{'type': 'extra_forbidden', 'loc': ['body', 'response_format']}]"),
    (400, "Structured outputs are not supported by this model"),
    (400, "The provided JSON schema contains features not supported by xgrammar."),
    (400, "This model doesn't support JSON mode."),
    (400, "Failed to generate JSON. Please adjust your prompt."),
    (
        400,
        "response_format value as json_schema is enabled only for api versions 2024-08-01-preview",
    ),
]


@pytest.mark.parametrize(("status", "message"), FORMAT_REFUSED)
def test_a_refused_form_of_answer_is_recognised(status: int, message: str) -> None:
    assert is_format_refused(status, ErrorBody(message))
    assert not is_context_too_long(status, ErrorBody(message))


def test_a_refused_schema_says_nothing_about_other_schemas() -> None:
    assert is_about_schema(ErrorBody("Invalid schema for response_format 'Order': ..."))
    assert is_about_schema(ErrorBody("The provided JSON schema contains features not supported"))
    assert not is_about_schema(ErrorBody("This response_format type is unavailable now"))
