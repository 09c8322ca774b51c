"""Requests to the APIs of Anthropic and Gemini, beside those that AG2's own clients send."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import httpx2
import pytest
from ag2.compact import CompactionSummary
from ag2.config import LLMClient
from ag2.config.anthropic import AnthropicConfig
from ag2.config.gemini.gemini_client import GeminiClient
from ag2.context import ConversationContext
from ag2.events import (
    AudioInput,
    BaseEvent,
    BinaryInput,
    BinaryType,
    DataInput,
    DocumentInput,
    ImageInput,
    Input,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolErrorEvent,
    ToolResult,
    ToolResultEvent,
    ToolResultsEvent,
    UrlInput,
)
from ag2.exceptions import UnsupportedInputError, UnsupportedToolError
from ag2.response import PromptedSchema, ResponseProto, ResponseSchema
from ag2.stream import MemoryStream
from ag2.tools import tool
from ag2.tools.builtin.web_search import WebSearchToolSchema
from ag2.tools.schemas import ToolSchema
from fast_depends.pydantic.serializer import PydanticSerializer
from google import genai
from google.genai import types
from pydantic import BaseModel, Field, SecretStr

from contracts.events.parts import NativeAnswer, NativeBlock, NativeCall, NativeText
from contracts.events.turn import RequestOptions, ResponseFormat
from services.orchestrator.agents.ag2.native_response import with_native
from services.orchestrator.agents.models.anthropic_wire.config import AnthropicWireConfig
from services.orchestrator.agents.models.anthropic_wire.request import CACHED
from services.orchestrator.agents.models.gemini_wire.config import GeminiWireConfig
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.session.call_settings import CALL_SETTINGS, CallSettings
from services.orchestrator.workflows.known_providers import Thinking
from tests.orchestrator.agents import anthropic_stub, gemini_stub
from tests.orchestrator.agents.anthropic_stub import AnthropicStub
from tests.orchestrator.agents.gemini_stub import GeminiStub
from tests.orchestrator.agents.provider_stub import ProviderStub

Body = dict[str, Any]
SERIALIZER = PydanticSerializer()
ANTHROPIC_ANSWER = anthropic_stub.streamed(
    anthropic_stub.text("Look. "),
    anthropic_stub.tool_use("toolu_9", "look", where="left"),
    stop="tool_use",
)
GEMINI_ANSWER = gemini_stub.streamed({"text": "Look. "}, gemini_stub.call("look", where="left"))


@tool
def look(where: str, how_long: int | None = None) -> str:
    """Look somewhere."""
    return f"{where} {how_long}"


class Forecast(BaseModel):
    """What the weather will be."""

    rain: bool
    millimetres: float = Field(default=0, ge=0, le=500)
    towns: list[str] = Field(default_factory=list, max_length=3)


SCHEMA: ResponseProto[Any] = ResponseSchema(Forecast)


async def call(
    client: LLMClient,
    messages: Sequence[BaseEvent],
    *,
    tools: Sequence[ToolSchema] = (),
    schema: ResponseProto[Any] | None = None,
    prompt: Sequence[str] = ("You write.", "Briefly."),
    form: ResponseFormat | None = None,
) -> ModelResponse:
    settings = CallSettings(RequestOptions(response_format=form))
    context = ConversationContext(
        MemoryStream(), prompt=[*prompt], dependencies={CALL_SETTINGS: settings}
    )
    return await client(
        messages, context, tools=tools, response_schema=schema, serializer=SERIALIZER
    )


async def to_anthropic(
    *messages: BaseEvent,
    stub: AnthropicStub | None = None,
    thinking: Thinking | None = None,
    temperature: float | None = None,
    **options: Any,
) -> tuple[Body, ModelResponse]:
    """The last request of our client, and the answer."""
    with (stub or AnthropicStub(ANTHROPIC_ANSWER)).running() as running:
        async with shared_http_client() as http:
            config = AnthropicWireConfig(
                "m", SecretStr("k"), running.url, http, temperature, thinking=thinking
            )
            response = await call(config.create(), messages, **options)
    return running.bodies[-1], response


async def to_gemini(
    *messages: BaseEvent, stub: GeminiStub | None = None, model: str = "gemini-3-x", **options: Any
) -> tuple[Body, ModelResponse]:
    with (stub or GeminiStub(GEMINI_ANSWER)).running() as running:
        async with shared_http_client() as http:
            config = GeminiWireConfig(model, SecretStr("k"), running.url, http)
            response = await call(config.create(), messages, **options)
    return running.bodies[-1], response


# -- AG2's own clients -------------------------------------------------------------------------


async def ag2_to_anthropic(*messages: BaseEvent, **options: Any) -> tuple[Body, ModelResponse]:
    """The same with AG2's configuration, whose requests the strict stub need not accept."""
    with _Lenient(AnthropicStub(ANTHROPIC_ANSWER)).running() as running:
        async with httpx2.AsyncClient() as http:
            config = AnthropicConfig(
                "m",
                max_tokens=16_384,
                api_key="k",
                base_url=running.url,
                streaming=True,
                http_client=http,
            )
            response = await call(config.create(), messages, **options)
    return running.bodies[-1], response


