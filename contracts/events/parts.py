"""Parts of model messages: text, data, files, tool calls and token counts."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.large_values import ValueReference


class MessagePart(BaseModel):
    """Base of the parts of a message.

    `whole` refers to the whole value where the part has only as much of it as a model gets; absent
    where it has all.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    metadata: dict[str, Any] = {}
    whole: ValueReference | None = Field(default=None, exclude_if=lambda value: value is None)


class TextPart(MessagePart):
    kind: Literal["text"] = "text"
    text: str


class DataPart(MessagePart):
    """Structured data: stored as JSON, so that the model reads the same text after a reload."""

    kind: Literal["data"] = "data"
    data: Any = None


class BinaryPart(MessagePart):
    """Bytes in base64; `form` is AG2's binary kind (`image`, `audio`, `document`, ...)."""

    kind: Literal["binary"] = "binary"
    data: str
    media_type: str
    form: str = "binary"
    vendor_metadata: dict[str, Any] = {}


class UrlPart(MessagePart):
    kind: Literal["url"] = "url"
    url: str
    form: str


class FilePart(MessagePart):
    """A file that the provider already stores."""

    kind: Literal["file"] = "file"
    file_id: str
    filename: str | None = None


Part = Annotated[TextPart | DataPart | BinaryPart | UrlPart | FilePart, Field(discriminator="kind")]


def text_of(parts: Iterable[Part]) -> str:
    """A message's parts as text: data as JSON, files by name."""
    return "".join(_text_of(part) for part in parts)


def _text_of(part: Part) -> str:
    match part:
        case TextPart(text=text):
            return text
        case DataPart(data=data):
            return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        case BinaryPart(media_type=media):
            return f"[{media}]"
        case UrlPart(url=url):
            return url
        case FilePart(file_id=file):
            return f"[file {file}]"


class ToolCall(BaseModel):
    """A call of a tool that a model asks for.

    `arguments` is the JSON object's text exactly as the model wrote it; text that is no JSON object
    is wrapped in one, under `malformed`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    arguments: str = "{}"
    vendor_metadata: dict[str, Any] = {}


class NativeText(BaseModel):
    """Stands for the next `chars` characters of a response's text.

    `own` are the members that its provider added, such as a thought signature.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["text"] = "text"
    chars: int
    own: dict[str, Any] = {}


class NativeCall(BaseModel):
    """Stands for the next of a response's tool calls; `id` is the provider's own, none without one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["call"] = "call"
    id: str | None = None
    own: dict[str, Any] = {}


class NativeBlock(BaseModel):
    """Something that only its provider understands, exactly as it sent it: signed thinking, for example."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["block"] = "block"
    block: dict[str, Any]


NativePart = Annotated[NativeText | NativeCall | NativeBlock, Field(discriminator="kind")]


class NativeAnswer(BaseModel):
    """An answer in the form of its provider's own API, which must get it back unchanged.

    `api` names the API, `anthropic` for example. `parts` are in the provider's order; texts and calls
    in them are those of the response. Other APIs get only the text and the calls.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    api: str
    parts: list[NativePart]


class Tokens(BaseModel):
    """Token counts of a model call; none where the provider reports none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: float | None = None
    completion: float | None = None
    total: float | None = None
    cache_read: float | None = None
    cache_creation: float | None = None
    thinking: float | None = None
