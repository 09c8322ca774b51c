"""Settings of the transport: port, limits, timeouts; sign-in is in `auth/settings.py`."""

from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from services.chassis.answer_links import AnswerLinkSettings
from services.chassis.budgets.limits import BudgetSettings
from services.transport.auth.settings import AuthSettings, OptionalText
from services.transport.delivery.broadcast import VIEWERS_PER_CHAT
from services.transport.delivery.subscriber import QUEUE_SIZE


class Settings(AuthSettings, AnswerLinkSettings, BudgetSettings):
    """Every setting of the transport, each read from the environment variable of its name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    transport_port: int = Field(
        default=8000, ge=0, le=65535, validation_alias=AliasChoices("transport_port", "port")
    )
    """Port of the transport; `PORT` is accepted, too."""
    max_message_bytes: int = Field(default=262_144, ge=1024, le=786_432)
    """Limit of one request body or message in bytes; below NATS's limit of 1 MiB, envelope included."""
    upload_max_bytes: int = Field(default=26_214_400, ge=1)
    """Limit of one uploaded file in bytes."""
    upload_bundle_max_bytes: int = Field(default=10_485_760, ge=1)
    """Limit of one uploaded file that is part of a bundle, in bytes."""
    raw_events: bool = True
    """Whether operators may read every event as it is stored, prompts and hidden text included."""
    trace_url: OptionalText = None
    """Address of an OpenTelemetry trace, with `{trace_id}` where its id stands: operators get a link from
    a chat's timeline. Unset: no link."""
    cors_origins: str = ""
    """Other origins whose pages may call this API, separated by commas."""
    start_wait_seconds: float = Field(default=5.0, gt=0, le=60)
    """Seconds that a request waits for the chat it started to begin; then the answer is 202."""
    resume_handshake_seconds: float = Field(default=0.2, ge=0, le=5)
    """Seconds that a socket without a cursor waits for `client.resume` before the replay begins."""
    mozaiks_max_parallel_workflows: int = Field(default=4, ge=1, le=64)
    """How many chats one batch message on a socket may start."""
    max_viewers: int = Field(default=5000, ge=1)
    """Open sockets and streams of this process."""
    max_viewers_per_chat: int = Field(default=VIEWERS_PER_CHAT, ge=1)
    """Open sockets and streams of one chat in this process."""
    max_viewers_per_app: int = Field(default=2000, ge=0)
    """Open sockets and streams of one app in this process; 0 is no limit."""
    max_running_chats_per_app: int = Field(default=1000, ge=0)
    """Chats of one app that may run at a time, over all processes; 0 is no limit."""
    deleted_chat_grace_days: float = Field(default=30.0, ge=0, le=3660)
    """Days for which a deleted chat can be taken back; after them it may be erased."""
    client_send_timeout_seconds: float = Field(default=60.0, gt=0)
    """Seconds that a send may block before a client that does not read is disconnected."""
    viewer_queue_size: int = Field(default=QUEUE_SIZE, ge=1)
    """Live messages queued for one viewer; beyond it the viewer reads the log from its cursor."""
