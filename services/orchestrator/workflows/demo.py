"""The demo model's lines, kept beside the workflow that they are for (`demo.json`)."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class DemoCall(BaseModel):
    """A tool that the line calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    arguments: dict[str, Any] = {}


class DemoLine(BaseModel):
    """What an agent says the n-th time it is asked; `{user}` and `{result}` are filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    say: str = ""
    calls: list[DemoCall] = []


class Script(BaseModel):
    """An agent's lines in order; `loop` starts again after the last one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: list[DemoLine]
    loop: bool = False

    @model_validator(mode="after")
    def _has_lines(self) -> "Script":
        if not self.lines:
            raise ValueError("lines: must not be empty")
        return self

    def line(self, spoken: int) -> DemoLine | None:
        """The line after `spoken` earlier ones, none where the script has ended."""
        if self.loop:
            return self.lines[spoken % len(self.lines)]
        return self.lines[spoken] if spoken < len(self.lines) else None


class DemoScripts(BaseModel):
    """The file: agent name to script. An agent without one repeats what it hears."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agents: dict[str, Script] = {}

    def script(self, agent: str) -> Script:
        heard = Script(lines=[DemoLine(say="(demo model) I heard: {user}")], loop=True)
        return self.agents.get(agent, heard)
