"""The body of a request, beside the one that AG2's own client sends."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import httpx2
import pytest
from ag2.compact import CompactionSummary
from ag2.config.openai import OpenAIConfig
from ag2.config.openai.mappers import convert_messages, response_proto_to_schema, tool_to_api
from ag2.context import ConversationContext
from ag2.events import (
    AudioInput,
    BaseEvent,
    BinaryInput,
    BinaryType,
    DataInput,
    DocumentInput,
    FileIdInput,
    ImageInput,
    Input,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResult,
    ToolResultEvent,
    ToolResultsEvent,
    UrlInput,
    UsageEvent,
)
from ag2.exceptions import UnsupportedInputError, UnsupportedToolError
from ag2.files.types import FileProvider, UploadedFile
from ag2.response import PromptedSchema, ResponseProto, ResponseSchema
from ag2.stream import MemoryStream
from ag2.tools import tool
from ag2.tools.final import FunctionToolSchema
from ag2.tools.schemas import ToolSchema
from fast_depends.pydantic.serializer import PydanticSerializer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from services.orchestrator.agents.models.openai_wire.config import OpenAIWireConfig
from services.orchestrator.agents.models.openai_wire.message_bytes import MessageBytes
from services.orchestrator.agents.models.openai_wire.request import request_body

OPTIONS = {"model": "m"}
SERIALIZER = PydanticSerializer()


def sent(
    messages: Sequence[BaseEvent],
    *,
    prompt: Sequence[str] = ("You write.",),
    tools: Sequence[ToolSchema] = (),
    schema: ResponseProto[Any] | None = None,
    cache: MessageBytes | None = None,
) -> dict[str, Any]:
    body = request_body(
        OPTIONS,
        prompt,
        messages,
        tools,
        schema,
        encode_data=SERIALIZER.encode,
        cache=cache or MessageBytes(),
    )
    request: dict[str, Any] = json.loads(body)
    return request


def messages_sent(*messages: BaseEvent) -> list[dict[str, Any]]:
    """Without the system message."""
    found: list[dict[str, Any]] = sent(messages)["messages"]
    return found[1:]


def sent_by_ag2(messages: Sequence[BaseEvent], prompt: Sequence[str]) -> list[dict[str, Any]]:
    """AG2's messages, with an empty text in place of null, and without empty answers."""
    converted: list[dict[str, Any]] = json.loads(
        json.dumps(convert_messages(prompt, messages, SERIALIZER))
    )
    return [
        {**message, "content": message["content"] or ""} if is_answer else message
        for message in converted
        if not (is_answer := message["role"] == "assistant")
        or message["content"]
        or message.get("tool_calls")
    ]


# -- conversations that AG2 encodes as well ----------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
IDS = st.text("abcdef0123456789_", min_size=1, max_size=12)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
ARGUMENTS = st.dictionaries(TEXTS, VALUES, max_size=3)
SPELLINGS = st.sampled_from(["", "  {} ", '{"a":1}', '{ "b" : "\\u00e9" }'])
DATA = st.binary(max_size=40)
TEXT_INPUTS = TEXTS.map(TextInput) | VALUES.map(DataInput)
INPUTS: st.SearchStrategy[Input] = st.one_of(
    TEXT_INPUTS,
    TEXTS.map(lambda url: UrlInput(url, kind=BinaryType.IMAGE)),
    IDS.map(FileIdInput),
    IDS.map(lambda id_: UploadedFile(id_, provider=FileProvider.OPENAI)),
    st.builds(
        lambda data, detail: BinaryInput(
            data, media_type="image/png", kind=BinaryType.IMAGE, vendor_metadata=detail
        ),
        DATA,
        st.sampled_from([{}, {"detail": "low"}, {"filename": "a.png"}]),
    ),
    DATA.map(lambda data: BinaryInput(data, media_type="audio/mpeg", kind=BinaryType.AUDIO)),
    st.builds(
        lambda data, name: BinaryInput(
            data,
            media_type="application/pdf",
            kind=BinaryType.DOCUMENT,
            vendor_metadata={"filename": name},
        ),
        DATA,
        TEXTS,
    ),
)
CALLS = st.builds(
    lambda name, id_, arguments: ToolCallEvent(name, id=id_, arguments=arguments),
    NAMES,
    IDS,
    ARGUMENTS.map(json.dumps) | SPELLINGS,
)
RESULTS = st.builds(
    lambda id_, parts: ToolResultEvent(parent_id=id_, name="t", result=ToolResult(parts=parts)),
    IDS,
    st.lists(TEXT_INPUTS, max_size=3),
)
EVENTS: st.SearchStrategy[BaseEvent] = st.one_of(
    st.lists(INPUTS, max_size=3).map(ModelRequest),
    st.builds(
        lambda text, calls: ModelResponse(
            text and ModelMessage(text), tool_calls=ToolCallsEvent(calls)
        ),
        st.none() | TEXTS,
        st.lists(CALLS, max_size=3),
    ),
    st.lists(RESULTS, max_size=3).map(ToolResultsEvent),
    TEXTS.map(lambda text: CompactionSummary(summary=text, event_count=1)),
    st.builds(UsageEvent),
)


@given(st.lists(EVENTS, max_size=8), st.lists(TEXTS, max_size=3))
def test_every_conversation_is_sent_as_ag2_sends_it(
    messages: list[BaseEvent], prompt: list[str]
) -> None:
    assert sent(messages, prompt=prompt)["messages"] == sent_by_ag2(messages, prompt)


@given(st.lists(EVENTS, max_size=5))
def test_a_conversation_is_sent_the_same_from_the_cache(messages: list[BaseEvent]) -> None:
    cache = MessageBytes()
    first = sent(messages, cache=cache)
    assert sent(messages, cache=cache) == first == sent(messages)


