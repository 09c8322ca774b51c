"""What a provider gets of AG2's events, as immutable values that can be compared and encoded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ag2.compact import CompactionSummary
from ag2.events import (
    BaseEvent,
    BinaryInput,
    BinaryType,
    DataInput,
    FileIdInput,
    Input,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolResultsEvent,
    UrlInput,
)
from ag2.exceptions import UnsupportedInputError
from ag2.files.types import FileProvider, UploadedFile

from contracts.events.parts import NativeBlock
from services.orchestrator.agents.ag2.native_response import native_of

API = "openai-completions"
"""How AG2's errors name this API."""

REASONING = "reasoning_content"
"""DeepSeek wants the reasoning before tool calls back, and refuses a conversation without it.

The `reasoning` of other providers is kept, too, and not sent.
"""

EncodeData = Callable[[Any], bytes]
"""Encodes the data of a structured input."""

_AUDIO_FORMATS: Mapping[str, str] = {"audio/wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_IMAGE_DETAILS = ("auto", "low", "high")


@dataclass(frozen=True, slots=True)
class ImageUrl:
    url: str


@dataclass(frozen=True, slots=True)
class Image:
    data: bytes
    media_type: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Audio:
    data: bytes
    format: str


@dataclass(frozen=True, slots=True)
class Document:
    data: bytes
    media_type: str
    filename: str


@dataclass(frozen=True, slots=True)
class FileReference:
    file_id: str


Part = str | ImageUrl | Image | Audio | Document | FileReference


Call = tuple[str, str, str]
"""The id, the name and the arguments of a call."""
Result = tuple[str, tuple[str, ...]]
"""The id of a call, and the texts that it returned."""

UserContent = tuple[Literal["user"], tuple[Part, ...]]
AssistantContent = tuple[Literal["assistant"], str, tuple[Call, ...], str]
"""The text is empty when the model only called tools. The last is the reasoning before its calls."""
ResultsContent = tuple[Literal["results"], tuple[Result, ...]]
Content = UserContent | AssistantContent | ResultsContent


def content_of(event: BaseEvent, encode_data: EncodeData) -> Content | None:
    """None for an event of which a provider gets nothing: also for an empty answer.

    Raises UnsupportedInputError for an input that the API does not have. A long conversation is read
    again for each request; `vars` is several times faster than the descriptors of AG2's events.
    """
    fields = vars(event)
    if isinstance(event, ModelResponse):
        message, calls = fields["message"], vars(fields["tool_calls"])["calls"]
        text = vars(message)["content"] if message else ""
        return _assistant_content(text, calls, _reasoning(event) if calls else "")
    if isinstance(event, ToolResultsEvent):
        return "results", tuple([_result(vars(one), encode_data) for one in fields["results"]])
    if isinstance(event, ModelRequest):
        return "user", tuple([_part(one, encode_data) for one in fields["parts"]])
    if isinstance(event, CompactionSummary):
        return "user", (f"[Summary of earlier conversation]\n{event.summary}",)
    return None


def _assistant_content(
    text: str, calls: Sequence[ToolCallEvent], reasoning: str
) -> AssistantContent | None:
    if not calls:
        return ("assistant", text, (), "") if text else None
    fields = [vars(call) for call in calls]
    called = tuple([(one["id"], one["name"], one["arguments"]) for one in fields])
    return "assistant", text, called, reasoning


def _reasoning(response: ModelResponse) -> str:
    native = native_of(response)
    if native is None or native.api != API:
        return ""
    blocks = (part.block.get(REASONING) for part in native.parts if isinstance(part, NativeBlock))
    return "".join(one for one in blocks if isinstance(one, str))


def without_reasoning(event: BaseEvent) -> BaseEvent:
    """The event as a provider gets it that refuses the reasoning of earlier answers."""
    if not isinstance(event, ModelResponse) or not _reasoning(event):
        return event
    return ModelResponse(event.message, tool_calls=event.tool_calls)


def _result(fields: Mapping[str, Any], encode_data: EncodeData) -> Result:
    parts = fields["result"].parts
    return fields["parent_id"], tuple([_result_text(part, encode_data) for part in parts])


def _result_text(part: Input, encode_data: EncodeData) -> str:
    if isinstance(part, TextInput):
        text: str = vars(part)["content"]
        return text
    if isinstance(part, DataInput):
        return encode_data(part.data).decode()
    raise UnsupportedInputError(type(part).__name__, API)


def _part(value: Input, encode_data: EncodeData) -> Part:
    if isinstance(value, TextInput):
        text: str = vars(value)["content"]
        return text
    match value:
        case DataInput():
            return encode_data(value.data).decode()
        case UrlInput(kind=BinaryType.IMAGE):
            return ImageUrl(value.url)
        case FileIdInput():
            return _file_reference(value)
        case BinaryInput():
            return _binary(value)
        case UrlInput(kind=kind):
            raise UnsupportedInputError(f"UrlInput({_label(kind)})", API)
        case _:
            raise UnsupportedInputError(type(value).__name__, API)


def _file_reference(value: FileIdInput) -> FileReference:
    """Raises UnsupportedInputError for a file that another provider has."""
    provider = value.provider if isinstance(value, UploadedFile) else None
    if provider not in (None, FileProvider.OPENAI):
        raise UnsupportedInputError(
            f"file uploaded via '{provider.value}' cannot be used with 'openai'", API
        )
    return FileReference(value.file_id)


def _binary(value: BinaryInput) -> Part:
    media_type = str(value.media_type)
    match value.kind:
        case BinaryType.AUDIO if media_type in _AUDIO_FORMATS:
            return Audio(value.data, _AUDIO_FORMATS[media_type])
        case BinaryType.AUDIO:
            raise UnsupportedInputError(f"BinaryInput(audio, media_type={media_type})", API)
        case BinaryType.IMAGE:
            return Image(value.data, media_type, _image_detail(value))
        case BinaryType.DOCUMENT:
            return Document(value.data, media_type, _filename(value, media_type))
        case kind:
            raise UnsupportedInputError(f"BinaryInput({_label(kind)})", API)


def _image_detail(value: BinaryInput) -> str | None:
    detail = value.vendor_metadata.get("detail")
    if "detail" not in value.vendor_metadata:
        return None
    if detail not in _IMAGE_DETAILS:
        raise UnsupportedInputError(f"BinaryInput(image, detail={detail!r})", API)
    return str(detail)


def _filename(value: BinaryInput, media_type: str) -> str:
    """The file's name; the API requires one."""
    name = value.vendor_metadata.get("filename")
    return str(name) if name else f"file.{media_type.rsplit('/', 1)[-1].split('+', 1)[0]}"


def _label(kind: BinaryType | str) -> str:
    return kind.value if isinstance(kind, BinaryType) else str(kind)
