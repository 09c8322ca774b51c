"""`autogen`, as AG2 was imported before version 1: what tools and hooks annotate and construct."""

from typing import Any

from services.orchestrator.compatibility.context_variables import ContextVariables
from services.orchestrator.compatibility.unavailable import placeholder

__all__ = ["Agent", "ContextVariables", "ConversableAgent"]


class ConversableAgent:
    """For annotations of hooks: they are passed an agent with `name`, `system_message`,
    `context_variables` and `update_system_message`.
    """


Agent = ConversableAgent


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return placeholder(name)
