"""Shown while it happens, never the truth: what the model is saying right now."""

from pydantic import BaseModel, ConfigDict

from contracts.ids import AgentName, RunnerId


class TextStreamed(BaseModel):
    """A chunk of the text of model call `call` in turn `turn`, `offset` characters in.

    The stored `turn.model_responded` supersedes it. `runner` tells attempts apart: a repeated call
    after a crash starts again from offset 0 under another runner.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    turn: int
    call: int
    agent: AgentName
    runner: RunnerId
    offset: int
    text: str