async def ag2_to_gemini(*messages: BaseEvent, **options: Any) -> tuple[Body, ModelResponse]:
    with _Lenient(GeminiStub(GEMINI_ANSWER)).running() as running:
        client = GeminiClient("gemini-3-x", api_key="k", vertexai=False, streaming=True)
        async with httpx.AsyncClient() as http:
            address = types.HttpOptions(base_url=running.url, httpx_async_client=http)
            client._client = genai.Client(api_key="k", http_options=address)
            response = await call(client, messages, **options)
    return running.bodies[-1], response


def _Lenient(stub: Any) -> ProviderStub:  # noqa: N802
    stub.refusals = lambda _: []
    return stub  # type: ignore[no-any-return]


def without_marks(value: Any) -> Any:
    """A request of Anthropic's with texts as blocks, and with none of its cache marks."""
    match value:
        case {"role": role, "content": str(text)}:
            return {"role": role, "content": [{"type": "text", "text": text}]}
        case {"type": "tool_result", "content": str(text)}:
            block = {k: v for k, v in value.items() if k != "cache_control"}
            return {**block, "content": [{"type": "text", "text": text}]}
        case dict():
            return {k: without_marks(v) for k, v in value.items() if k != "cache_control"}
        case list():
            return [without_marks(item) for item in value]
        case _:
            return value


def said(response: ModelResponse) -> tuple[str | None, list[tuple[str, str, Any]]]:
    calls = [(c.id, c.name, json.loads(c.arguments)) for c in response.tool_calls.calls]
    return response.content, calls


def read(content: Body) -> types.Content:
    """As Google's own library reads it: in whichever of two spellings a name is."""
    return types.Content.model_validate(content)


CALL = ToolCallEvent("look", id="toolu_1", arguments='{"where": "left"}')
OTHER = ToolCallEvent("look", id="toolu_2", arguments="")
PNG = b"\x89PNG"
CONVERSATION: list[BaseEvent] = [
    CompactionSummary(summary="Earlier.", event_count=7),
    ModelResponse(ModelMessage("Welcome.")),
    ModelRequest([TextInput("Rain é 🌧?"), DataInput({"town": "Bern"})]),
    ModelResponse(ModelMessage("I look."), tool_calls=ToolCallsEvent([CALL, OTHER])),
    ToolResultsEvent(
        [
            ToolResultEvent(parent_id="toolu_1", name="look", result=ToolResult("wet")),
            ToolResultEvent(parent_id="toolu_2", name="look", result=ToolResult({"mm": 3})),
        ]
    ),
    ModelResponse(ModelMessage("It rains.")),
    ModelRequest(
        [
            TextInput("And here?"),
            BinaryInput(PNG, media_type="image/png", kind=BinaryType.IMAGE),
            UrlInput("https://example.org/a.png", kind=BinaryType.IMAGE),
            DocumentInput(data=b"%PDF", media_type="application/pdf"),
        ]
    ),
]


