"""Requests for the pages of the metrics service, on core NATS: its replicas answer, one of them each request."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.ids import AppId, ChatId

MetricsPage = Literal["aggregate", "chats", "chat", "stalled", "prometheus", "tenants", "streams"]
STATUS_HEADER = "Mozaiks-Status"
"""The HTTP status of an answer, whose body is the page as it is sent by HTTP, compressed by zlib."""
TYPE_HEADER = "Content-Type"


class MetricsPageRequested(BaseModel):
    """A page, of one app or of all; `chat` is of one chat.

    `operator` says that the transport has verified the reader as an operator. Of any other reader
    `token_digest` is the SHA-256, in hex, of the bearer token: that of METRICS_TOKEN, where it is set.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    page: MetricsPage
    app_id: AppId | None = None
    chat_id: ChatId | None = None
    operator: bool = False
    token_digest: str | None = Field(default=None, max_length=64)