# -- the whole request -------------------------------------------------------------------------


class Address(BaseModel):
    """Where someone lives."""

    street: str
    floor: int = 0


class Order(BaseModel):
    to: Address | None = None
    items: list[Address] = []
    size: Literal["s", "m"] = "s"


@tool
def estimate(steps: list[str], factor: float = 1.0) -> str:
    """Estimate the effort of some steps."""
    return f"{len(steps) * factor}"


@tool
def ping() -> str:
    """Answer."""
    return "pong"


@pytest.mark.parametrize("temperature", [None, 0.0])
@pytest.mark.parametrize(
    "schema",
    [None, ResponseSchema(Order), ResponseSchema(int), ResponseSchema(str), PromptedSchema(Order)],
)
async def test_the_whole_request_is_that_of_ag2(
    temperature: float | None, schema: ResponseProto[Any] | None
) -> None:
    bodies: list[dict[str, Any]] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        assert request.url == "http://ours/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer key"
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http:
        theirs = OpenAIConfig(
            "m", api_key="key", base_url="http://ours/v1", streaming=True, http_client=http
        )
        if temperature is not None:
            theirs = theirs.copy(temperature=temperature)
        ours = OpenAIWireConfig(
            "m", SecretStr("key"), "http://ours/v1", http, temperature=temperature
        )
        for config in (theirs, ours):
            await config.create()(
                [ModelRequest([TextInput("Rain?")])],
                ConversationContext(MemoryStream(), prompt=["You write."]),
                tools=[estimate.schema, ping.schema],
                response_schema=schema,
                serializer=SERIALIZER,
            )
    assert bodies[0] == bodies[1]


def test_tools_and_schemas_are_those_of_ag2() -> None:
    schema = ResponseSchema(Order)
    request = sent([], tools=[estimate.schema], schema=schema)
    assert request["tools"] == [tool_to_api(estimate.schema)]
    assert request["response_format"] == response_proto_to_schema(schema)


# -- what differs from AG2 ---------------------------------------------------------------------


def response(text: str | None, *calls: ToolCallEvent) -> ModelResponse:
    return ModelResponse(
        None if text is None else ModelMessage(text), tool_calls=ToolCallsEvent([*calls])
    )


@pytest.mark.parametrize("text", [None, ""])
def test_an_empty_answer_is_left_out(text: str | None) -> None:
    assert messages_sent(response(text)) == []


def test_beside_calls_a_missing_text_is_empty_and_not_null() -> None:
    (message,) = messages_sent(response(None, ToolCallEvent("ping", id="c")))
    assert message["content"] == ""


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("multi_tool_use.parallel", "multi_tool_use_parallel"),
        (" echo ", "echo"),
        ("", "unnamed"),
        ("é", "unnamed"),
        ("a" * 70, "a" * 64),
    ],
)
def test_a_name_that_providers_refuse_is_never_sent(name: str, accepted: str) -> None:
    (message,) = messages_sent(response(None, ToolCallEvent(name, id="c")))
    assert message["tool_calls"][0]["function"]["name"] == accepted


@pytest.mark.parametrize("arguments", ["{", "[" * 100_000, "\ud83d"])
def test_arguments_that_are_not_json_are_sent_as_an_object(arguments: str) -> None:
    (message,) = messages_sent(response(None, ToolCallEvent("ping", id="c", arguments=arguments)))
    sent_arguments = json.loads(message["tool_calls"][0]["function"]["arguments"])
    assert sent_arguments == {"malformed": arguments}


def test_halves_of_surrogate_pairs_are_sent_joined_or_replaced() -> None:
    request = sent([ModelRequest([TextInput("a\ud83d\ude00 b\ud83d")])], prompt=["\ude00"])
    assert [message["content"] for message in request["messages"]] == ["\ufffd", "a😀 b\ufffd"]


@pytest.mark.parametrize(
    "part",
    [
        UrlInput("http://a/b.pdf", kind=BinaryType.DOCUMENT),
        BinaryInput(b"", media_type="audio/ogg", kind=BinaryType.AUDIO),
        BinaryInput(b"", media_type="video/mp4", kind=BinaryType.VIDEO),
        ImageInput(data=b"", media_type="image/png"),
        UploadedFile("f", provider=FileProvider.ANTHROPIC),
    ],
)
def test_what_the_api_does_not_take_is_refused_as_ag2_refuses_it(part: Input) -> None:
    if isinstance(part, BinaryInput) and part.kind is BinaryType.IMAGE:
        part.vendor_metadata["detail"] = "huge"
    messages = [ModelRequest([part])]
    with pytest.raises(UnsupportedInputError) as theirs:
        convert_messages([], messages, SERIALIZER)
    with pytest.raises(UnsupportedInputError) as ours:
        sent(messages)
    assert str(ours.value) == str(theirs.value)


def test_tools_of_other_apis_are_refused() -> None:
    for refused in (ToolSchema("web_search"), FunctionToolSchema(defer_loading=True)):
        with pytest.raises(UnsupportedToolError):
            sent([], tools=[refused])


def test_attached_files_are_sent() -> None:
    parts: list[Input] = [
        DocumentInput(data=b"%PDF", media_type="application/pdf"),
        AudioInput(data=b"ID3", media_type="audio/mpeg"),
        ImageInput(data=b"PNG", media_type="image/png"),
    ]
    (message,) = messages_sent(ModelRequest(parts))
    assert [part["type"] for part in message["content"]] == ["file", "input_audio", "image_url"]
    assert message["content"][2]["image_url"]["url"] == "data:image/png;base64,UE5H"