async def test_anthropic_gets_what_ag2s_client_sends() -> None:
    options: Body = {"tools": [look.schema]}
    ours, answer = await to_anthropic(*CONVERSATION, **options)
    ag2s, same = await ag2_to_anthropic(*CONVERSATION, **options)
    assert without_marks(ours) == without_marks(ag2s)
    assert said(answer) == said(same)
    assert answer.usage.completion_tokens == same.usage.completion_tokens


async def test_gemini_gets_what_ag2s_client_sends() -> None:
    ours, answer = await to_gemini(*CONVERSATION, tools=[look.schema], model="gemini-2.5-x")
    ag2s, same = await ag2_to_gemini(*CONVERSATION, tools=[look.schema])
    assert [*map(read, ours["contents"])] == [*map(read, ag2s["contents"])]
    tools = [types.Tool.model_validate(one) for one in (*ours["tools"], *ag2s["tools"])]
    assert tools[0] == tools[1]
    assert ours["systemInstruction"]["parts"] == ag2s["systemInstruction"]["parts"]
    assert answer.content == same.content
    assert [one.arguments for one in answer.tool_calls.calls] == ['{"where":"left"}']


async def test_gemini_gets_a_schema_as_ag2s_client_sends_it() -> None:
    question = ModelRequest([TextInput("Rain?")])
    ours, _ = await to_gemini(question, schema=SCHEMA)
    ag2s, _ = await ag2_to_gemini(question, schema=SCHEMA)
    assert ours["generationConfig"] == ag2s["generationConfig"]


# -- what only our requests have ------------------------------------------------------------------


