"""How the current model call asks for its answer: its form, and its limit of tokens."""

from dataclasses import dataclass, field

from ag2.context import ConversationContext

from contracts.events.turn import RequestOptions

CALL_SETTINGS = "mozaiks.call_settings"
"""The key in AG2's dependencies under which model clients find the settings of their call."""


@dataclass(slots=True)
class CallSettings:
    """Set before each model call; `max_tokens` replaces the limit that the agent configures."""

    options: RequestOptions = field(default_factory=RequestOptions)


def call_settings_of(context: ConversationContext) -> RequestOptions:
    """The settings of the call in progress; nothing is asked for where no caller gave any."""
    settings: CallSettings | None = context.dependencies.get(CALL_SETTINGS)
    return RequestOptions() if settings is None else settings.options
