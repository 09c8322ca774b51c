"""The pieces that a model reads and writes: text, data, files, calls and token counts."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Piece(BaseModel):
    """A frozen piece of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    metadata: dict[str, Any] = {}


class TextPart(Piece):
    kind: Literal["text"] = "text"
    text: str


class DataPart(Piece):
    """Structured data: stored as JSON, so that the model reads the same text after a reload."""

    kind: Literal["data"] = "data"
    data: Any = None


class BinaryPart(Piece):
    """Bytes in base64; `form` is AG2's binary kind (`image`, `audio`, `document`, ...)."""

    kind: Literal["binary"] = "binary"
    data: str
    media_type: str
    form: str = "binary"
    vendor_metadata: dict[str, Any] = {}


class UrlPart(Piece):
    kind: Literal["url"] = "url"
    url: str
    form: str


class FilePart(Piece):
    """A file that the provider already holds."""

    kind: Literal["file"] = "file"
    file_id: str
    filename: str | None = None


Part = Annotated[TextPart | DataPart | BinaryPart | UrlPart | FilePart, Field(discriminator="kind")]


def text_of(parts: Iterable[Part]) -> str:
    """What a reader sees of a message's parts: its words, its data as JSON, its files by name."""
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
    """A model's wish to call a tool.

    `arguments` is the JSON object's text exactly as the model wrote it; text that is no JSON object
    stands in one, under `malformed`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    arguments: str = "{}"
    vendor_metadata: dict[str, Any] = {}


class Tokens(BaseModel):
    """What a model call used, in tokens; none where the provider did not say."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: float | None = None
    completion: float | None = None
    total: float | None = None
    cache_read: float | None = None
    cache_creation: float | None = None
    thinking: float | None = None
