"""Deltas: streamed text, progress of tools and waits, superseded by the stored events."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.envelope import Instant
from contracts.ids import AgentName, RunnerId


class TextStreamed(BaseModel):
    """A chunk of the text of model call `call` in turn `turn`, `offset` characters in.

    The stored `turn.model_responded` supersedes it. `runner` tells attempts apart: a call that is
    repeated, after a crash or a broken stream, starts again from offset 0 under another one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["text"] = "text"
    turn: int
    call: int
    agent: AgentName
    runner: RunnerId
    offset: int
    text: str


class ToolProgressed(BaseModel):
    """Progress that a tool reports: `percent` from 0 to 100, none where it cannot tell."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["progress"] = "progress"
    turn: int
    agent: AgentName
    runner: RunnerId
    tool_call_id: str
    tool_name: str
    percent: float | None = Field(default=None, ge=0, le=100)
    message: str = ""


class WaitReported(BaseModel):
    """An agent's turn waits `seconds`, to `until`, before its model is requested the `attempt`th time.

    `code` is that of the failure before; of `attempts` in all, the first is number 1.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["wait"] = "wait"
    turn: int
    agent: AgentName
    runner: RunnerId
    code: str
    seconds: float = Field(ge=0)
    until: Instant | None = None
    attempt: int
    attempts: int


Report = ToolProgressed | WaitReported
"""What happens now, and is shown to nobody who comes later."""

Delta = TextStreamed | ToolProgressed | WaitReported

DELTA: TypeAdapter[Delta] = TypeAdapter(Annotated[Delta, Field(discriminator="kind")])
"""Parses a delta. Raises pydantic.ValidationError."""