async def test_anthropic_gets_a_schema_that_it_accepts() -> None:
    body, _ = await to_anthropic(ModelRequest([TextInput("Rain?")]), schema=SCHEMA)
    schema = body["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is False
    assert json.loads(schema["properties"]["millimetres"]["description"]) == {
        "minimum": 0,
        "maximum": 500,
    }


@pytest.mark.parametrize("of", ["anthropic", "gemini"])
async def test_a_schema_in_the_prompt_is_sent_there(of: str) -> None:
    prompted = PromptedSchema(Forecast)
    question = ModelRequest([TextInput("Rain?")])
    body, _ = await (to_anthropic if of == "anthropic" else to_gemini)(question, schema=prompted)
    system = body["system"] if of == "anthropic" else body["systemInstruction"]["parts"]
    assert "millimetres" in system[0]["text"]
    assert "output_config" not in body
    assert "generationConfig" not in body


@pytest.mark.parametrize(
    ("form", "generation"),
    [
        ("json_schema", {"responseMimeType", "responseJsonSchema"}),
        ("json_object", {"responseMimeType"}),
        ("text", set()),
    ],
)
async def test_a_form_that_is_refused_is_asked_for_otherwise(
    form: ResponseFormat, generation: set[str]
) -> None:
    question = ModelRequest([TextInput("Rain?")])
    body, _ = await to_gemini(question, schema=SCHEMA, form=form)
    assert body.get("generationConfig", {}).keys() == generation
    body, _ = await to_anthropic(question, schema=SCHEMA, form=form)
    assert ("output_config" in body) == (form == "json_schema")


async def test_what_the_apis_refuse_is_repaired() -> None:
    odd: list[BaseEvent] = [
        ModelResponse(ModelMessage("I begin.")),
        ModelResponse(ModelMessage("  ")),
        ModelRequest([TextInput("")]),
        ModelRequest([TextInput("Two in a row.")]),
        ModelResponse(
            tool_calls=ToolCallsEvent([ToolCallEvent("multi.tool use", id="functions.look:0")])
        ),
        ToolResultsEvent(
            [
                ToolErrorEvent(
                    parent_id="functions.look:0",
                    name="multi.tool use",
                    result=ToolResult(""),
                    error=ValueError(),
                )
            ]
        ),
        ModelRequest([TextInput("Go on.")]),
    ]
    body, _ = await to_anthropic(*odd)
    assert [message["role"] for message in body["messages"]] == [
        *("user", "assistant", "user", "assistant", "user"),
    ]
    contents, _ = await to_gemini(*odd, model="gemini-2.5-x")
    assert len(contents["contents"]) == 5


async def test_the_end_of_the_conversation_is_marked_for_anthropics_cache() -> None:
    body, _ = await to_anthropic(*CONVERSATION[:3])
    assert body["system"][0]["cache_control"] == CACHED["cache_control"]
    marked = [
        (number, place)
        for number, message in enumerate(body["messages"])
        for place, block in enumerate(message["content"])
        if "cache_control" in block
    ]
    assert marked == [(2, 1)]


@pytest.mark.parametrize(
    ("thinking", "members"),
    [
        (None, {"temperature": 0.3, "max_tokens": 16_384}),
        (2048, {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 18_432}),
        ("off", {"thinking": {"type": "disabled"}, "temperature": 0.3}),
        ("low", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
    ],
)
async def test_anthropics_thinking(thinking: Thinking | None, members: Body) -> None:
    question = ModelRequest([TextInput("?")])
    body, _ = await to_anthropic(question, thinking=thinking, temperature=0.3)
    assert body | members == body


@pytest.mark.parametrize(
    ("thinking", "config"),
    [
        (512, {"thinkingBudget": 512}),
        ("off", {"thinkingBudget": 0}),
        ("high", {"thinkingLevel": "HIGH"}),
    ],
)
def test_geminis_thinking(thinking: Thinking, config: Body) -> None:
    wire = GeminiWireConfig(
        "m", SecretStr("k"), "http://x", httpx2.AsyncClient(), max_tokens=9, thinking=thinking
    )
    limit = 9 + config.get("thinkingBudget", 0)  # of the answer and the thinking together
    assert wire.generation() == {"maxOutputTokens": limit, "thinkingConfig": config}


# -- answers that another API gave, or that a hook has changed -------------------------------------

GIVEN = ModelResponse(ModelMessage("Hm. Well."), tool_calls=ToolCallsEvent([CALL]))
RESULTS = ToolResultsEvent(
    [ToolResultEvent(parent_id="toolu_1", name="look", result=ToolResult("wet"))]
)
ASKED = ModelRequest([TextInput("?")])
THOUGHT = anthropic_stub.thinking("Hm")


def kept(text: str | None, *parts: Any, api: str = "anthropic") -> ModelResponse:
    message = None if text is None else ModelMessage(text)
    response = ModelResponse(message, tool_calls=ToolCallsEvent([CALL]))
    return with_native(response, NativeAnswer(api=api, parts=[*parts]))


PIECES = (
    NativeText(chars=3),
    NativeBlock(block=THOUGHT),
    NativeText(chars=6, own={"citations": []}),
    NativeCall(id="toolu_x"),
)


async def test_the_texts_between_thinking_are_those_that_came() -> None:
    body, _ = await to_anthropic(ASKED, kept("Hm. Well.", *PIECES), RESULTS)
    content = body["messages"][1]["content"]
    assert [block.get("text") for block in content] == ["Hm.", None, " Well.", None]
    assert content[1] == THOUGHT
    assert content[3]["id"] == body["messages"][2]["content"][0]["tool_use_id"] == "toolu_x"


@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        (PIECES, ["text", "thinking", "tool_use"]),
        ((NativeBlock(block=THOUGHT), NativeCall()), ["thinking", "text", "tool_use"]),
    ],
)
async def test_a_text_that_a_hook_has_changed_is_sent_once(
    parts: Sequence[Any], kinds: list[str]
) -> None:
    body, _ = await to_anthropic(ASKED, kept("Changed!", *parts), RESULTS)
    content = body["messages"][1]["content"]
    assert [block["type"] for block in content] == kinds
    assert [block["text"] for block in content if "text" in block] == ["Changed!"]


