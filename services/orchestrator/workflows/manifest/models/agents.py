"""The model of the `agents` section."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from services.orchestrator.workflows.known_providers import ProviderName, Thinking
from services.orchestrator.workflows.manifest.models.base import (
    Section,
    named_entries,
    not_executed,
)

PROMPT_SECTIONS = (
    "role",
    "objective",
    "context",
    "runtime_integrations",
    "guidelines",
    "instructions",
    "examples",
    "json_output_compliance",
    "output_format",
)

DEFAULT_PROMPT = "You are a helpful assistant."


class PromptSection(Section):
    id: str = ""
    heading: str = ""
    content: str = ""

    @property
    def text(self) -> str:
        return "\n".join(part for part in (self.heading, self.content) if part)


def _prompt_sections(value: Any) -> Any:
    """The sections as a list, from a map with fixed keys; a section may be only its text."""
    if not isinstance(value, dict):
        return value
    unknown = [key for key in value if key not in PROMPT_SECTIONS]
    if unknown:
        accepted = ", ".join(PROMPT_SECTIONS)
        raise ValueError(f"{unknown[0]} is not a section of a prompt (accepted: {accepted})")
    return [_prompt_section(key, entry) for key, entry in value.items() if entry is not None]


def _prompt_section(key: str, entry: Any) -> Any:
    heading = f"[{key.replace('_', ' ').upper()}]"
    if isinstance(entry, str):
        return {"id": key, "heading": heading, "content": entry}
    return {"id": key, "heading": heading, **entry} if isinstance(entry, dict) else entry


class LlmConfig(Section):
    """An agent's model, of a provider or a compatible server. The key is read from the environment.

    `max_tokens` limits one answer. An answer that is of no use because it is cut at the limit is asked
    for again once, with twice as many. `thinking` is for the providers `anthropic` and `gemini`: a
    number of tokens, or `off`, `low`, `medium` or `high`.
    """

    provider: ProviderName | None = None
    model: str | None = Field(default=None, min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    base_url: str | None = Field(default=None, pattern="^https?://")
    api_key_env: str | None = Field(default=None, min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    thinking: Thinking | None = None


class AgentManifest(Section):
    """An agent. Its prompt is `system_message`, followed by the sections, separated by blank lines.

    With `structured_outputs_required`, every reply must match the agent's model of
    `structured_outputs`; the model is called again if it does not. In `auto_tool_mode` the runtime
    calls the agent's auto-invoked tool with the reply, which is not shown to users.
    """

    name: str = Field(min_length=1)
    system_message: str | None = None
    prompt_sections: Annotated[
        list[PromptSection],
        BeforeValidator(
            _prompt_sections, json_schema_input_type=list[PromptSection] | dict[str, Any]
        ),
    ] = []
    prompt_sections_custom: list[PromptSection] = []
    max_consecutive_auto_reply: int | None = Field(default=None, ge=1)
    llm_config: LlmConfig = LlmConfig()
    auto_tool_mode: bool = False
    structured_outputs_required: bool = False
    image_generation_enabled: bool = not_executed(default=False)
    display_name: str | None = not_executed()
    human_input_mode: str | None = not_executed()

    @property
    def prompt(self) -> str:
        parts = [self.system_message or ""]
        parts += [section.text for section in self.prompt_sections + self.prompt_sections_custom]
        return "\n\n".join(part for part in parts if part) or DEFAULT_PROMPT


class AgentsManifest(Section):
    """`agents`: a list, or a map from name to agent."""

    agents: Annotated[list[AgentManifest], named_entries(AgentManifest)] = Field(min_length=1)
