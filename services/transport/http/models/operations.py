"""Models of the routes about the installation: its processes, the apps with limits, and dead letters."""

from pydantic import Field

from contracts.ids import AppId
from contracts.readiness import ReadinessShown
from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.http.models.base import LATER, Count, ResponseModel, Timestamp, example_of

PROCESS = {
    "service": "orchestrator",
    "process": "5b1d6f0f2c77",
    "is_ready": True,
    "waiting_for": {},
}


class ProcessesPage(ResponseModel):
    """Every process that answered in time; a service without one does not run, or has no connection."""

    processes: list[ReadinessShown] = Field(description="By service.", examples=[[PROCESS]])
    missing: list[str] = Field(
        description="Services of which no process answered.", examples=[["metrics"]]
    )


class LimitedApps(ResponseModel):
    """The apps that have limits of their own."""

    apps: list[AppId] = Field(
        description="By name; `*` has the limits of every app.", examples=[["*", "acme"]]
    )


class DeadLetterSummary(ResponseModel):
    """A message that no process could handle, without what is in it."""

    seq: int = Field(
        ge=1, le=MAX_SAFE_INTEGER, description="Its number in DEAD_LETTERS.", examples=[7]
    )
    stored_at: Timestamp = Field(description="When it was given up.", examples=[LATER])
    service: str = Field(description="The service that gave up.", examples=["orchestrator"])
    reason: str = Field(description="Why, in one line.", examples=["ValueError('no such chat')"])
    subject: str = Field(
        description="The subject of the message.", examples=["mozaiks.cmd.17.acme.c-1.send_message"]
    )
    stream: str = Field(description="The stream that it was in.", examples=["COMMANDS"])
    app_id: AppId | None = Field(
        description="Its app; null where the subject names none.", examples=["acme"]
    )
    deliveries: Count = Field(description="How often it was tried.", examples=[5])
    size: Count = Field(description="Of its payload, in bytes.", examples=[412])
    can_redrive: bool = Field(
        description="Whether it can be published to its queue again from here.", examples=[True]
    )


class DeadLettersPage(ResponseModel):
    letters: list[DeadLetterSummary] = Field(
        description="The newest first.", examples=[[example_of(DeadLetterSummary)]]
    )
    earlier: Count | None = Field(
        description="The `before` of the page with earlier ones; null at the end.", examples=[None]
    )


class DeadLetterDetails(ResponseModel):
    letter: DeadLetterSummary = Field(
        description="The letter.", examples=[example_of(DeadLetterSummary)]
    )
    payload: dict[str, str] = Field(
        description="Type and size of each field of the message, never a value.",
        examples=[{"text": "string, 12 bytes"}],
    )


class DeadLetterGone(ResponseModel):
    seq: int = Field(
        ge=1, le=MAX_SAFE_INTEGER, description="The letter that is gone.", examples=[7]
    )
