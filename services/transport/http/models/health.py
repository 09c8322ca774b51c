"""Models of the routes about the transport itself."""

from typing import Any, Literal

from pydantic import Field

from contracts.ids import WorkflowName
from services.transport.http.models.base import (
    EARLIER,
    LATER,
    Count,
    ResponseModel,
    Timestamp,
    example_of,
)


class ActiveConnections(ResponseModel):
    websocket_connections: Count = Field(
        description="WebSockets and event streams of this process.", examples=[3]
    )
    total_connections: Count = Field(description="The same.", examples=[3])


class TransportGroups(ResponseModel):
    websocket: list[WorkflowName] = Field(
        description="The workflows that can be started.", examples=[["HelloWorld"]]
    )


class Health(ResponseModel):
    status: Literal["healthy"] = Field(default="healthy", description="Always `healthy`.")
    mongodb: str = Field(
        default="not asked: persistence keeps it, and no chat waits for it",
        description="The transport does not use MongoDB.",
    )
    mongodb_ping_ms: None = Field(default=None, description="Always null.")
    nats: Literal["connected"] = Field(default="connected", description="Else the answer is 503.")
    nats_ping_ms: float = Field(
        ge=0, description="The round trip to NATS in milliseconds.", examples=[0.4]
    )
    simple_transport: Literal[True] = Field(default=True, description="Always true.")
    active_connections: ActiveConnections = Field(
        description="Who is connected.", examples=[example_of(ActiveConnections)]
    )
    workflows: list[WorkflowName] = Field(
        description="The workflows that can be started.", examples=[["HelloWorld"]]
    )
    transport_groups: TransportGroups = Field(
        description="The same, by transport.", examples=[example_of(TransportGroups)]
    )
    tools_available: bool = Field(description="Whether they have tools.", examples=[False])
    total_tools: Count = Field(description="How many tools they have.", examples=[0])
    health_check_time_ms: float = Field(
        ge=0, description="How long this answer took, in milliseconds.", examples=[0.9]
    )


class ActiveRuns(ResponseModel):
    active_count: Count = Field(
        description="The commands that are waiting or being carried out.", examples=[2]
    )
    total_runs: Count = Field(description="All chats.", examples=[40])
    runs: list[dict[str, Any]] = Field(default=[], max_length=0, description="Always empty.")
    note: str = Field(
        default="Runs are listed to their users only, by /api/sessions/list.",
        description="Why `runs` is empty.",
    )


class EventCategories(ResponseModel):
    runtime: Count = Field(description="Events of the runtime.", examples=[1])
    ui_tool: Count = Field(description="Events of the user interface.", examples=[0])
    business: Count = Field(description="Business events.", examples=[1])


class EventMetrics(ResponseModel):
    events_processed: Count = Field(
        description="Events of the chats that someone watched here.", examples=[2]
    )
    events_failed: Count = Field(description="Messages that could not be read.", examples=[0])
    events_by_category: EventCategories = Field(
        description="`events_processed` by category.", examples=[example_of(EventCategories)]
    )
    custom_events_emitted: Count = Field(description="Business events.", examples=[1])
    custom_events_by_type: dict[str, Count] = Field(
        description="Business events by type.", examples=[{"business.logged": 1}]
    )
    created: Timestamp = Field(description="When this process started.", examples=[EARLIER])
    handler_count: Count = Field(description="The chats that are watched now.", examples=[1])
    timestamp: Timestamp = Field(description="Now.", examples=[LATER])


class EventMetricsAnswer(ResponseModel):
    status: Literal["success"] = Field(default="success", description="Always `success`.")
    data: EventMetrics = Field(
        description="Counts since this process started.", examples=[example_of(EventMetrics)]
    )
    timestamp: Timestamp = Field(description="Now.", examples=[LATER])
