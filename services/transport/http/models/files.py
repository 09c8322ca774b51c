"""Models of the routes that upload files."""

import re
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator

from contracts.ids import AppId, ChatId, UserId
from services.transport.http.models.base import (
    CHAT_ID,
    EARLIER,
    Count,
    RequestModel,
    ResponseModel,
    Timestamp,
    example_of,
)

Intent = Literal["context", "bundle", "deliverable"]

ATTACHMENT_ID = "att_5f2b9c1e6d0f5c1e9a550a7f5a3c2d11"
STORED_PATH = f"acme.{CHAT_ID}.{ATTACHMENT_ID}"


class UploadFormOfUser(RequestModel):
    """A form (`multipart/form-data`) whose app and user are in the path."""

    file: Annotated[Any, WithJsonSchema({"type": "string", "format": "binary"})] = Field(
        description="The file, with its name; its type is judged by its bytes.",
        examples=["loaf,price\n"],
    )
    chatId: ChatId = Field(  # noqa: N815 - the wire's spelling
        description="The chat that gets the file.", examples=[CHAT_ID]
    )
    intent: Intent = Field(
        default="context",
        description="What it is for: `bundle` has a limit of its own.",
        examples=["context"],
    )
    bundle_path: str | None = Field(
        default=None,
        max_length=256,
        description="Where it belongs in its bundle: a relative path without `.`, `..`, `~`, `:`.",
        examples=["docs/prices.csv"],
    )

    @field_validator("bundle_path")
    @classmethod
    def _stays_below(cls, path: str | None) -> str | None:
        if not path:
            return None
        if not is_relative_path(path):
            raise ValueError("must be a relative path without `.`, `..`, `~`, `:`, like docs/a.md")
        return path


_ENCODED = re.compile("%[0-9a-fA-F]{2}")


def is_relative_path(path: str) -> bool:
    """Whether a path stays below its folder on every system that may unpack the bundle.

    Compatibility forms (NFKC) of dots and slashes count as these, as do percent-encoded ones: another
    program may decode them. A colon names a drive or a stream on Windows, `~` a home folder, and
    Windows ignores dots and spaces at the end of a name.
    """
    plain = unicodedata.normalize("NFKC", path)
    if not path.isprintable() or _ENCODED.search(plain) or {"\\", ":"}.intersection(plain):
        return False
    return all(step.strip(". ") and not step.startswith("~") for step in plain.split("/"))


class UploadForm(UploadFormOfUser):
    """A form (`multipart/form-data`)."""

    appId: AppId = Field(  # noqa: N815 - the wire's spelling
        description="The app of the chat.", examples=["acme"]
    )
    userId: UserId = Field(  # noqa: N815 - the wire's spelling
        description="The user of the chat.", examples=["ana"]
    )


class Attachment(ResponseModel):
    attachment_id: str = Field(
        description="Made of the file's bytes, name and purpose: the same file has the same id.",
        examples=[ATTACHMENT_ID],
    )
    user_id: UserId = Field(description="Who uploaded it.", examples=["ana"])
    filename: str = Field(description="Its name, without folders.", examples=["prices.csv"])
    size_bytes: Count = Field(description="Its size in bytes.", examples=[11])
    content_type: str = Field(description="Its media type, by its bytes.", examples=["text/csv"])
    intent: Intent = Field(description="What it is for.", examples=["context"])
    bundle_path: str | None = Field(
        description="Where it belongs in its bundle.", examples=["docs/prices.csv"]
    )
    stored_path: str = Field(
        description="What `/api/download/workflow-file` takes as `file_path`.",
        examples=[STORED_PATH],
    )
    uploaded_at_utc: Timestamp = Field(description="When it was uploaded.", examples=[EARLIER])


class UploadAnswer(ResponseModel):
    success: Literal[True] = Field(default=True, description="Always true.")
    chat_id: ChatId = Field(description="The chat that got the file.", examples=[CHAT_ID])
    app_id: AppId = Field(description="Its app.", examples=["acme"])
    user_id: UserId = Field(description="Its user.", examples=["ana"])
    attachment: Attachment = Field(
        description="The file as part of the chat.", examples=[example_of(Attachment)]
    )