@pytest.mark.parametrize("native", [None, "gemini"])
async def test_the_calls_of_another_api_are_answered_without_thinking(native: str | None) -> None:
    answer = GIVEN if native is None else kept("Hm. Well.", *PIECES[:1], *PIECES[2:], api=native)
    body, _ = await to_anthropic(ASKED, answer, RESULTS, thinking=1024)
    assert "thinking" not in body
    assert [b["type"] for b in body["messages"][1]["content"]] == ["text", "tool_use"]


async def test_calls_from_before_thinking_was_configured_are_answered_without_it() -> None:
    answer = kept("Hm. Well.", NativeText(chars=9), NativeCall(own={"caller": {"type": "direct"}}))
    body, _ = await to_anthropic(ASKED, answer, RESULTS, thinking=1024)
    assert "thinking" not in body
    body, _ = await to_anthropic(ASKED, answer, RESULTS, ASKED, thinking=1024)
    assert "thinking" not in body  # results and question are one message
    later = ModelResponse(ModelMessage("Wet."))
    body, _ = await to_anthropic(ASKED, answer, RESULTS, later, ASKED, thinking=1024)
    assert "thinking" in body
    body, _ = await to_anthropic(ASKED, kept(None, PIECES[1], PIECES[3]), RESULTS, thinking=1024)
    assert "thinking" in body


async def test_gemini_takes_the_calls_of_another_api_by_its_own_mark() -> None:
    body, _ = await to_gemini(ASKED, kept("Hm. Well.", *PIECES), RESULTS)
    text, called = body["contents"][1]["parts"]
    assert text == {"text": "Hm. Well."}
    assert called["thoughtSignature"] == gemini_stub.UNSIGNED
    assert called["functionCall"]["id"] == "toolu_1"
    older, _ = await to_gemini(
        ASKED, ModelResponse(ModelMessage("Hi")), ASKED, model="gemini-2.5-x"
    )
    assert "thoughtSignature" not in str(older)


# -- inputs ------------------------------------------------------------------------------------


def image() -> Input:
    return ImageInput(data=PNG, media_type="image/png")


async def test_the_images_that_a_tool_returns_are_sent() -> None:
    result = ToolResult(TextInput("See:"), image())
    results = ToolResultsEvent([ToolResultEvent(parent_id="toolu_1", name="look", result=result)])
    body, _ = await to_anthropic(ASKED, GIVEN, results)
    (block,) = body["messages"][2]["content"]
    assert [one["type"] for one in block["content"]] == ["text", "image"]
    contents, _ = await to_gemini(ASKED, GIVEN, results)
    (part,) = contents["contents"][2]["parts"]
    assert part["functionResponse"]["parts"][0]["inlineData"]["mimeType"] == "image/png"


async def test_an_input_that_an_api_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedInputError, match="audio"):
        await to_anthropic(ModelRequest([AudioInput(data=b"x", media_type="audio/wav")]))
    odd = BinaryInput(b"x", media_type="image/tiff", kind=BinaryType.IMAGE)
    with pytest.raises(UnsupportedInputError, match="image/tiff"):
        await to_anthropic(ModelRequest([odd]))
    body, _ = await to_gemini(ModelRequest([AudioInput(data=b"x", media_type="audio/wav")]))
    assert body["contents"][0]["parts"][0]["inlineData"]["mimeType"] == "audio/wav"
    for send in (to_anthropic, to_gemini):
        with pytest.raises(UnsupportedToolError):
            await send(ASKED, tools=[WebSearchToolSchema()])
