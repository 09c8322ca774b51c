"""What the orchestrator asks of data that others keep, and what persistence answers."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from contracts.ids import AppId, ChatId, ChatKey


class DataRequested(BaseModel):
    """The newest document of a collection that meets `query`, within the app that asks.

    `fields` are dotted paths; one alone gives its value, several an object of them, none the whole
    document.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    app_id: AppId
    chat_id: ChatId
    database: str
    collection: str
    query: dict[str, Any] = {}
    fields: list[str] = Field(default=[], max_length=100)

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)


class DataFound(BaseModel):
    """`found` is false where nothing meets the query; `problem` says why it could not be asked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: str
    found: bool = False
    value: Any = None
    problem: str | None = None
