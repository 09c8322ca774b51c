"""The model of `demo.json`: the replies of the demo model in a workflow."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DemoCall(BaseModel):
    """A tool call that is part of a reply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str = Field(description="A tool of the agent, or `transfer_to_` and an agent.")
    arguments: dict[str, Any] = Field(
        default={}, description="Its arguments by name; placeholders work in texts at any depth."
    )


class DemoReply(BaseModel):
    """One reply; `{user}` and `{result}` are replaced by the last message and the last tool result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    say: str = Field(default="", description="The text, which streams word by word.")
    calls: list[DemoCall] = Field(
        default=[],
        description="Tools that it calls after the text; the next reply has their results.",
    )


class DemoScript(BaseModel):
    """An agent's replies in order; with `loop` the first one follows the last one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: list[DemoReply] = Field(
        description="What the agent says at its first model call, at its second, and so on.",
        json_schema_extra={"minItems": 1},
    )
    loop: bool = Field(default=False, description="Start again after the last line.")

    @model_validator(mode="after")
    def _has_lines(self) -> "DemoScript":
        if not self.lines:
            raise ValueError("lines: must not be empty")
        return self

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The tools that its replies call, in order."""
        return tuple(call.tool for line in self.lines for call in line.calls)

    def reply(self, number: int) -> DemoReply | None:
        """The reply after `number` earlier ones, None after the end of the script."""
        if self.loop:
            return self.lines[number % len(self.lines)]
        return self.lines[number] if number < len(self.lines) else None


class DemoScripts(BaseModel):
    """The scripts by agent name. An agent without a script repeats the last message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agents: dict[str, DemoScript] = Field(default={}, description="A script by agent name.")

    def script(self, agent: str) -> DemoScript:
        echo = DemoScript(lines=[DemoReply(say="(demo model) I heard: {user}")], loop=True)
        return self.agents.get(agent, echo)
